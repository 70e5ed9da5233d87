"""Taking a video apart into short lossless videos, for engines that hold every frame of a clip in memory.

A chunk is H.264 without loss in an MP4, without sound, at one constant rate: what a loader reads that asks a file
for its pictures and its rate. When the frames of the source were shown is not in it; :mod:`.join` takes that from
the source again, so a source of variable rate keeps its timing and no frame is dropped or doubled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.extras import packages_of
from myspinbot_worker.media.mp4 import create_mp4, matrix_of, swscale_matrix
from myspinbot_worker.media.source import open_media, video_of
from myspinbot_worker.media_limits import media_limits

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_WHAT = "source video"

# Numbers that x264 and MP4 have room for; rates measured on a clock of nanoseconds have larger ones.
_LARGEST_TERM = 1 << 20

_FULL_RANGE = 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of a video's frames in a row, as a video.

    Attributes:
        number: Counted from 0.
        path: The file; its maker leaves it to the caller to remove.
        first: Its first frame's number in the source, counted from 0.
        frames: How many there are; the last chunk may have fewer than the others.
    """

    number: int
    path: Path
    first: int
    frames: int


def chunk_rate(rate: Fraction) -> Fraction:
    """The rate that chunks of a source with the (mean) rate ``rate`` have: the same, but for unwieldy fractions."""
    if max(rate.numerator, rate.denominator) <= _LARGEST_TERM:
        return rate
    return rate.limit_denominator(1001)


def cut(source: Path, folder: Path, length: int, rate: Fraction, *, start: int = 0) -> Iterator[Chunk]:
    """Cut a video into chunks, one at a time, each made when it is asked for.

    The same arguments give the same chunks in every run. To begin later the frames before are decoded and dropped:
    exact for every codec, where a jump is not. Pixels are those stored (no rotation is applied), in the source's
    format where H.264 has it, else in 4:4:4. Memory depends on the size of a frame, not on any length.

    Args:
        folder: Where the files go; one is there under its name only when it is complete.
        length: Frames of a chunk.
        rate: The source's frames per second (``VideoFacts.rate``).
        start: The number of the first chunk wanted.

    Raises:
        ValueError: ``length`` or ``start`` is out of range.
        BadMedia: ``source`` cannot be decoded, holds no video, or is beyond the limits.
        OSError: A chunk cannot be written.
    """
    if length < 1 or start < 0:
        raise ValueError("length must be at least 1 and start at least 0")
    with open_media(source, _WHAT) as reader:
        frames = _decoded(reader, rate)
        first = next(frames, None)
        if first is None:
            raise BadMedia(f"{_WHAT} holds no pictures")
        form = _Form.of(first)
        rest = islice(chain((first,), frames), start * length, None)
        number = start
        while (head := next(rest, None)) is not None:
            path = folder / f"chunk-{number:05}.mp4"
            made = _write(path, chain((head,), islice(rest, length - 1)), form, chunk_rate(rate))
            yield Chunk(number, path, number * length, made)
            number += 1


def _decoded(reader: InputContainer, rate: Fraction) -> Iterator[VideoFrame]:
    """The frames of the video, held against the limit of its length."""
    for number, frame in enumerate(reader.decode(video_of(reader, _WHAT))):
        media_limits().check_length(_WHAT, float(number / rate))
        yield frame


@dataclass(frozen=True, slots=True)
class _Form:
    """What all frames of all chunks are brought to: the first frame's, as H.264 has it."""

    width: int
    height: int
    pix_fmt: str
    matrix: int
    color_range: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, first: VideoFrame) -> _Form:
        pix_fmt = _pix_fmt(first)
        # FFmpeg's scaler takes grey for full range, whatever it is labelled.
        full = first.color_range == _FULL_RANGE or first.format.name.startswith(("yuvj", "gray"))
        return cls(
            width=first.width,
            height=first.height,
            pix_fmt=pix_fmt,
            matrix=matrix_of(first),
            color_range=_FULL_RANGE if full and not first.format.is_rgb else 1,
            primaries=int(first.color_primaries),
            transfer=int(first.color_trc),
        )

    def fit(self, frame: VideoFrame) -> VideoFrame:
        """A frame in this form; a source may change size or format midway."""
        if (frame.width, frame.height, frame.format.name) == (self.width, self.height, self.pix_fmt):
            return frame
        matrix = swscale_matrix(self.matrix)
        return frame.reformat(
            self.width,
            self.height,
            self.pix_fmt,
            src_colorspace=None if frame.format.is_rgb else matrix,
            dst_colorspace=matrix,
            dst_color_range=self.color_range,
        )

    def stream(self, stream: VideoStream) -> None:
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, self.pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_range = self.matrix, self.color_range
        context.color_primaries, context.color_trc = self.primaries, self.transfer


def _pix_fmt(frame: VideoFrame) -> str:
    """The pixel format nearest to a frame's that x264 takes: chroma is never made coarser."""
    import av

    name = frame.format.name.replace("yuvj", "yuv").replace("nv12", "yuv420p").replace("nv21", "yuv420p")
    known = {known.name for known in av.Codec("libx264", "w").video_formats or ()}
    odd_width, odd_height = frame.width % 2, frame.height % 2
    whole = not (odd_width or odd_height) or "444" in name or name.startswith("gray")
    if name in known and not frame.format.is_rgb and (whole or ("422" in name and not odd_width)):
        return name
    deep = any(component.bits > 8 for component in frame.format.components)
    return "yuv444p10le" if deep and "yuv444p10le" in known else "yuv444p"


def _write(path: Path, frames: Iterator[VideoFrame], form: _Form, rate: Fraction) -> int:
    """Write one chunk; it appears under its name when it is complete. Returns the number of frames."""
    with packages_of("media"):
        import av
    partial = path.with_name(f"{path.name}.part")
    made = 0
    with create_mp4(partial) as output:
        stream = output.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "qp": "0"})
        assert isinstance(stream, av.VideoStream)
        form.stream(stream)
        stream.codec_context.time_base = 1 / rate
        for frame in frames:
            picture = form.fit(frame)
            picture.pts, picture.time_base = made, 1 / rate
            # The encoder decides: the source's key frames would make chunks differ with where they begin.
            picture.pict_type = av.video.frame.PictureType.NONE
            output.mux(stream.encode(picture))
            made += 1
        output.mux(stream.encode(None))
    partial.replace(path)
    return made
