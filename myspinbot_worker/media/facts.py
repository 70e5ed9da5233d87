"""What is known of a media file once it was decoded from its first to its last frame."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A file's pictures.

    Attributes:
        codec: FFmpeg's name, such as ``h264``.
        width, height: Pixels as stored, before any rotation a player applies; of the first frame.
        rate: Frames per second, exact: 29.97 is 30000/1001. Of a variable rate, the mean.
        rate_error: How far ``rate`` may be off (1/s), because the file counts time in ticks.
        constant: Whether every frame is shown at its multiple of ``1 / rate``, to a tick or a millisecond.
        frames: Decoded frames.
        start: When the first one is shown, seconds.
        duration: From there to the end of the last one, seconds.
        changes: How often the picture changed noticeably: 0 for one repeated picture.
        longest_still: The longest time without such a change, seconds.
        flat: Whether every frame is of one colour.
    """

    codec: str
    width: int
    height: int
    rate: Fraction
    rate_error: float
    constant: bool
    frames: int
    start: float
    duration: float
    changes: int
    longest_still: float
    flat: bool


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """A file's sound.

    Attributes:
        codec: FFmpeg's name, such as ``aac``.
        rate: Samples per second and channel.
        start: When it begins, seconds.
        duration: Seconds of decoded samples.
        peak_db, rms_db: Loudest sample and root mean square, dBFS.
        silent: Whether nothing can be heard.
    """

    codec: str
    rate: int
    channels: int
    start: float
    duration: float
    peak_db: float
    rms_db: float
    silent: bool


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """A still picture, or the first of an animation.

    Attributes:
        format: ``png``, ``jpeg``, ``webp``, ``bmp``, ``tiff`` or ``gif``.
        flat: Whether it is of one colour.
    """

    format: str
    width: int
    height: int
    flat: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """A media file.

    Attributes:
        container: FFmpeg's name of the format, such as ``mov,mp4,m4a,3gp,3g2,mj2``.
        video, audio, image: What is in it; a picture has neither video nor audio.
        size: Bytes.
        sha256: Of the whole file, hexadecimal.
        missing: Bytes that the file announces and does not hold.
        damaged: Packets and frames that were marked as damaged when they were read or decoded.
    """

    container: str
    video: VideoFacts | None
    audio: AudioFacts | None
    image: ImageFacts | None
    size: int
    sha256: str
    missing: int
    damaged: int

    @property
    def duration(self) -> float:
        """Seconds, from the start of what starts first to the end of what ends last."""
        streams = [stream for stream in (self.video, self.audio) if stream is not None]
        if not streams:
            return 0.0
        end = max(stream.start + stream.duration for stream in streams)
        return end - min(stream.start for stream in streams)

    def told(self) -> dict[str, Any]:
        """All of it as JSON values, without what the file does not hold."""
        told = dataclasses.asdict(self)
        if self.video is not None:
            told["video"]["rate"] = str(self.video.rate)
        return {name: value for name, value in told.items() if value is not None}
