"""Opening and describing media files that strangers uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.preview.extra import packages_of

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Only formats that are one self-contained file. Playlists (HLS, DASH, concat) can name further files and
# URLs, and a decoder that follows them reads for an attacker what the attacker cannot.
_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,h264,hevc,wav,w64,mp3,flac,ogg,aac,aiff,amr,caf"
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}

_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds; fields of a stream it does not hold are ``None``.

    Args:
        duration: Seconds, from the first to the end of the last frame or sample.
        width: Pixels as stored, before any rotation a player applies.
        height: Pixels as stored.
        frame_rate: Frames per second, exact: 29.97 is 30000/1001.
        frame_count: Video frames.
        video_codec: FFmpeg's name, such as ``h264``.
        audio_codec: FFmpeg's name, such as ``aac``.
        sample_rate: Audio samples per second and channel.
        channels: Audio channels.
    """

    duration: float
    width: int | None
    height: int | None
    frame_rate: Fraction | None
    frame_count: int | None
    video_codec: str | None
    audio_codec: str | None
    sample_rate: int | None
    channels: int | None


@contextmanager
def open_media(path: Path, what: str) -> Iterator[InputContainer]:
    """Open a local media file for reading; decoding errors in the block become ``BadMedia``.

    Args:
        what: What the file is to the user, such as ``speech``: the start of the error message.

    Raises:
        BadMedia: The file is of no known format or its content is broken.
        OSError: The file cannot be read, or the block ran out of disk: not the media's fault.
    """
    with packages_of("preview"):
        import av
    try:
        with av.open(str(path), "r", options=_OPTIONS) as container:
            yield container
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise BadMedia(
            f"{what} cannot be decoded: {error.strerror}",
            details={"file": path.name, "type": type(error).__name__},
        ) from error


def video_of(container: InputContainer, what: str) -> VideoStream:
    """The file's video stream; a cover picture in a music file is none.

    Raises:
        BadMedia: There is no video stream.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise BadMedia(f"{what} holds no video")


def audio_of(container: InputContainer, what: str) -> AudioStream:
    """The file's first audio stream.

    Raises:
        BadMedia: There is no audio stream.
    """
    if not container.streams.audio:
        raise BadMedia(f"{what} holds no sound")
    return container.streams.audio[0]


def require_audio(path: Path, what: str) -> None:
    """Make sure that ``path`` is audio that can be decoded, by decoding its beginning.

    Raises:
        BadMedia: It is not.
    """
    with open_media(path, what) as container:
        for frame in container.decode(audio_of(container, what)):
            if frame.samples:
                return
    raise BadMedia(f"{what} holds no sound")


def probe(path: Path, what: str = "file") -> MediaInfo:
    """Describe a media file, without decoding it.

    Raises:
        BadMedia: It cannot be opened as media, or holds neither video nor sound.
    """
    with open_media(path, what) as container:
        video = video_of(container, what) if container.streams.video else None
        audio = container.streams.audio[0] if container.streams.audio else None
        if video is None and audio is None:
            raise BadMedia(f"{what} holds neither video nor sound")
        duration = container.duration
        frames = video.frames if video is not None else None
        rate = (video.average_rate or video.guessed_rate) if video is not None else None
        info = MediaInfo(
            duration=duration / _MICROSECONDS if duration is not None else 0.0,
            width=video.width if video is not None else None,
            height=video.height if video is not None else None,
            frame_rate=rate,
            frame_count=frames,
            video_codec=video.codec_context.name if video is not None else None,
            audio_codec=audio.codec_context.name if audio is not None else None,
            sample_rate=audio.rate if audio is not None else None,
            channels=audio.channels if audio is not None else None,
        )
        if duration is not None and frames != 0:
            return info
        return _counted(container, info)


def _counted(container: InputContainer, info: MediaInfo) -> MediaInfo:
    """Fill in what the file's header does not tell (Matroska, raw streams) by reading its packets."""
    frames = 0
    end = 0.0
    video = container.streams.video[0] if container.streams.video else None
    for packet in container.demux():
        if not packet.size:
            continue
        frames += packet.stream is video
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    if not end and info.frame_rate:
        # Raw streams have no clock.
        end = float(frames / info.frame_rate)
    return replace(
        info,
        duration=info.duration or end,
        frame_count=frames if info.frame_count is not None else None,
    )
