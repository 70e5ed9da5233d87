"""What a row of video frames shows: when, whether it moves, whether there is anything to see."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from myspinbot_worker.media.facts import VideoFacts

if TYPE_CHECKING:
    import numpy as np
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

# Frames are compared as thumbnails of this side: cheap, and the noise of encoders averages out.
_THUMBNAIL = 32

# Levels of 255 by which some place of a thumbnail must differ to be another picture. One picture repeated by x264
# differs by 2 at crf 23 and by 6 at crf 38; a mouth that opens differs by 20 and more.
_NOTICEABLE = 6

_MILLISECOND = Fraction(1, 1000)


def thumbnail(frame: VideoFrame) -> NDArray[np.int16]:
    """A frame as (32, 32, 3) RGB, each pixel the mean of what lies under it."""
    import numpy as np
    from av.video.reformatter import Interpolation

    small = frame.reformat(_THUMBNAIL, _THUMBNAIL, "rgb24", interpolation=Interpolation.AREA)
    return small.to_ndarray().astype(np.int16)


def is_flat(small: NDArray[np.int16]) -> bool:
    """Whether a thumbnail is of one colour."""
    return bool((small.max(axis=(0, 1)) - small.min(axis=(0, 1))).max() <= _NOTICEABLE)


class Pictures:
    """The frames of one video as they pass; takes no more memory for a longer one.

    Args:
        stream: Where they come from.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._tick = stream.time_base or Fraction(1, 90000)
        self._candidates = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
        self._off = [Fraction(0) for _ in self._candidates]
        self._nominal = self._candidates[0] if self._candidates else Fraction(25)
        self._first: VideoFrame | None = None
        self._origin = 0
        self._last = 0
        self._end = 0
        self._frames = 0
        self._shown: NDArray[np.int16] | None = None
        self._shown_since = 0
        self._stillest = 0
        self._changes = 0
        self._flat = True

    def see(self, frame: VideoFrame) -> None:
        """Take the next frame into account."""
        # Raw streams have no clock.
        guess = round(self._frames / self._nominal / self._tick)
        at = frame.pts if frame.pts is not None else guess
        if self._first is None:
            self._first, self._origin, self._shown_since = frame, at, at
        for number, rate in enumerate(self._candidates):
            due = self._frames / rate / self._tick
            self._off[number] = max(self._off[number], abs(at - self._origin - due))
        self._frames += 1
        self._last = at
        self._end = max(self._end, at + (frame.duration or round(1 / self._nominal / self._tick)))
        self._compare(thumbnail(frame), at)

    def _compare(self, small: NDArray[np.int16], at: int) -> None:
        import numpy as np

        self._flat = self._flat and is_flat(small)
        if self._shown is None:
            self._shown = small
        # Held against the last picture that was another, not the last frame: slow movement adds up.
        elif int(np.abs(small - self._shown).max()) > _NOTICEABLE:
            self._changes += 1
            self._stillest = max(self._stillest, at - self._shown_since)
            self._shown, self._shown_since = small, at

    @property
    def seconds(self) -> float:
        """From the start of the first to the end of the last frame so far."""
        return float((self._end - self._origin) * self._tick)

    def facts(self) -> VideoFacts | None:
        """What was seen; ``None`` if there was no frame."""
        if self._first is None:
            return None
        rate, off = self._rate()
        span = self._last - self._origin
        return VideoFacts(
            codec=self._stream.codec_context.name,
            width=self._first.width,
            height=self._first.height,
            rate=rate,
            rate_error=float(rate * (1 if off is None else off) / span) if span else 0.0,
            constant=off is not None,
            frames=self._frames,
            start=float(self._origin * self._tick),
            duration=self.seconds,
            changes=self._changes,
            longest_still=float(max(self._stillest, self._end - self._shown_since) * self._tick),
            flat=self._flat,
        )

    def _rate(self) -> tuple[Fraction, Fraction | None]:
        """The rate whose beat the frames keep, and by how many ticks they miss it; or the mean of them."""
        # A millisecond is no variation: files that count in such ticks are copied into files with finer ones.
        give = max(Fraction(1), _MILLISECOND / self._tick)
        kept = [pair for pair in zip(self._off, self._candidates, strict=True) if pair[0] <= give]
        if kept:
            off, rate = min(kept, key=lambda pair: pair[0])
            return rate, off
        if self._frames < 2 or self._last <= self._origin:
            return self._nominal, None
        return (self._frames - 1) / ((self._last - self._origin) * self._tick), None
