"""How large a picture and how long a sound may be, asked before anything is decoded.

A few kilobytes can claim an enormous canvas or hours of silence. The limits are the process', like Dramatiq's
broker: whatever opens media files (engines, tensors, a capability of somebody else's) meets the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .errors import BadMedia
from .settings import FarmSettings


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """The limits of one process.

    Args:
        image_pixels: Most pixels of a picture or a video's frame.
        media_seconds: Longest sound or video, in seconds.
    """

    image_pixels: int = FarmSettings.model_fields["max_image_pixels"].default
    media_seconds: float = FarmSettings.model_fields["max_media_seconds"].default

    def check_size(self, what: str, width: int, height: int) -> None:
        """Refuse a picture with too many pixels.

        Args:
            what: What it is to the user: the start of the error message.

        Raises:
            BadMedia: It is larger than the limit.
        """
        if width * height > self.image_pixels:
            raise BadMedia(
                f"{what} is {width}x{height} pixels, more than the {self.image_pixels} of farm.max_image_pixels"
            )

    def check_length(self, what: str, seconds: float) -> None:
        """Refuse a sound or video that claims to be, or turns out, too long.

        Raises:
            BadMedia: It is longer than the limit.
        """
        if seconds > self.media_seconds:
            raise BadMedia(
                f"{what} is longer than the {self.media_seconds:g} seconds of farm.max_media_seconds"
            )


_limits = MediaLimits()


def media_limits() -> MediaLimits:
    """The limits of this process; the defaults until somebody sets others."""
    return _limits


def set_media_limits(farm: FarmSettings) -> None:
    """Make the settings' limits those of this process."""
    global _limits
    _limits = MediaLimits(farm.max_image_pixels, farm.max_media_seconds)


@contextmanager
def limited_to(limits: MediaLimits) -> Iterator[None]:
    """Other limits for the length of the block, in every thread of the process."""
    global _limits
    before, _limits = _limits, limits
    try:
        yield
    finally:
        _limits = before
