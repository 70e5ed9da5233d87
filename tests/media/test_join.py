"""Chunks become one video with the source's timing, shape and sound."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from myspinbot_worker.errors import BadMedia, Cancelled, UntrueOutput
from myspinbot_worker.media.cut import cut
from myspinbot_worker.media.join import join
from myspinbot_worker.media.probe import probe
from tests.preview.clips import (
    NTSC,
    Image,
    decoded,
    photo,
    sliding,
    sound_packets,
    times,
    tone,
    write_clip,
    write_wav,
)

from .films import beep, write_film

pytestmark = pytest.mark.preview


def taken_apart(source: Path, length: int = 8) -> list[Path]:
    facts = probe(source).video
    assert facts is not None
    folder = source.parent / "chunks"
    folder.mkdir(exist_ok=True)
    return [chunk.path for chunk in cut(source, folder, length, facts.rate)]


def there_and_back(source: Path, destination: Path, length: int = 8) -> Path:
    facts = probe(source).video
    assert facts is not None
    made = join(taken_apart(source, length), destination, facts.rate, source=source, sound=source)
    assert made == facts.frames
    return destination


def likeness(path: Path, other: Path) -> float:
    """Mean difference of the pixels, levels of 255."""
    pairs = zip(decoded(path), decoded(other), strict=True)
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs]))


def first_loud(path: Path) -> float:
    """When (s) the beep begins, on the file's own clock."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(np.float64)).max(axis=0)
            loud = np.flatnonzero(samples > (0.2 if samples.max() <= 1.5 else 6000))
            if len(loud):
                return float(frame.time or 0.0) + float(loud[0]) / frame.sample_rate
    raise AssertionError("there is no beep")


def first_light(path: Path) -> float:
    """When (s) the first bright frame is shown."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.to_ndarray(format="gray").mean() > 128:
                return float(frame.time or 0.0)
    raise AssertionError("there is no bright frame")


FLASH: list[Image] = [np.full((64, 64, 3), 230 if number >= 20 else 20, np.uint8) for number in range(40)]


@pytest.mark.parametrize("rate", [Fraction(25), NTSC])
def test_there_and_back(rate: Fraction, moving: list[Image], tmp_path: Path) -> None:
    source = write_clip(tmp_path / "s.mp4", moving, rate=rate, sound_seconds=1.0)
    joined = there_and_back(source, tmp_path / "j.mp4", 7)
    assert times(joined) == times(source) == [number / rate for number in range(30)]
    assert sound_packets(joined) == sound_packets(source)
    assert likeness(joined, source) < 3
    found = probe(joined).video
    assert found is not None
    assert (found.codec, found.rate, found.constant) == ("h264", rate, True)
    with av.open(str(joined)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.video[0].average_rate == rate


def test_without_a_source_the_rate_counts(moving: list[Image], voice: Path, tmp_path: Path) -> None:
    chunks = [
        write_film(tmp_path / "a.mp4", moving[:10], rate=NTSC),
        write_film(tmp_path / "b.mkv", moving[10:25], rate=NTSC, codec="ffv1"),
        write_film(tmp_path / "c.mp4", moving[25:26], rate=Fraction(2997, 100)),
    ]
    assert join(chunks, tmp_path / "j.mp4", NTSC, sound=voice) == 26
    assert times(tmp_path / "j.mp4") == [number / NTSC for number in range(26)]
    found = probe(tmp_path / "j.mp4")
    assert found.audio is not None
    assert (found.audio.codec, found.audio.start) == ("aac", 0.0)
    assert found.audio.duration == pytest.approx(1.0, abs=0.1)


def test_a_variable_rate_keeps_its_times(moving: list[Image], tmp_path: Path) -> None:
    shown = [0, 0.04, 0.1, 0.3, 0.35, 0.5, 0.9, 0.94]
    source = write_film(tmp_path / "s.mp4", moving[:8], times=shown, sound=tone(1.0))
    joined = there_and_back(source, tmp_path / "j.mp4", 3)
    assert times(joined) == times(source) == [Fraction(str(at)) for at in shown]
    wanted, found = probe(source).video, probe(joined).video
    assert wanted is not None
    assert found is not None
    # How long the last frame is shown is not told by every file.
    assert found.duration == pytest.approx(wanted.duration, abs=0.1)


@pytest.mark.parametrize(
    ("name", "sound_codec", "rate", "layout", "becomes", "channels"),
    [
        ("s.mp4", "aac", 44100, "stereo", "aac", 2),
        ("s.mkv", "ac3", 48000, "5.1", "ac3", 6),
        ("s.mkv", "libopus", 48000, "stereo", "opus", 2),
        ("s.mkv", "libmp3lame", 44100, "stereo", "mp3float", 2),
        ("s.mkv", "flac", 44100, "stereo", "flac", 2),
        ("s.mkv", "pcm_s16le", 48000, "5.1", "aac", 6),
        ("s.mkv", "pcm_s16le", 48000, "5.1(side)", "aac", 6),
        ("s.mkv", "pcm_s16le", 48000, "quad", "aac", 2),
        ("s.avi", "pcm_s16le", 11000, "mono", "aac", 1),
        ("s.ts", "mp2", 48000, "stereo", "aac", 2),
    ],
)
def test_sound_of_every_kind(
    name: str,
    sound_codec: str,
    rate: int,
    layout: str,
    becomes: str,
    channels: int,
    moving: list[Image],
    tmp_path: Path,
) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    source = write_film(
        tmp_path / name,
        moving,
        codec=codec,
        sound=tone(1.2, rate=rate),
        sound_codec=sound_codec,
        sound_rate=rate,
        layout=layout,
    )
    there_and_back(source, tmp_path / "j.mp4")
    before, after = probe(source).audio, probe(tmp_path / "j.mp4").audio
    assert before is not None
    assert after is not None
    assert (after.codec, after.channels, after.silent) == (becomes, channels, False)
    assert after.duration == pytest.approx(before.duration, abs=0.1)
    if before.codec == after.codec:
        packets = [data for _, data in sound_packets(source)]
        assert [data for _, data in sound_packets(tmp_path / "j.mp4")] == packets


@pytest.mark.parametrize("seconds", [0.3, 1.2, 3.0])
def test_sound_shorter_and_longer_than_the_pictures(
    seconds: float, moving: list[Image], tmp_path: Path
) -> None:
    source = write_film(tmp_path / "s.mp4", moving, sound=tone(seconds))
    joined = probe(there_and_back(source, tmp_path / "j.mp4"))
    assert joined.video is not None
    assert joined.audio is not None
    assert joined.video.duration == pytest.approx(1.2, abs=0.001)
    assert joined.audio.duration == pytest.approx(seconds, abs=0.1)


def test_no_sound(moving: list[Image], tmp_path: Path) -> None:
    source = write_film(tmp_path / "s.mp4", moving)
    assert probe(there_and_back(source, tmp_path / "j.mp4")).audio is None


@pytest.mark.parametrize("sound_codec", ["aac", "pcm_s16le", "ac3"])
@pytest.mark.parametrize(("pictures", "sound"), [(0.0, 0.0), (0.0, 0.4), (0.4, 0.0), (1.5, 1.2), (0.7, 1.9)])
def test_sound_keeps_its_place_beside_the_pictures(
    sound_codec: str, pictures: float, sound: float, tmp_path: Path
) -> None:
    rate = 48000
    source = write_film(
        tmp_path / "s.mkv",
        FLASH,
        start=pictures,
        sound=beep(1.6, 0.8, rate),
        sound_codec=sound_codec,
        sound_start=sound,
        sound_rate=rate,
    )
    before = first_loud(source) - first_light(source)
    assert before == pytest.approx(sound - pictures, abs=0.03)
    joined = there_and_back(source, tmp_path / "j.mp4")
    assert first_loud(joined) - first_light(joined) == pytest.approx(before, abs=0.004)
    found = probe(joined)
    assert found.video is not None
    assert found.audio is not None
    assert min(found.video.start, found.audio.start) == pytest.approx(0.0, abs=0.03)


def test_a_transport_stream_keeps_its_sound_in_place(tmp_path: Path) -> None:
    source = write_film(tmp_path / "s.ts", FLASH, sound=beep(1.6, 0.8, 48000), sound_rate=48000)
    joined = there_and_back(source, tmp_path / "j.mp4")
    before = first_loud(source) - first_light(source)
    assert first_loud(joined) - first_light(joined) == pytest.approx(before, abs=0.004)


@pytest.mark.parametrize("name", ["s.m4a", "s.mp3", "s.wav"])
def test_a_sound_of_its_own_starts_with_the_pictures(name: str, tmp_path: Path) -> None:
    source = write_film(tmp_path / "s.mp4", FLASH, start=0.5)
    voice = write_wav(tmp_path / "voice.wav", beep(1.6, 0.8, 48000), 48000)
    if name != "s.wav":
        with av.open(str(tmp_path / name), "w") as output, av.open(str(voice)) as reader:
            stream = output.add_stream("aac" if name == "s.m4a" else "libmp3lame", rate=48000, layout="mono")
            assert isinstance(stream, av.AudioStream)
            for frame in reader.decode(audio=0):
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        voice = tmp_path / name
    join(taken_apart(source), tmp_path / "j.mp4", Fraction(25), source=source, sound=voice)
    assert first_loud(tmp_path / "j.mp4") - first_light(tmp_path / "j.mp4") == pytest.approx(0.0, abs=0.03)


def test_a_rotation_and_a_pixel_shape_are_carried(moving: list[Image], tmp_path: Path) -> None:
    source = write_clip(tmp_path / "s.mp4", moving[:4], sound=None, rotation=90)
    joined = there_and_back(source, tmp_path / "j.mp4")
    with av.open(str(joined)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (96, 64, 90)


def test_odd_sizes_are_made_even(moving: list[Image], tmp_path: Path) -> None:
    odd = [np.ascontiguousarray(image[:61, :93]) for image in moving[:4]]
    source = write_clip(tmp_path / "s.mkv", odd, codec="ffv1", sound=None)
    joined = there_and_back(source, tmp_path / "j.mp4")
    found = decoded(joined)
    assert found[0].shape == (62, 94, 3)
    for wanted, image in zip(decoded(source), found, strict=True):
        assert np.abs(wanted.astype(int) - image[:61, :93]).mean() < 4
        assert np.abs(image[60].astype(int) - image[61]).mean() < 8


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("c.mkv", "ffv1", "bgr0"), ("c.avi", "mjpeg", "yuvj420p"), ("c.mp4", "libx264", "yuv444p")],
)
def test_colours_do_not_shift(
    name: str, codec: str, pix_fmt: str, moving: list[Image], tmp_path: Path
) -> None:
    chunk = write_clip(
        tmp_path / name, moving[:4], rate=Fraction(25), codec=codec, pix_fmt=pix_fmt, sound=None
    )
    join([chunk], tmp_path / "j.mp4", Fraction(25))
    for wanted, found in zip(decoded(chunk), decoded(tmp_path / "j.mp4"), strict=True):
        assert np.abs(wanted.mean(axis=(0, 1)) - found.mean(axis=(0, 1))).max() < 2


def test_chunks_that_do_not_fit(moving: list[Image], voice: Path, tmp_path: Path) -> None:
    good = write_film(tmp_path / "good.mp4", moving[:5])
    small = write_film(tmp_path / "small.mp4", [np.ascontiguousarray(image[:32]) for image in moving[:5]])
    fast = write_film(tmp_path / "fast.mp4", moving[:5], rate=NTSC)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(good.read_bytes()[:600])
    source = write_film(tmp_path / "source.mp4", moving[:8])
    out = tmp_path / "j.mp4"
    for chunks, beside, problem in (
        ([good, small], None, "chunk 1 is 96x32, those before are 96x64"),
        ([fast, good], None, "chunk 0 has 30000/1001 frames a second, 25 were asked for"),
        ([good, broken], None, "chunk 1 cannot be decoded"),
        ([good, voice], None, "chunk 1 holds no video"),
        ([], None, "there is nothing to join"),
        ([good], source, "the chunks hold 5 frames, the source has more"),
        ([good, good], source, "the chunks hold more frames than the 8 of the source"),
    ):
        with pytest.raises(UntrueOutput, match=problem):
            join(chunks, out, Fraction(25), source=beside)
        assert not out.exists()
    with pytest.raises(BadMedia, match="source video holds no video"):
        join([good], out, Fraction(25), source=voice)
    with pytest.raises(BadMedia, match="sound cannot be decoded"):
        join([good], out, Fraction(25), sound=broken)
    assert not out.exists()


def test_chunks_may_come_one_by_one(moving: list[Image], tmp_path: Path) -> None:
    """A pipeline hands on each chunk when it is made, and removes the one before."""
    source = write_film(tmp_path / "s.mp4", moving, sound=tone(1.2))

    def worked_on() -> Iterator[Path]:
        for chunk in cut(source, tmp_path, 8, Fraction(25)):
            yield chunk.path
            chunk.path.unlink()

    assert join(worked_on(), tmp_path / "j.mp4", Fraction(25), source=source, sound=source) == 30
    assert not list(tmp_path.glob("chunk-*"))
    assert likeness(tmp_path / "j.mp4", source) < 3


def test_it_can_be_stopped_at_any_frame(moving: list[Image], tmp_path: Path) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Cancelled("cancelled by the test")

    with pytest.raises(Cancelled):
        join([write_film(tmp_path / "c.mp4", moving)], tmp_path / "j.mp4", Fraction(25), check=check)
    assert calls == 5
    assert not (tmp_path / "j.mp4").exists()


# Takes each film apart and puts it together again; prints by how many kilobytes the process grew after the first.
_MEASURE = """
import resource, sys
from fractions import Fraction
from pathlib import Path
from myspinbot_worker.media.cut import cut
from myspinbot_worker.media.join import join
peaks = []
for name in sys.argv[1:]:
    source = Path(name)
    folder = source.with_suffix("")
    folder.mkdir()
    chunks = (chunk.path for chunk in cut(source, folder, 20, Fraction(25)))
    join(chunks, folder / "joined.mp4", Fraction(25), source=source, sound=source)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[-1] - peaks[0])
"""


@pytest.mark.parametrize("sound", ["aac", "pcm_s16le"])
def test_memory_does_not_grow_with_length(sound: str, tmp_path: Path) -> None:
    pictures = sliding(photo("coffee"), 320, 240, 80)
    films = []
    for name, count in (("short", 1), ("long", 6)):
        path = tmp_path / f"{name}.mkv"
        films.append(str(path))
        # The sound is longer than the pictures: an hour of it at the end must not be held back either.
        write_film(
            path,
            pictures * count,
            sound=tone(3.2 * count + 20, rate=48000),
            sound_codec=sound,
            sound_rate=48000,
        )
    run = subprocess.run([sys.executable, "-c", _MEASURE, *films], capture_output=True, text=True, check=True)
    # 400 frames more, of 0.1 MB each.
    assert int(run.stdout) < 15_000, f"grew by {run.stdout} kB"
