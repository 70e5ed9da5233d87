"""The last frames of a window as one lossless file: what the next window goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import BadOutput
from ..extras import packages_of


def lossless(pictures: Sequence[Path], count: int, destination: Path) -> Path:
    """Write pictures as the frames of a video that loses nothing (FFV1 in Matroska, RGB).

    Args:
        pictures: PNG files, in order, of one size.
        count: How many there must be.

    Raises:
        BadOutput: There are more or fewer.
    """
    with packages_of("media"):
        import av

    if len(pictures) != count:
        raise BadOutput(f"the window handed on {len(pictures)} frames, {count} were asked for")
    with av.open(str(destination), "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=25)
        for path in pictures:
            with av.open(str(path)) as picture:
                frame = next(picture.decode(video=0)).reformat(format="bgr0")
            if not stream.codec_context.is_open:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "bgr0"
            frame.pts = None
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return destination
