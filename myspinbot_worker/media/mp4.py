"""Writing MP4 files: H.264 pictures that every player shows, and nothing left behind on failure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from myspinbot_worker.extras import packages_of

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.sidedata.sidedata import SideDataContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# ITU-R BT.601, as H.264 numbers colour matrices: what small video without a label is taken for.
BT601 = 6
BT709 = 1

MATRICES = (1, 4, 5, 6, 7, 9, 10)
"""Colour matrices that a frame can be labelled with, as H.264 numbers them."""


@contextmanager
def create_mp4(destination: Path) -> Iterator[OutputContainer]:
    """Write an MP4 in the block; when the block raises, the unfinished file is removed.

    Raises:
        OSError: The file cannot be written.
    """
    with packages_of("media"):
        import av
    # The index goes to the front, so that a browser plays the file while it still loads.
    flags = {"movflags": "+faststart"}
    try:
        with av.open(str(destination), "w", format="mp4", container_options=flags) as output:
            yield output
    except BaseException:
        destination.unlink(missing_ok=True)
        raise


def add_h264(
    output: OutputContainer, width: int, height: int, rate: Fraction, time_base: Fraction, matrix: int = BT601
) -> VideoStream:
    """Add an H.264 stream (yuv420p, limited range) to ``output``.

    Args:
        width: Pixels, even.
        height: Pixels, even.
        rate: Frames per second; what the file claims, the frames' own timestamps count.
        time_base: Seconds of one tick of the frames' timestamps.
        matrix: The colour matrix of the frames, as H.264 numbers them; written into the stream, because
            players guess it from the height otherwise, and a doubled height changes their guess.
    """
    stream = output.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "18"})
    stream.width = width
    stream.height = height
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = time_base
    stream.codec_context.colorspace = matrix
    stream.codec_context.color_range = 1  # limited
    return stream


def as_yuv(rgb: VideoFrame, matrix: int) -> VideoFrame:
    """Convert an RGB frame to what ``add_h264`` expects of one with that colour matrix."""
    from av.video.reformatter import ColorRange

    return rgb.reformat(
        format="yuv420p", dst_colorspace=swscale_matrix(matrix), dst_color_range=int(ColorRange.MPEG)
    )


def swscale_matrix(matrix: int) -> int:
    """The number FFmpeg's scaler has for a colour matrix of H.264: the same but for two twins."""
    return {6: 5, 10: 9}.get(matrix, matrix)


def matrix_of(frame: VideoFrame) -> int:
    """The colour matrix of a frame as H.264 numbers it; for an unlabelled frame, what players assume."""
    if frame.colorspace in MATRICES:
        return int(frame.colorspace)
    return BT601 if frame.height < 720 else BT709


def carry_shape(first: VideoFrame, source: VideoStream, pictures: VideoStream) -> None:
    """Carry pixel shape and rotation: the stored frame stays as it is, and players show it as before."""
    if source.sample_aspect_ratio:
        pictures.codec_context.sample_aspect_ratio = source.sample_aspect_ratio
    from av.sidedata.sidedata import Type

    # PyAV's own annotation of this knows motion vectors only.
    about = cast("SideDataContainer", first.side_data)
    if Type.DISPLAYMATRIX in {data.type for data in about}:
        pictures.set_display_matrix(struct.unpack("=9i", bytes(about[Type.DISPLAYMATRIX])))
