"""Speech as WAV (PCM 16 bit, mono): turned and padded for the windows of a talking head, and not too loud."""

from __future__ import annotations

import wave
from pathlib import Path

from ..extras import packages_of

_CHUNK = 1 << 16


def turned(speech: Path, destination: Path, first_frame: int, frame_rate: int, gap_frames: int) -> Path:
    """Write ``speech`` and a gap of silence after it, turned so that it begins with a frame in its middle.

    The speech encoder hears the whole speech for every window: it scales what it hears by its overall loudness, so a
    piece alone, or one in a pause, would sound different to it.

    Args:
        speech: WAV, PCM 16 bit, mono.
        first_frame: Frame (at ``frame_rate``) that the sound begins with.
    """
    with wave.open(str(speech), "rb") as source, wave.open(str(destination), "wb") as target:
        rate = source.getframerate()
        target.setparams(source.getparams())
        first = min(source.getnframes(), round(first_frame * rate / frame_rate))
        source.setpos(first)
        _copy(source, target, source.getnframes() - first)
        _silence(target, round(gap_frames * rate / frame_rate))
        source.rewind()
        _copy(source, target, first)
    return destination


def padded(speech: Path, destination: Path, frames: int, frame_rate: int) -> Path:
    """Write ``speech`` with silence after it, so that it lasts for whole frames.

    Args:
        speech: WAV, PCM 16 bit, mono.
        frames: How many, at ``frame_rate``; not shorter than the speech.
    """
    with wave.open(str(speech), "rb") as source, wave.open(str(destination), "wb") as target:
        target.setparams(source.getparams())
        _copy(source, target, source.getnframes())
        wanted = -(-frames * source.getframerate() // frame_rate)
        _silence(target, max(0, wanted - source.getnframes()))
    return destination


def _copy(source: wave.Wave_read, target: wave.Wave_write, count: int) -> None:
    while count > 0 and (data := source.readframes(min(count, _CHUNK))):
        target.writeframes(data)
        count -= _CHUNK


def _silence(target: wave.Wave_write, count: int) -> None:
    target.writeframes(bytes(count * target.getsampwidth() * target.getnchannels()))


def limit_peak(path: Path, most: float) -> None:
    """Make a file quieter if its loudest sample is above ``most`` of full scale; never louder."""
    with packages_of("media"):
        import numpy as np

    with wave.open(str(path), "rb") as source:
        parameters = source.getparams()
        samples = np.frombuffer(source.readframes(source.getnframes()), "<i2")
    loudest = int(np.abs(samples.astype(np.int32)).max(initial=0))
    if loudest <= most * 32767:
        return
    quieter = np.trunc(samples * (most * 32767 / loudest)).astype("<i2")
    with wave.open(str(path), "wb") as target:
        target.setparams(parameters)
        target.writeframes(quieter.tobytes())
