"""A reference voice made fit for cloning."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from myspinbot_worker.errors import BadInput, BadMedia
from myspinbot_worker.voice_sample import RATE, prepare_sample
from tests.preview.clips import tone, write_wav


def read(path: Path) -> tuple[int, NDArray[np.float64]]:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def sample(path: Path, before: float, voice: float, after: float, level: float = 0.02) -> Path:
    parts = [np.zeros(round(16000 * before)), tone(voice) * 2 * level, np.zeros(round(16000 * after))]
    return write_wav(path, np.concatenate(parts))


def test_silence_around_the_voice_goes_and_its_loudness_is_set(tmp_path: Path) -> None:
    result = tmp_path / "voice.wav"
    seconds = prepare_sample(sample(tmp_path / "in.wav", 1.0, 3.0, 2.0), result, 0.1)
    rate, samples = read(result)
    assert rate == RATE
    assert seconds == len(samples) / RATE == pytest.approx(3.2, abs=0.05)
    assert np.sqrt((samples[4800:-4800] ** 2).mean()) == pytest.approx(0.1, abs=0.005)


def test_peaks_keep_their_distance_from_full_scale(tmp_path: Path) -> None:
    result = tmp_path / "voice.wav"
    prepare_sample(sample(tmp_path / "in.wav", 0, 2.0, 0), result, 1.0)
    assert np.abs(read(result)[1]).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)


@pytest.mark.parametrize(
    ("before", "voice", "said"), [(1.0, 0.5, "lasts 0.7"), (0.0, 16.0, "lasts 16.1"), (2.0, 0.0, "silent")]
)
def test_what_cannot_be_cloned_is_refused(tmp_path: Path, before: float, voice: float, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        prepare_sample(sample(tmp_path / "in.wav", before, voice, 0.5), tmp_path / "voice.wav", 0.1)


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(b"no sound" * 100)
    with pytest.raises(BadMedia):
        prepare_sample(tmp_path / "in.wav", tmp_path / "voice.wav", 0.1)
