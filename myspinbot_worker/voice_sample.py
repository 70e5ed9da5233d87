"""A reference voice made fit for cloning: silence around it cut away, its loudness set, its length checked.

Zero-shot voices (F5-TTS) are not trained: what they need is a clean sample and exactly what it says. So nothing is
cut out of the middle or off a long sample, which would part it from its transcript.
"""

from __future__ import annotations

import wave
from pathlib import Path

from .errors import BadInput
from .extras import packages_of
from .media.sound import write_speech

RATE = 24_000
"""Samples per second: what F5-TTS works with."""

SHORTEST, LONGEST = 1.0, 15.0
"""Seconds; of a longer sample F5-TTS hears the first 12 or so, and its transcript would not fit."""

_BLOCK = RATE // 50
_HEARD_DB = -40.0
"""Blocks quieter than this, beside the loudest one, are silence."""

_MARGIN_BLOCKS = 5
_MOST_PEAK = 10 ** (-1 / 20)


def prepare_sample(source: Path, destination: Path, loudness: float) -> float:
    """Write a sample of a voice as WAV (PCM 16 bit, mono, 24 kHz); its length in seconds.

    Args:
        loudness: Root mean square of full scale that it gets, or less where its peaks allow no more.

    Raises:
        BadMedia: ``source`` cannot be decoded or holds no sound.
        BadInput: It is silent, too short or too long.
    """
    with packages_of("media"):
        import numpy as np

    write_speech(source, destination, rate=RATE, what="voice sample")
    with wave.open(str(destination), "rb") as file:
        parameters = file.getparams()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32768
    whole = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    levels = np.sqrt((whole**2).mean(axis=1)) if len(whole) else np.zeros(1)
    if levels.max() < 1e-4:
        raise BadInput("the voice sample (params.audioPath) is silent")
    heard = np.flatnonzero(levels >= levels.max() * 10 ** (_HEARD_DB / 20))
    first = max(0, heard[0] - _MARGIN_BLOCKS) * _BLOCK
    voice = samples[first : (heard[-1] + 1 + _MARGIN_BLOCKS) * _BLOCK]
    seconds = len(voice) / RATE
    if not SHORTEST <= seconds <= LONGEST:
        raise BadInput(
            f"the voice sample (params.audioPath) lasts {seconds:.2f} s without the silence around it; "
            f"it must be from {SHORTEST:g} to {LONGEST:g} s"
        )
    gain = min(loudness / float(np.sqrt((voice**2).mean())), _MOST_PEAK / float(np.abs(voice).max()))
    with wave.open(str(destination), "wb") as file:
        file.setparams(parameters)
        file.writeframes(np.trunc(voice * gain * 32767).astype("<i2").tobytes())
    return seconds
