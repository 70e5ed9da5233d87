"""Opening media files that strangers uploaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.extras import packages_of
from myspinbot_worker.media_limits import MediaLimits, media_limits

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

# Only formats that are one self-contained file. Playlists (HLS, DASH, concat) can name further files and
# URLs, and a decoder that follows them reads for an attacker what the attacker cannot.
MEDIA_FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,h264,hevc,wav,w64,mp3,flac,ogg,aac,aiff,amr,caf"
)

_MICROSECONDS = 1_000_000

S = TypeVar("S", bound="Stream")


@contextmanager
def open_media(
    path: Path, what: str, *, formats: str = MEDIA_FORMATS, limits: MediaLimits | None = None
) -> Iterator[InputContainer]:
    """Open a local media file for reading; decoding errors in the block become ``BadMedia``.

    Nothing but this file is opened, whatever it refers to. What its header claims is held against the limits
    before anything is decoded; decoders refuse a frame that turns out larger. Its length, where the header
    does not tell or lies, is the caller's to watch (``MediaLimits.check_length``).

    Args:
        what: What the file is to the user, such as ``speech``: the start of the error message.
        formats: FFmpeg's names of the formats it may have, with commas between.
        limits: Those of the process by default.

    Raises:
        BadMedia: The file is of no known format, its content is broken, or it is larger or longer than the limits.
        OSError: The file cannot be read, or the block ran out of disk: not the media's fault.
    """
    with packages_of("media"):
        import av
    limits = limits or media_limits()
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": formats,
        # For the decoders that look at the first frames while opening.
        "max_pixels": str(limits.image_pixels),
    }
    try:
        # "file:" and the whole path: a name alone could read like another protocol's.
        with av.open(f"file:{path.absolute()}", "r", options=options) as container:
            _check_claims(container, what, limits)
            yield container
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise BadMedia(
            f"{what} cannot be decoded: {error.strerror}",
            details={"file": path.name, "type": type(error).__name__},
        ) from error


def _check_claims(container: InputContainer, what: str, limits: MediaLimits) -> None:
    if container.duration is not None:
        limits.check_length(what, container.duration / _MICROSECONDS)
    for stream in container.streams:
        if stream.duration is not None and stream.time_base is not None:
            limits.check_length(what, float(stream.duration * stream.time_base))
    for video in _known(container.streams.video):
        limits.check_size(what, video.width, video.height)
        video.codec_context.options = {"max_pixels": str(limits.image_pixels)}


def video_of(container: InputContainer, what: str) -> VideoStream:
    """The file's video stream; a cover picture in a music file is none.

    Raises:
        BadMedia: There is no video stream of a codec that is known here.
    """
    from av.stream import Disposition

    for stream in _known(container.streams.video):
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise BadMedia(f"{what} holds no video")


def audio_of(container: InputContainer, what: str) -> AudioStream:
    """The file's first audio stream.

    Raises:
        BadMedia: There is no audio stream of a codec that is known here.
    """
    for stream in sounds_of(container):
        return stream
    raise BadMedia(f"{what} holds no sound")


def sounds_of(container: InputContainer) -> list[AudioStream]:
    """The file's audio streams of codecs that are known here."""
    return _known(container.streams.audio)


def _known(streams: Iterable[S]) -> list[S]:
    # PyAV hands out a stream of an unknown codec, and nothing can be asked of it.
    return [stream for stream in streams if stream.codec_context is not None]


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
