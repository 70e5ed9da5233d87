"""Files are described by what can be decoded from them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import PIL.Image
import pytest

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.media.level import FLOOR_DB
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media.source import require_audio
from myspinbot_worker.media_limits import MediaLimits
from tests.preview.clips import NTSC, Image, photo, sliding, tone, write_clip, write_wav

from .films import write_film

pytestmark = pytest.mark.preview


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = """
import sys
from myspinbot_worker.media import cut, gate, join, sound
print(sorted({"av", "numpy", "PIL"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_streams_of_unknown_codecs(moving: list[Image], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", moving, sound_seconds=1.0)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/ZZZ"))
    found = probe(path)
    assert found.video is None
    assert found.audio is not None
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    with pytest.raises(BadMedia, match="the file holds neither video nor sound"):
        probe(path, "the file")
    with pytest.raises(BadMedia, match="the speech holds no sound"):
        require_audio(path, "the speech")


def test_a_video(moving: list[Image], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving, sound_seconds=1.0)
    found = probe(path)
    video, sound = found.video, found.audio
    assert video is not None
    assert sound is not None
    assert (video.codec, video.width, video.height, video.frames) == ("h264", 96, 64, 30)
    assert (video.rate, video.constant, video.rate_error) == (NTSC, True, 0.0)
    assert video.start == 0.0
    assert video.duration == pytest.approx(1.001)
    assert (video.changes, video.flat) == (29, False)
    assert video.longest_still == pytest.approx(1 / NTSC)
    assert (sound.codec, sound.rate, sound.channels, sound.silent) == ("aac", 44100, 1, False)
    assert sound.duration == pytest.approx(1.0, abs=0.05)
    assert sound.peak_db == pytest.approx(-6.02, abs=0.5)
    assert sound.rms_db == pytest.approx(-9.03, abs=0.3)
    assert (found.image, found.missing, found.damaged) == (None, 0, 0)
    assert (found.size, found.sha256) == (
        path.stat().st_size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    told = json.loads(json.dumps(found.told(), allow_nan=False))
    assert told["video"]["rate"] == "30000/1001"
    assert "image" not in told


def test_a_sound(voice: Path) -> None:
    found = probe(voice)
    assert found.video is None
    assert found.audio is not None
    assert (found.audio.codec, found.audio.rate, found.audio.channels) == ("pcm_s16le", 16000, 1)
    assert (found.duration, found.audio.duration) == (1.0, 1.0)
    assert found.audio.peak_db == pytest.approx(-6.02, abs=0.01)
    assert found.audio.rms_db == pytest.approx(-9.03, abs=0.01)


@pytest.mark.parametrize("name", ["c.mkv", "c.ts", "c.h264"])
def test_frames_are_counted_where_the_header_does_not_tell(name: str, tmp_path: Path) -> None:
    write_clip(tmp_path / name, sliding(photo("coffee"), 32, 32, 7), rate=Fraction(25), sound=None)
    video = probe(tmp_path / name).video
    assert video is not None
    assert (video.frames, video.rate, video.constant) == (7, Fraction(25), True)
    assert video.duration == pytest.approx(7 / 25, abs=0.002)


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [("s.mkv", "ffv1", "pcm_s16le"), ("s.webm", "libvpx", "libopus"), ("s.avi", "mpeg4", "libmp3lame")],
)
def test_a_rate_is_exact_in_every_container(
    name: str, codec: str, sound: str, moving: list[Image], tmp_path: Path
) -> None:
    rate = 48000 if sound == "libopus" else 44100
    path = write_clip(tmp_path / name, moving, codec=codec, sound=sound, sound_rate=rate)
    video = probe(path).video
    assert video is not None
    assert (video.rate, video.constant, video.frames) == (NTSC, True, 30)


def test_a_rate_that_varies(moving: list[Image], tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.3, 0.34, 0.5, 0.9, 1.0]
    video = probe(write_film(tmp_path / "v.mp4", moving[:8], times=times)).video
    assert video is not None
    assert (video.constant, video.frames, video.rate) == (False, 8, Fraction(7))
    assert video.longest_still == pytest.approx(0.4)


def test_what_moves_and_what_does_not(moving: list[Image], tmp_path: Path) -> None:
    def changes(name: str, frames: list[Image], crf: int = 23) -> tuple[int, float]:
        video = probe(write_film(tmp_path / name, frames, crf=crf)).video
        assert video is not None
        return video.changes, round(video.longest_still, 6)

    photograph = photo("astronaut")[:256, :256]
    # One picture, and the noise that encoders add to it.
    for crf in (10, 23, 32):
        assert changes("still.mp4", [photograph] * 60, crf) == (0, 60 / 25)
    assert changes("late.mp4", [moving[0]] * 25 + moving[1:26]) == (25, 1.0)
    # A pan so slow that no frame differs noticeably from the one before.
    slow = [np.roll(photograph, number // 8, axis=1) for number in range(60)]
    assert changes("slow.mp4", slow)[0] > 3


@pytest.mark.parametrize(("colour", "flat"), [((0, 0, 0), True), ((10, 200, 40), True), (None, False)])
def test_one_colour(colour: tuple[int, int, int] | None, flat: bool, tmp_path: Path) -> None:
    picture = photo("coffee")[:64, :64] if colour is None else np.full((64, 64, 3), colour, np.uint8)
    video = probe(write_film(tmp_path / "v.mp4", [picture] * 3)).video
    assert video is not None
    assert video.flat is flat
    PIL.Image.fromarray(picture).save(tmp_path / "p.png")
    image = probe(tmp_path / "p.png").image
    assert image is not None
    assert image.flat is flat


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "bmp", "tiff", "gif"])
def test_pictures(suffix: str, tmp_path: Path) -> None:
    PIL.Image.fromarray(photo("coffee")[:50, :70]).save(tmp_path / f"p.{suffix}")
    found = probe(tmp_path / f"p.{suffix}")
    assert found.image is not None
    assert found.video is None
    assert (found.image.format, found.image.width, found.image.height) == (suffix, 70, 50)


@pytest.mark.parametrize("dtype", ["u8", "s16", "s32", "flt", "dbl"])
def test_levels_of_every_sample_format(dtype: str, tmp_path: Path) -> None:
    codec = {"u8": "pcm_u8", "s16": "pcm_s16le", "s32": "pcm_s32le", "flt": "pcm_f32le", "dbl": "pcm_f64le"}[
        dtype
    ]
    with av.open(str(tmp_path / "a.wav"), "w") as output:
        stream = cast(av.AudioStream, output.add_stream(codec, rate=16000, layout="stereo"))
        both = np.stack([tone(0.5), np.zeros(8000)]).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
        frame.sample_rate = 16000
        output.mux([*stream.encode(frame), *stream.encode(None)])
    sound = probe(tmp_path / "a.wav").audio
    assert sound is not None
    assert sound.peak_db == pytest.approx(-6.02, abs=0.1)
    assert sound.rms_db == pytest.approx(-12.04, abs=0.1)


def test_silence_has_a_level_that_json_can_hold(tmp_path: Path) -> None:
    sound = probe(write_wav(tmp_path / "s.wav", np.zeros(8000))).audio
    assert sound is not None
    assert (sound.silent, sound.peak_db, sound.rms_db) == (True, FLOOR_DB, FLOOR_DB)
    quiet = probe(write_wav(tmp_path / "q.wav", 0.01 * tone(0.5))).audio
    assert quiet is not None
    assert (quiet.silent, round(quiet.peak_db)) == (False, -46)


def test_what_is_no_media(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(np.random.default_rng(3).bytes(5000))
    with pytest.raises(BadMedia, match="result cannot be decoded"):
        probe(path, "result")
    path.write_bytes(b"")
    with pytest.raises(BadMedia, match="result cannot be decoded"):
        probe(path, "result")


def test_what_is_beyond_the_limits(moving: list[Image], voice: Path, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", moving, sound=None)
    with pytest.raises(BadMedia, match=r"longer than the 0\.5 seconds of farm\.max_media_seconds"):
        probe(path, limits=MediaLimits(media_seconds=0.5))
    with pytest.raises(BadMedia, match=r"farm\.max_media_seconds"):
        probe(voice, limits=MediaLimits(media_seconds=0.5))
    PIL.Image.fromarray(moving[0]).save(tmp_path / "p.png")
    for name in ("a.h264", "p.png"):
        with pytest.raises(BadMedia, match=r"more than the 6000 of farm\.max_image_pixels|cannot be decoded"):
            probe(tmp_path / name, limits=MediaLimits(image_pixels=6000))


_MEASURE = """
import resource, sys
from pathlib import Path
from typing import cast
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media.source import require_audio
peaks = []
for source in sys.argv[1:]:
    probe(Path(source))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[-1] - peaks[0])
"""


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    pictures = sliding(photo("coffee"), 320, 240, 50)
    for name, times, seconds in (("short.mp4", 1, 1.7), ("long.mp4", 8, 13.4)):
        write_clip(tmp_path / name, pictures * times, sound_seconds=seconds)
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path / "short.mp4"), str(tmp_path / "long.mp4")],
        capture_output=True,
        text=True,
        check=True,
    )
    # 350 frames more, of 0.1 MB each.
    assert int(run.stdout) < 10_000, f"grew by {run.stdout} kB"
