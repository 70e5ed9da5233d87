"""Upscaling a video to twice its size on the CPU."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.engines import KeptSteps, Steps
from myspinbot_worker.errors import BadMedia
from myspinbot_worker.extras import packages_of
from myspinbot_worker.media.clock import Clock
from myspinbot_worker.media.mp4 import add_h264, as_yuv, carry_shape, create_mp4, matrix_of, swscale_matrix
from myspinbot_worker.media.sound_track import SoundTrack
from myspinbot_worker.media.source import open_media, sounds_of, video_of
from myspinbot_worker.media_limits import media_limits
from myspinbot_worker.preview.super_resolution import SuperResolution

if TYPE_CHECKING:
    import numpy as np
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from myspinbot_worker.comfy.parameters import UpscaleSettings

_WHAT = "source video"

# x264 encodes at most 16384 pixels a side.
_LARGEST_SIDE = 8192

# Frames in work at once, a thread each: every one takes memory.
_MOST_THREADS = 8


class RealEsrganUpscaler:
    """``UpscaleEngine`` on a CPU: a small Real-ESRGAN, frame by frame.

    Frames keep their number and timestamps; the sound is copied where MP4 players know its codec, else it
    becomes AAC; a rotation that players apply is carried as it is. Of several audio streams the first is
    kept; subtitles and metadata are not. Memory depends on the size of a frame, not on the video's length.

    Args:
        threads: Frames to work on at once, a CPU each; default: the CPUs this process may use, at most 8.
        tile: Largest side, in pixels, of what goes through the network at once; 256 take about
            200 MB per thread, and memory grows with the square.
    """

    def __init__(self, threads: int | None = None, tile: int = 256) -> None:
        self._threads = threads or min(len(os.sched_getaffinity(0)), _MOST_THREADS)
        self._tile = tile
        self._lock = threading.Lock()
        self._network: SuperResolution | None = None

    def enlarged(self, width: int, height: int, settings: UpscaleSettings | None = None) -> tuple[int, int]:
        """Twice the size, whatever is asked for."""
        return 2 * width, 2 * height

    def upscale(
        self,
        source: Path,
        destination: Path,
        steps: Steps,
        *,
        settings: UpscaleSettings | None = None,
        kept: KeptSteps | None = None,
    ) -> None:
        """See ``UpscaleEngine.upscale``.

        Raises:
            BadMedia: ``source`` cannot be decoded, holds no video, is too long, or larger than can be doubled.
            EngineUnavailable: The extra ``preview`` is not installed.
            OSError: ``destination`` cannot be written.
        """
        with packages_of("preview"):
            import av

        network = self._loaded()
        first = _first_frame(source)
        matrix = matrix_of(first)
        with (
            open_media(source, _WHAT) as reader,
            create_mp4(destination) as writer,
            _workers(self._threads) as workers,
        ):
            video = video_of(reader, _WHAT)
            clock = Clock(video)
            pictures = add_h264(
                writer, 2 * first.width, 2 * first.height, clock.rate, clock.time_base, matrix
            )
            carry_shape(first, video, pictures)
            sounds = sounds_of(reader)[:1]
            tracks = {stream.index: SoundTrack(stream, writer) for stream in sounds}
            length = _length(video, reader.duration)
            in_work: deque[tuple[VideoFrame, Future[NDArray[np.uint8]]]] = deque()

            def finish(most: int) -> None:
                """Write out the frames at the head of the line until at most ``most`` are in work."""
                while len(in_work) > most:
                    frame, work = in_work.popleft()
                    steps.check()
                    result = as_yuv(av.VideoFrame.from_ndarray(work.result(), format="rgb24"), matrix)
                    clock.stamp(result, frame)
                    done = (result.time or 0.0) - (first.time or 0.0)
                    media_limits().check_length(_WHAT, done)
                    writer.mux(pictures.encode(result))
                    if length:
                        steps.progress(min(1.0, max(0.0, done / length)))

            for packet in reader.demux(video, *sounds):
                if packet.stream.index in tracks:
                    tracks[packet.stream.index].carry(packet)
                    continue
                for frame in video.decode(packet):
                    steps.check()
                    image = _as_rgb(frame, first.width, first.height, matrix)
                    in_work.append((frame, workers.submit(network.enlarge, image)))
                    finish(self._threads)
            finish(0)
            writer.mux(pictures.encode(None))
        steps.progress(1.0)

    def _loaded(self) -> SuperResolution:
        """The network, loaded by the first caller and kept."""
        with self._lock:
            if self._network is None:
                self._network = SuperResolution(self._tile)
            return self._network


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that drop what they have not begun when the block ends in an error."""
    executor = ThreadPoolExecutor(count, thread_name_prefix="upscale")
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _first_frame(source: Path) -> VideoFrame:
    """The first picture, which knows what the container does not: size, colours and rotation.

    Raises:
        BadMedia: There is none, or it is too large.
    """
    with open_media(source, _WHAT) as reader:
        for frame in reader.decode(video_of(reader, _WHAT)):
            if max(frame.width, frame.height) > _LARGEST_SIDE:
                raise BadMedia(
                    f"{_WHAT} is {frame.width}x{frame.height}, more than {_LARGEST_SIDE} pixels a side"
                )
            return frame
    raise BadMedia(f"{_WHAT} holds no pictures")


def _as_rgb(frame: VideoFrame, width: int, height: int, matrix: int) -> NDArray[np.uint8]:
    """A decoded frame as (height, width, 3) RGB; one that changes size midway is brought to the first's."""
    import numpy as np
    from av.video.reformatter import ColorRange

    rgb = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=swscale_matrix(matrix),
        dst_color_range=int(ColorRange.JPEG),
    )
    return np.asarray(rgb.to_ndarray(), np.uint8)


def _length(video: VideoStream, duration: int | None) -> float:
    """Seconds of the video, 0.0 when its header does not tell.

    Args:
        duration: Microseconds, of the whole file.
    """
    if video.duration and video.time_base:
        return float(video.duration * video.time_base)
    return (duration or 0) / 1_000_000
