"""Sound is brought to speech's format, whole or in windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.media.sound import describe_sound, write_speech
from myspinbot_worker.media_limits import MediaLimits, limited_to
from tests.preview.clips import Image, read_wav, tone, write_wav

from .films import write_film

pytestmark = pytest.mark.preview


def write_sound(path: Path, rate: int, layout: str, codec: str) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        samples = np.tile(tone(1.5, rate=rate).astype(np.float32), (stream.channels, 1))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return path


@pytest.mark.parametrize(
    ("name", "rate", "layout", "codec"),
    [
        ("s.wav", 44100, "stereo", "pcm_s16le"),
        ("s.wav", 8000, "mono", "pcm_f32le"),
        ("s.flac", 96000, "stereo", "flac"),
        ("s.mp3", 44100, "mono", "libmp3lame"),
        ("s.ogg", 48000, "stereo", "libopus"),
        ("s.m4a", 22050, "mono", "aac"),
        ("s.mkv", 48000, "5.1", "ac3"),
    ],
)
def test_any_sound_becomes_speech(name: str, rate: int, layout: str, codec: str, tmp_path: Path) -> None:
    source = write_sound(tmp_path / name, rate, layout, codec)
    written = write_speech(source, tmp_path / "o.wav")
    sound = read_wav(tmp_path / "o.wav")
    assert written == len(sound) / 16000 == pytest.approx(1.5, abs=0.1)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * 16000 / len(sound) == pytest.approx(220, abs=2)
    facts = describe_sound(tmp_path / "o.wav")
    assert (facts.codec, facts.rate, facts.channels, facts.duration) == ("pcm_s16le", 16000, 1, written)


def test_speech_stays_as_it_is(voice: Path, tmp_path: Path) -> None:
    assert write_speech(voice, tmp_path / "o.wav") == 1.0
    assert np.array_equal(read_wav(tmp_path / "o.wav"), read_wav(voice))


def test_the_sound_of_a_video(moving: list[Image], tmp_path: Path) -> None:
    source = write_film(tmp_path / "v.mp4", moving, sound=tone(1.2))
    assert write_speech(source, tmp_path / "o.wav") == pytest.approx(1.2, abs=0.05)
    assert describe_sound(source).codec == "aac"


def test_windows_fit_together(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "s.flac", 44100, "stereo", "flac")
    write_speech(source, tmp_path / "whole.wav")
    # Frames of 1/29.97 s: no whole number of samples.
    length = 11 * 1001 / 30000
    parts = []
    for number in range(5):
        path = tmp_path / f"{number}.wav"
        write_speech(source, path, begin=number * length, seconds=length)
        parts.append(read_wav(path))
    whole = read_wav(tmp_path / "whole.wav")
    assert np.array_equal(np.concatenate(parts), whole)
    assert [len(part) for part in parts[:3]] == [5873, 5872, 5873]


def test_the_end_of_a_sound(voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.wav"
    assert write_speech(voice, out, begin=0.75, seconds=0.5) == 0.25
    assert write_speech(voice, out, begin=0.75, seconds=2.5, pad=True) == 2.5
    padded = read_wav(out)
    assert np.array_equal(padded[:4000], read_wav(voice)[12000:])
    assert not padded[4000:].any()
    assert write_speech(voice, out, begin=3.0) == 0.0
    assert write_speech(voice, out, begin=3.0, seconds=0.5, pad=True) == 0.5
    assert write_speech(voice, out, seconds=0.0) == 0.0


def test_a_rate_of_ones_own(voice: Path, tmp_path: Path) -> None:
    assert write_speech(voice, tmp_path / "o.wav", rate=24000) == pytest.approx(1.0, abs=0.001)
    assert describe_sound(tmp_path / "o.wav").rate == 24000


def test_levels(tmp_path: Path) -> None:
    loud = describe_sound(write_wav(tmp_path / "s.wav", tone(1.0)))
    assert loud.peak_db == pytest.approx(-6.02, abs=0.01)
    assert describe_sound(write_wav(tmp_path / "s.wav", np.zeros(100))).silent


def test_what_is_no_sound(moving: list[Image], voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.wav"
    silent_film = write_film(tmp_path / "v.mp4", moving)
    for call in (lambda: write_speech(silent_film, out), lambda: describe_sound(silent_film)):
        with pytest.raises(BadMedia, match="sound holds no sound"):
            call()
    with pytest.raises(BadMedia, match="speech has no length"):
        write_speech(write_wav(tmp_path / "e.wav", np.zeros(0)), out, what="speech")
    (tmp_path / "noise.wav").write_bytes(np.random.default_rng(6).bytes(4000))
    with pytest.raises(BadMedia, match="voice cannot be decoded"):
        write_speech(tmp_path / "noise.wav", out, what="voice")
    with limited_to(MediaLimits(media_seconds=0.5)), pytest.raises(BadMedia, match=r"max_media_seconds"):
        write_speech(voice, out)
    assert not out.exists()
    for wrong in ({"begin": -1.0}, {"seconds": -0.1}, {"pad": True}):
        with pytest.raises(ValueError, match=r"must not be negative|pad needs"):
            write_speech(voice, out, **wrong)


_MEASURE = """
import resource, sys
from pathlib import Path
from myspinbot_worker.media.sound import write_speech
peaks = []
for source in sys.argv[1:]:
    write_speech(Path(source), Path(source + ".out.wav"), begin=1.0, seconds=5000.0, pad=True)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[-1] - peaks[0])
"""


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    short = write_wav(tmp_path / "short.wav", tone(5.0, rate=44100), 44100)
    long = write_wav(tmp_path / "long.wav", tone(600.0, rate=44100), 44100)
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(short), str(long)], capture_output=True, text=True, check=True
    )
    # Ten minutes are 53 MB.
    assert int(run.stdout) < 8_000, f"grew by {run.stdout} kB"
