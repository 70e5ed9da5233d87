"""Putting a video together from chunks: one MP4 with exact timing and the source's own sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.errors import BadMedia, UntrueOutput
from myspinbot_worker.media.clock import Clock
from myspinbot_worker.media.cut import chunk_rate
from myspinbot_worker.media.mp4 import (
    BT601,
    MATRICES,
    add_h264,
    as_yuv,
    carry_shape,
    create_mp4,
    swscale_matrix,
)
from myspinbot_worker.media.sound_track import Accompaniment
from myspinbot_worker.media.source import open_media, sounds_of, video_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_SOURCE = "source video"
_SOUND = "sound"

# Relative difference between two rates that are the same: engines write 30000/1001 as 29.97.
_SAME_RATE = Fraction(1, 2000)


def join(
    chunks: Iterable[Path],
    destination: Path,
    rate: Fraction,
    *,
    source: Path | None = None,
    sound: Path | None = None,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write the frames of ``chunks``, one after the other, into one MP4 (H.264, yuv420p).

    With a ``source`` its frames and those of the chunks go in pairs: each is shown when its partner is (a variable
    rate stays what it is), and pixel shape and rotation are taken over. Sound keeps its place beside the pictures
    and its length, and is copied where players know its codec in an MP4, else it becomes AAC. The file begins at 0
    with what comes first. An odd width or height, which H.264 has not in 4:2:0, is made even by repeating the last
    column or row. Memory depends on the size of a frame, not on any length.

    Args:
        chunks: Videos of one size and of the rate ``rate``, in order; opened one at a time, when they are asked for.
        rate: Frames per second; exact.
        source: The video that the chunks were cut from and are as long as.
        sound: Where the sound comes from, if it has any: the source itself, or a file that starts with the pictures.
        check: Called before every frame; may raise.

    Returns:
        The number of frames.

    Raises:
        UntrueOutput: A chunk differs from the first in size or from ``rate``, holds nothing, or there are more or
            fewer frames than in the source.
        BadMedia: A file cannot be decoded.
        OSError: ``destination`` cannot be written.
    """
    with ExitStack() as stack:
        timing: _Beat | _Partners = _Beat(rate)
        if source is not None:
            timing = _Partners(stack.enter_context(open_media(source, _SOURCE)))
        pictures = _in_order(chunks, rate)
        first = next(pictures, None)
        if first is None:
            raise UntrueOutput("there is nothing to join: no chunk holds a frame")
        voice = _heard(sound) if sound is not None else None
        if voice is not None and sound == source:
            timing.begin(voice)
        writer = stack.enter_context(create_mp4(destination))
        matrix = int(first.colorspace) if first.colorspace in MATRICES else BT601
        width, height = (side + side % 2 for side in (first.width, first.height))
        output = add_h264(writer, width, height, chunk_rate(rate), timing.time_base, matrix)
        timing.shape(output)
        beside = None
        if sound is not None and voice is not None:
            reader = stack.enter_context(open_media(sound, _SOUND))
            beside = Accompaniment(reader, writer, timing.origin if sound == source else voice)
        written = 0
        for picture in chain((first,), pictures):
            check()
            frame = _encodable(picture, matrix)
            shown_until = timing.stamp(frame, written)
            if beside is not None:
                beside.until(shown_until)
            writer.mux(output.encode(frame))
            written += 1
        timing.end(written)
        if beside is not None:
            beside.until(None)
        writer.mux(output.encode(None))
    return written


class _Beat:
    """Frames at a constant rate from 0 on."""

    origin = Fraction(0)

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self.time_base = 1 / rate

    def begin(self, earliest: Fraction) -> None:
        """Sound of a source that is not there has no say."""

    def shape(self, output: VideoStream) -> None:
        """Square pixels, not turned."""

    def stamp(self, frame: VideoFrame, number: int) -> Fraction:
        """Give a frame its time; returns until when it is shown (s)."""
        frame.pts, frame.time_base = number, self.time_base
        return (number + 1) / self._rate

    def end(self, written: int) -> None:
        """Any number will do."""


class _Partners:
    """Each frame at the time of the source's frame of the same number.

    Attributes:
        origin: The source's time that becomes 0.

    Raises:
        BadMedia: The source holds no video.
    """

    def __init__(self, reader: InputContainer) -> None:
        self._video = video_of(reader, _SOURCE)
        self._clock = Clock(self._video)
        self._frames = reader.decode(self._video)
        first = next(self._frames, None)
        if first is None:
            raise BadMedia(f"{_SOURCE} holds no pictures")
        self._first = first
        self._next: VideoFrame | None = first
        self.time_base = self._clock.time_base
        self.origin = (first.pts or 0) * self.time_base

    def begin(self, earliest: Fraction) -> None:
        """Let 0 be this time (s), if it is earlier than the first picture."""
        self.origin = min(self.origin, earliest)

    def shape(self, output: VideoStream) -> None:
        """Take pixel shape and rotation over."""
        carry_shape(self._first, self._video, output)

    def stamp(self, frame: VideoFrame, number: int) -> Fraction:
        """Give a frame its partner's time; returns until when it is shown (s)."""
        if self._next is None:
            raise UntrueOutput(f"the chunks hold more frames than the {number} of the source")
        self._clock.stamp(frame, self._next)
        assert frame.pts is not None
        frame.pts -= round(self.origin / self.time_base)
        self._next = next(self._frames, None)
        return (frame.pts + frame.duration) * self.time_base

    def end(self, written: int) -> None:
        if self._next is not None:
            raise UntrueOutput(f"the chunks hold {written} frames, the source has more")


def _in_order(chunks: Iterable[Path], rate: Fraction) -> Iterator[VideoFrame]:
    """All frames of all chunks.

    Raises:
        UntrueOutput: See ``join``.
    """
    size: tuple[int, int] | None = None
    for number, path in enumerate(chunks):
        held = 0
        try:
            with open_media(path, f"chunk {number}") as reader:
                video = video_of(reader, f"chunk {number}")
                claimed = video.average_rate
                if claimed is not None and abs(claimed - rate) > rate * _SAME_RATE:
                    raise UntrueOutput(f"chunk {number} has {claimed} frames a second, {rate} were asked for")
                for frame in reader.decode(video):
                    size = size or (frame.width, frame.height)
                    if (frame.width, frame.height) != size:
                        raise UntrueOutput(
                            f"chunk {number} is {frame.width}x{frame.height}, "
                            f"those before are {size[0]}x{size[1]}"
                        )
                    held += 1
                    yield frame
        except BadMedia as error:
            raise UntrueOutput(error.message, details=error.details) from error
        if not held:
            raise UntrueOutput(f"chunk {number} holds no frame")


def _encodable(frame: VideoFrame, matrix: int) -> VideoFrame:
    """A frame as ``add_h264`` expects it, of even size."""
    from av.video.frame import PictureType
    from av.video.reformatter import ColorRange

    matrix_number = swscale_matrix(matrix)
    if frame.width % 2 or frame.height % 2:
        frame = _padded(frame, matrix_number)
    if frame.format.is_rgb:
        made = as_yuv(frame, matrix)
    elif frame.format.name != "yuv420p" or frame.color_range == ColorRange.JPEG:
        made = frame.reformat(
            format="yuv420p",
            src_colorspace=matrix_number,
            dst_colorspace=matrix_number,
            dst_color_range=int(ColorRange.MPEG),
        )
    else:
        made = frame
    # The encoder decides, not the chunk it comes from.
    made.pict_type = PictureType.NONE
    return made


def _padded(frame: VideoFrame, matrix: int) -> VideoFrame:
    """A frame of even size, as RGB: the last column and row are there twice where need be."""
    import av
    import numpy as np
    from av.video.reformatter import ColorRange

    rgb = frame.reformat(format="rgb24", src_colorspace=matrix, dst_color_range=int(ColorRange.JPEG))
    more = ((0, frame.height % 2), (0, frame.width % 2), (0, 0))
    return av.VideoFrame.from_ndarray(
        np.pad(np.asarray(rgb.to_ndarray(), np.uint8), more, mode="edge"), format="rgb24"
    )


def _heard(sound: Path) -> Fraction | None:
    """When (s) the first sample is heard: encoders put some before it that players skip. ``None``: no sound."""
    with open_media(sound, _SOUND) as reader:
        for stream in sounds_of(reader)[:1]:
            for frame in reader.decode(stream):
                if frame.samples:
                    return (frame.pts or 0) * (frame.time_base or Fraction(0))
    return None
