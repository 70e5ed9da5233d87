"""Describing a media file by what can be decoded from it, not by what its header claims."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.media.completeness import missing_bytes
from myspinbot_worker.media.facts import AudioFacts, ImageFacts, Probe, VideoFacts
from myspinbot_worker.media.level import Loudness
from myspinbot_worker.media.pictures import Pictures, is_flat, thumbnail
from myspinbot_worker.media.source import MEDIA_FORMATS, open_media, sounds_of, video_of
from myspinbot_worker.media_limits import MediaLimits, media_limits

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

_IMAGES = {
    "png_pipe": "png",
    "jpeg_pipe": "jpeg",
    "webp_pipe": "webp",
    "bmp_pipe": "bmp",
    "tiff_pipe": "tiff",
    "gif": "gif",
}


def probe(
    path: Path,
    what: str = "file",
    *,
    limits: MediaLimits | None = None,
    check: Callable[[], None] = lambda: None,
) -> Probe:
    """Decode a sound, video or picture once and describe it; memory does not grow with its length.

    Of several streams of a kind the first is described.

    Args:
        what: What the file is to the user: the start of the error message.
        limits: Those of the process by default.
        check: Called again and again while the file is decoded; may raise.

    Raises:
        BadMedia: It cannot be opened or decoded as media, holds nothing to see or hear, or is beyond the limits.
        EngineUnavailable: The extra ``media`` is not installed.
        OSError: The file cannot be read.
    """
    limits = limits or media_limits()
    size = path.stat().st_size
    formats = ",".join((MEDIA_FORMATS, *_IMAGES))
    with open_media(path, what, formats=formats, limits=limits) as container:
        format_name = container.format.name
        image, video, audio, damaged = None, None, None, 0
        if format_name in _IMAGES:
            image = _image(container, what, limits)
        else:
            video, audio, damaged = _streams(container, what, limits, check)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Probe(format_name, video, audio, image, size, digest, missing_bytes(path), damaged)


def _image(container: InputContainer, what: str, limits: MediaLimits) -> ImageFacts:
    for frame in container.decode(video=0):
        limits.check_size(what, frame.width, frame.height)
        return ImageFacts(
            _IMAGES[container.format.name], frame.width, frame.height, is_flat(thumbnail(frame))
        )
    raise BadMedia(f"{what} holds no picture")


def _streams(
    container: InputContainer, what: str, limits: MediaLimits, check: Callable[[], None]
) -> tuple[VideoFacts | None, AudioFacts | None, int]:
    """Pictures, sound, and how much of both is damaged."""
    video = _video(container, what)
    audio = next(iter(sounds_of(container)), None)
    if video is None and audio is None:
        raise BadMedia(f"{what} holds neither video nor sound")
    pictures = Pictures(video) if video is not None else None
    sound = _Sound(audio) if audio is not None else None
    damaged = 0
    for packet in container.demux([stream for stream in (video, audio) if stream is not None]):
        check()
        damaged += packet.is_corrupt
        if pictures is not None and video is not None and packet.stream.index == video.index:
            for picture in video.decode(packet):
                damaged += picture.is_corrupt
                pictures.see(picture)
            limits.check_length(what, pictures.seconds)
        elif sound is not None and audio is not None:
            for frame in audio.decode(packet):
                sound.hear(frame)
            limits.check_length(what, sound.seconds)
    seen = pictures.facts() if pictures is not None else None
    heard = sound.facts() if sound is not None else None
    if seen is None and heard is None:
        raise BadMedia(f"{what} holds nothing that can be decoded")
    return seen, heard, damaged


def _video(container: InputContainer, what: str) -> VideoStream | None:
    try:
        return video_of(container, what)
    except BadMedia:
        return None


class _Sound:
    """The sound of one file as it passes."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self._loudness = Loudness()
        self._start: float | None = None
        self._samples = 0
        # Raw streams may tell their rate only with the first frame.
        self._rate = stream.rate or 0

    def hear(self, frame: AudioFrame) -> None:
        if not frame.samples:
            return
        if self._start is None:
            self._start = frame.time or 0.0
            self._rate = frame.sample_rate
        self._samples += frame.samples
        self._loudness.hear(frame)

    @property
    def seconds(self) -> float:
        return self._samples / self._rate if self._rate else 0.0

    def facts(self) -> AudioFacts | None:
        if self._start is None:
            return None
        return AudioFacts(
            codec=self._stream.codec_context.name,
            rate=self._rate,
            channels=self._stream.channels,
            start=self._start,
            duration=self.seconds,
            peak_db=round(self._loudness.peak_db, 2),
            rms_db=round(self._loudness.rms_db, 2),
            silent=self._loudness.silent,
        )
