"""Writing MP4 files: H.264 pictures that every player shows, and nothing left behind on failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.preview.extra import packages_of

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# ITU-R BT.601, as H.264 numbers colour matrices: what small video without a label is taken for.
BT601 = 6
BT709 = 1


@contextmanager
def create_mp4(destination: Path) -> Iterator[OutputContainer]:
    """Write an MP4 in the block; when the block raises, the unfinished file is removed.

    Raises:
        OSError: The file cannot be written.
    """
    with packages_of("preview"):
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
