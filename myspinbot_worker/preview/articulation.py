"""Hearing from a speech when and how a mouth moves: one value a video frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.extras import packages_of
from myspinbot_worker.media.source import audio_of, open_media
from myspinbot_worker.media_limits import media_limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WHAT = "speech"
_RATE = 16000

# -60 dBFS: below this peak a recording is silent.
_SILENT = 0.001

# Seconds in which the mouth follows a rising and a falling sound: lips open faster than they close.
_ATTACK = 0.02
_RELEASE = 0.08


@dataclass(frozen=True)
class Articulation:
    """The mouth's movement.

    Args:
        opening: (frames,) 0 closed to 1 wide open.
        width: (frames,) -1 rounded as in "oh" to 1 spread as in "ee"; 0 at rest.
        duration: Seconds of the speech.
    """

    opening: NDArray[np.float32]
    width: NDArray[np.float32]
    duration: float


def articulate(speech: Path, frame_rate: Fraction) -> Articulation:
    """Listen to a speech. Keeps a few numbers per video frame, not the sound.

    Args:
        speech: Any audio file.
        frame_rate: Video frames per second.

    Raises:
        BadMedia: The file cannot be decoded, is empty, silent or too long.
    """
    with packages_of("preview"):
        import numpy as np

    levels: list[float] = []
    brightness: list[float] = []
    samples = 0
    peak = 0.0
    for window in _windows(speech, frame_rate):
        samples += len(window)
        media_limits().check_length(_WHAT, samples / _RATE)
        peak = max(peak, float(np.max(np.abs(window))))
        levels.append(float(np.sqrt(np.mean(np.square(window)))))
        brightness.append(_brightness(window))
    if not samples:
        raise BadMedia(f"{_WHAT} has no length")
    if peak < _SILENT:
        raise BadMedia(f"{_WHAT} is silent")
    frames = max(1, round(samples * frame_rate / _RATE))
    level = np.resize(np.array(levels + levels[-1:], np.float32), frames)
    # A percentile and not the maximum: one knock on the microphone must not shut the mouth for the rest.
    loud = float(np.percentile(level[level > _SILENT / 4], 90)) if (level > _SILENT / 4).any() else 1.0
    # The power lets the mouth open visibly for quiet vowels; the gate keeps it shut in the room's noise.
    opening = np.clip((level / loud - 0.06) / 0.94, 0.0, 1.0) ** 0.7
    bright = np.resize(np.array(brightness + brightness[-1:], np.float32), frames)
    spoken = opening > 0.1
    middle = float(np.median(bright[spoken])) if spoken.any() else 0.0
    width = np.where(spoken, np.clip((bright - middle) * 3.0, -1.0, 1.0), 0.0)
    return Articulation(
        opening=_smoothed(opening, frame_rate, _ATTACK, _RELEASE),
        width=_smoothed(width, frame_rate, _RELEASE, _RELEASE),
        duration=samples / _RATE,
    )


def _windows(speech: Path, frame_rate: Fraction) -> Iterator[NDArray[np.float32]]:
    """The sound as mono at ``_RATE``, cut at the borders of the video frames; the last one may be shorter."""
    import av
    import numpy as np

    rest = np.zeros(0, np.float32)
    number = 0
    with open_media(speech, _WHAT) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=_RATE)
        source = audio_of(container, _WHAT)
        for frame in chain(container.decode(source), (None,)):
            for part in resampler.resample(frame):
                rest = np.concatenate([rest, part.to_ndarray()[0].astype(np.float32)])
                # Borders are computed from the start: 16000 / 29.97 is no whole number.
                while len(rest) >= (length := _border(number + 1, frame_rate) - _border(number, frame_rate)):
                    yield rest[:length]
                    rest = rest[length:]
                    number += 1
    if len(rest):
        yield rest


def _border(number: int, frame_rate: Fraction) -> int:
    """First sample of a video frame."""
    return int(number * _RATE / frame_rate)


def _brightness(window: NDArray[np.float32]) -> float:
    """Share of the voice's energy (0.2 to 4 kHz) that is above 1.5 kHz: small for "oh", large for "ee"."""
    import numpy as np

    power = np.square(np.abs(np.fft.rfft(window * np.hanning(len(window)))))
    hertz = np.fft.rfftfreq(len(window), 1 / _RATE)
    voice = float(power[(hertz > 200) & (hertz < 4000)].sum())
    return float(power[(hertz > 1500) & (hertz < 4000)].sum()) / voice if voice > 0 else 0.0


def _smoothed(
    values: NDArray[np.float32], frame_rate: Fraction, attack: float, release: float
) -> NDArray[np.float32]:
    """Follow ``values`` with one time constant upwards and another downwards, in seconds."""
    import numpy as np

    up, down = (1 - np.exp(-1 / (float(frame_rate) * seconds)) for seconds in (attack, release))
    result = np.empty(len(values), np.float32)
    at = 0.0
    for index, value in enumerate(values):
        at += (float(value) - at) * float(up if value > at else down)
        result[index] = at
    return result
