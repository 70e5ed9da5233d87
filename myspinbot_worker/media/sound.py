"""Sound for models: brought to mono PCM at one rate, whole or in windows that fit together sample by sample."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.extras import packages_of
from myspinbot_worker.media.facts import AudioFacts
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media.source import audio_of, open_media
from myspinbot_worker.media_limits import media_limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPEECH_RATE = 16000
"""Samples per second of speech between tasks."""


def describe_sound(path: Path, what: str = "sound") -> AudioFacts:
    """Length, format and level of a sound, from its decoded samples; of a video, of its sound.

    Raises:
        BadMedia: It cannot be decoded, holds no sound, or is beyond the limits.
        OSError: The file cannot be read.
    """
    audio = probe(path, what).audio
    if audio is None:
        raise BadMedia(f"{what} holds no sound")
    return audio


def write_speech(
    source: Path,
    destination: Path,
    *,
    rate: int = SPEECH_RATE,
    begin: float = 0.0,
    seconds: float | None = None,
    pad: bool = False,
    what: str = "sound",
) -> float:
    """Write a sound, or a window of it, as WAV: PCM 16 bit, mono.

    The whole sound is resampled before the window is cut out of it, at sample ``round(time * rate)``: windows that
    follow each other join without a gap or a click. What lies before a window is decoded and dropped, which is exact
    for every codec. Memory does not grow with the length.

    Args:
        rate: Samples per second.
        begin: Where the window starts, seconds.
        seconds: Its length; to the end by default.
        pad: Whether silence follows where the sound ends before the window does.

    Returns:
        Seconds of sound written, padding included; 0.0 for a window that begins after the end.

    Raises:
        ValueError: ``begin`` or ``seconds`` is negative, or ``pad`` has no length to fill.
        BadMedia: ``source`` cannot be decoded, holds no sound, or is too long.
        OSError: ``destination`` cannot be written.
    """
    if begin < 0 or (seconds is not None and seconds < 0):
        raise ValueError("begin and seconds must not be negative")
    if pad and seconds is None:
        raise ValueError("pad needs the seconds to fill")
    first = round(begin * rate)
    end = None if seconds is None else round((begin + seconds) * rate)
    written = 0
    try:
        with wave.open(str(destination), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            at = 0
            for piece in _mono(source, rate, what):
                wanted = piece[max(0, first - at) : None if end is None else max(0, end - at)]
                file.writeframes(wanted.astype("<i2").tobytes())
                written += len(wanted)
                at += len(piece)
                if end is not None and at >= end:
                    break
            if pad and end is not None:
                # A second at a time.
                while missing := min(rate, end - first - written):
                    file.writeframes(bytes(2 * missing))
                    written += missing
    except BaseException:
        destination.unlink(missing_ok=True)
        raise
    return written / rate


def _mono(source: Path, rate: int, what: str) -> Iterator[NDArray[np.int16]]:
    """A sound piece by piece, mixed to one channel of 16 bit at ``rate``."""
    with packages_of("media"):
        import av
        import numpy as np

    limits, samples = media_limits(), 0
    with open_media(source, what) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        for frame in chain(container.decode(audio_of(container, what)), (None,)):
            for part in resampler.resample(frame):
                samples += part.samples
                limits.check_length(what, samples / rate)
                yield np.asarray(part.to_ndarray()[0], np.int16)
    if not samples:
        raise BadMedia(f"{what} has no length")
