"""What a workflow's output file must be, by its binding (``promise: {video: {width: 512, sound: true}}``). Pure."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from ..media.promise import AudioPromise, ImagePromise, Promise, VideoPromise


def _rate(value: Any) -> Any:
    """``25``, ``29.97`` or ``30000/1001``, as text or number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a frame rate: 25, 29.97 or 30000/1001")
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError("expected a frame rate: 25, 29.97 or 30000/1001") from None
    if not 0 < rate <= 1000:
        raise ValueError("expected a frame rate above 0 and at most 1000")
    return rate


Pixels = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Owed(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, arbitrary_types_allowed=True
    )


class AudioOwed(_Owed):
    """See :class:`..media.promise.AudioPromise`."""

    codecs: list[str] = []
    rate: Pixels | None = None
    channels: Pixels | None = None
    shortest: Seconds = 0.0
    longest: Seconds | None = None
    audible: bool = True

    def promise(self) -> AudioPromise:
        return AudioPromise(
            frozenset(self.codecs),
            self.rate,
            self.channels,
            self.shortest,
            math.inf if self.longest is None else self.longest,
            self.audible,
        )


class VideoOwed(_Owed):
    """See :class:`..media.promise.VideoPromise`.

    Attributes:
        sound: Whether there must be one (something to hear), or what it must be; without it there must be none.
    """

    codecs: list[str] = []
    width: Pixels | None = None
    height: Pixels | None = None
    fps: Annotated[Fraction, BeforeValidator(_rate)] | None = None
    constant: bool = False
    frames: Pixels | None = None
    duration: Seconds | None = None
    within_frames: Annotated[int, Field(ge=0)] = 1
    moving: bool = False
    visible: bool = True
    sound: bool | AudioOwed = False

    def promise(self) -> VideoPromise:
        sound = AudioOwed() if self.sound is True else self.sound
        return VideoPromise(
            frozenset(self.codecs),
            self.width,
            self.height,
            self.fps,
            self.constant,
            self.frames,
            self.duration,
            self.within_frames,
            self.moving,
            self.visible,
            sound.promise() if isinstance(sound, AudioOwed) else None,
        )


class ImageOwed(_Owed):
    """See :class:`..media.promise.ImagePromise`."""

    formats: list[str] = []
    width: Pixels | None = None
    height: Pixels | None = None
    visible: bool = True

    def promise(self) -> ImagePromise:
        return ImagePromise(frozenset(self.formats), self.width, self.height, self.visible)


class FilePromise(_Owed):
    """One of the three."""

    image: ImageOwed | None = None
    audio: AudioOwed | None = None
    video: VideoOwed | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len([kind for kind in (self.image, self.audio, self.video) if kind is not None]) != 1:
            raise ValueError("expected one of image, audio and video")
        return self

    @property
    def promised(self) -> Promise:
        """What the truth gate holds the file against."""
        owed = self.image or self.audio or self.video
        assert owed is not None
        return owed.promise()
