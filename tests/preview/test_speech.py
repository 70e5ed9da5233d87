"""Piper speaks, into the one format the farm promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from myspinbot_worker.errors import BadInput, BadMedia, Cancelled
from myspinbot_worker.preview.speech import PiperSpeech, _pieces

from .clips import read_wav
from .recorder import Recorder

pytestmark = pytest.mark.preview


def test_a_sentence_is_spoken_as_16_khz_mono(speech: Path) -> None:
    sound = read_wav(speech)
    # Thirteen words; people say two to four in a second.
    assert 2.5 < len(sound) / 16000 < 8
    assert np.sqrt(np.mean(np.square(sound))) > 0.02


def test_the_peak_is_at_most_minus_1_dbfs_and_not_far_below(speech: Path) -> None:
    peak = float(np.abs(read_wav(speech)).max())
    assert 0.8 < peak <= 10 ** (-1 / 20)


@pytest.mark.parametrize("text", ["", "  \n\t ", "\u00a0"])
def test_blank_narration_is_refused(
    text: str, speech_engine: PiperSpeech, reference: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="narration is empty"):
        speech_engine.speak(text, reference, "", tmp_path / "out.wav", Recorder())


@pytest.mark.parametrize("text", ["... !?", "\U0001f642 \U0001f642", "\u200b", "\ud800"])
def test_narration_without_a_word_is_refused(
    text: str, speech_engine: PiperSpeech, reference: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="nothing that can be spoken"):
        speech_engine.speak(text, reference, "", tmp_path / "out.wav", Recorder())
    assert not (tmp_path / "out.wav").exists()


def test_what_json_can_carry_and_c_cannot_is_spoken_around(
    speech_engine: PiperSpeech, reference: Path, tmp_path: Path
) -> None:
    speech_engine.speak("one\0 two \ud800 [[three]]", reference, "", tmp_path / "out.wav", Recorder())
    sound = read_wav(tmp_path / "out.wav")
    # Three short words; the network draws the rhythm at random (0.98 s has been seen).
    assert len(sound) / 16000 > 0.6
    assert np.sqrt(np.mean(np.square(sound))) > 0.02


def test_a_reference_that_is_no_audio_is_named(
    speech_engine: PiperSpeech, garbage: Path, portrait: Path, tmp_path: Path
) -> None:
    for file in (garbage, portrait):
        with pytest.raises(BadMedia, match="voice reference"):
            speech_engine.speak("Hello.", file, "", tmp_path / "out.wav", Recorder())


def test_a_cancelled_speech_stops_between_sentences(
    speech_engine: PiperSpeech, reference: Path, tmp_path: Path
) -> None:
    steps = Recorder(cancelled_at=3)
    with pytest.raises(Cancelled):
        speech_engine.speak("One. " * 200, reference, "", tmp_path / "out.wav", steps)
    assert steps.checks == 3
    assert not (tmp_path / "out.wav").exists()


def test_a_sentence_without_end_is_cut_at_commas_and_spaces() -> None:
    phonemes = list("abcd efgh, " * 100)
    pieces = list(_pieces(phonemes))
    assert [phoneme for piece in pieces for phoneme in piece] == phonemes
    assert max(map(len, pieces)) <= 250
    assert all(piece[-1] == "," for piece in pieces[:-1])
    assert [len(piece) for piece in _pieces(["a"] * 600)] == [250, 250, 100]
