"""Upscaling a video to twice its size on the CPU."""

from __future__ import annotations

import os
import struct
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from myspinbot_worker.engines import Steps
from myspinbot_worker.errors import BadMedia
from myspinbot_worker.preview.extra import packages_of
from myspinbot_worker.preview.media import open_media, video_of
from myspinbot_worker.preview.mp4 import BT601, BT709, add_h264, as_yuv, create_mp4, swscale_matrix
from myspinbot_worker.preview.sound import SoundTrack
from myspinbot_worker.preview.super_resolution import SuperResolution

if TYPE_CHECKING:
    import numpy as np
    from av.sidedata.sidedata import SideDataContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

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

    def upscale(self, source: Path, destination: Path, steps: Steps) -> None:
        """See ``UpscaleEngine.upscale``.

        Raises:
            BadMedia: ``source`` cannot be decoded, holds no video, or is larger than H.264 can be doubled.
            EngineUnavailable: The extra ``preview`` is not installed.
            OSError: ``destination`` cannot be written.
        """
        with packages_of("preview"):
            import av

        network = self._loaded()
        first = _first_frame(source)
        matrix = _matrix(first)
        with (
            open_media(source, _WHAT) as reader,
            create_mp4(destination) as writer,
            _workers(self._threads) as workers,
        ):
            video = video_of(reader, _WHAT)
            clock = _Clock(video)
            pictures = add_h264(
                writer, 2 * first.width, 2 * first.height, clock.rate, clock.time_base, matrix
            )
            _carry_shape(first, video, pictures)
            sounds = reader.streams.audio[:1]
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
                    writer.mux(pictures.encode(result))
                    if length:
                        done = (result.time or 0.0) - (first.time or 0.0)
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


class _Clock:
    """The timestamps of a video, as its frames have them; without any (raw H.264), from the rate."""

    def __init__(self, video: VideoStream) -> None:
        self.time_base = video.time_base or Fraction(1, 90000)
        self.rate = video.average_rate or video.guessed_rate or Fraction(25)
        self._tick = max(1, round(1 / (self.rate * self.time_base)))
        self._next = 0

    def stamp(self, result: VideoFrame, source: VideoFrame) -> None:
        """Give ``result`` the time and duration of ``source``."""
        result.pts = source.pts if source.pts is not None else self._next
        result.time_base = self.time_base
        result.duration = source.duration or self._tick
        self._next = result.pts + result.duration


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


def _matrix(frame: VideoFrame) -> int:
    """The colour matrix of a frame as H.264 numbers it; for an unlabelled frame, what players assume."""
    if frame.colorspace in (1, 4, 5, 6, 7, 9, 10):
        return int(frame.colorspace)
    return BT601 if frame.height < 720 else BT709


def _carry_shape(first: VideoFrame, source: VideoStream, pictures: VideoStream) -> None:
    """Carry pixel shape and rotation: the stored frame stays as it is, and players show it as before."""
    if source.sample_aspect_ratio:
        pictures.codec_context.sample_aspect_ratio = source.sample_aspect_ratio
    from av.sidedata.sidedata import Type

    # PyAV's own annotation of this knows motion vectors only.
    about = cast("SideDataContainer", first.side_data)
    if Type.DISPLAYMATRIX in {data.type for data in about}:
        pictures.set_display_matrix(struct.unpack("=9i", bytes(about[Type.DISPLAYMATRIX])))


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
