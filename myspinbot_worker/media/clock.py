"""The timestamps of a video's frames, carried from the source to what is made of it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class Clock:
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
