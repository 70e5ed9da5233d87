"""Writing films whose every property a test chooses: times, sound, gaps, layouts."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from tests.preview.clips import Image, tone

TICK = Fraction(1, 90000)


def write_film(
    path: Path,
    frames: Sequence[Image],
    *,
    rate: Fraction | int = 25,
    times: Sequence[float] | None = None,
    start: float = 0.0,
    crf: int = 12,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    sound: NDArray[np.float64] | None = None,
    sound_codec: str = "aac",
    sound_start: float = 0.0,
    sound_rate: int = 16000,
    layout: str = "mono",
    rotation: int = 0,
) -> Path:
    """Write RGB frames and a sound.

    Args:
        times: When each frame is shown (s); by the rate if absent.
        start: Added to all of them.
        sound: Mono samples in [-1, 1], the same for every channel of ``layout``.
    """
    rate = Fraction(rate)
    with av.open(str(path), "w") as output:
        options = {"crf": str(crf)} if codec == "libx264" else {}
        video = cast(av.VideoStream, output.add_stream(codec, rate=rate, options=options))
        video.height, video.width, _ = frames[0].shape
        video.pix_fmt = pix_fmt
        exact = times is None and start == 0
        base = 1 / rate if exact else TICK
        video.codec_context.time_base = base
        if rotation:
            video.set_display_rotation(rotation)
        audio = None
        if sound is not None:
            audio = cast(av.AudioStream, output.add_stream(sound_codec, rate=sound_rate, layout=layout))
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            at = times[number] if times is not None else number / rate
            frame.pts = number if exact else round((start + float(at)) / TICK)
            frame.time_base = base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio is not None and sound is not None:
            channels = audio.channels
            samples = av.AudioFrame.from_ndarray(
                np.tile(sound.astype(np.float32), (channels, 1)), format="fltp", layout=layout
            )
            samples.sample_rate = sound_rate
            samples.pts = round(sound_start * sound_rate)
            samples.time_base = Fraction(1, sound_rate)
            output.mux([*audio.encode(samples), *audio.encode(None)])
    return path


def beep(seconds: float, at: float, rate: int = 16000) -> NDArray[np.float64]:
    """Silence with a tenth of a second of tone at ``at`` (s)."""
    sound = np.zeros(round(seconds * rate))
    first = round(at * rate)
    note = tone(0.1, 1000.0, rate)
    sound[first : first + len(note)] = note
    return sound
