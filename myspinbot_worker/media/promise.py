"""What a task owes for a media file, and which points of it a file breaks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from myspinbot_worker.media.facts import AudioFacts, ImageFacts, Probe, VideoFacts

# Seconds by which a sound may be longer or shorter than the one it was made from: codecs work in blocks, and
# encoders put some silence before the first sample.
_CODEC_SECONDS = 0.25

# The part of a moving picture that may show the same: a talk may begin still, not stop after its first frames.
_MOST_STILL = 0.9

# Relative difference between two rates that are the same; 29.97 and 30 differ by a thousandth.
_SAME_RATE = 1e-4


@dataclass(frozen=True, slots=True)
class AudioPromise:
    """A sound, alone or beside pictures.

    Attributes:
        codecs: FFmpeg's names, of which it has one; empty for any.
        rate: Samples per second; ``None`` for any.
        channels: ``None`` for any number.
        shortest, longest: Bounds of its duration, seconds.
        audible: Whether there must be something to hear.
        min_bytes: Of the file; only of a sound alone.
    """

    codecs: frozenset[str] = frozenset()
    rate: int | None = None
    channels: int | None = None
    shortest: float = 0.0
    longest: float = math.inf
    audible: bool = True
    min_bytes: int = 1

    @classmethod
    def of(cls, source: AudioFacts | None, codecs: frozenset[str] = frozenset()) -> AudioPromise | None:
        """That the source's sound is carried over: there if it is there, as long, and audible if it is."""
        if source is None:
            return None
        return cls(
            codecs,
            shortest=max(0.0, source.duration - _CODEC_SECONDS),
            longest=source.duration + _CODEC_SECONDS,
            audible=not source.silent,
        )


@dataclass(frozen=True, slots=True)
class VideoPromise:
    """A video.

    Attributes:
        codecs: FFmpeg's names, of which it has one; empty for any.
        width, height: Pixels; ``None`` for any.
        fps: Frames per second, exact; ``None`` for any.
        constant: Whether the rate must not vary.
        frames: How many; ``None`` for any number above none.
        duration: Seconds of the pictures; ``None`` for any.
        within_frames: By how many frames ``duration`` may differ.
        moving: Whether the picture must change, other than in a still beginning or end.
        visible: Whether there must be more to see than one colour.
        sound: What is promised of the sound; ``None``: there must be none.
        min_bytes: Of the file.
    """

    codecs: frozenset[str] = frozenset()
    width: int | None = None
    height: int | None = None
    fps: Fraction | None = None
    constant: bool = False
    frames: int | None = None
    duration: float | None = None
    within_frames: int = 0
    moving: bool = False
    visible: bool = True
    sound: AudioPromise | None = None
    min_bytes: int = 1


@dataclass(frozen=True, slots=True)
class ImagePromise:
    """A still picture.

    Attributes:
        formats: As ``ImageFacts.format`` names them; empty for any.
        width, height: Pixels; ``None`` for any.
        visible: Whether there must be more to see than one colour.
        min_bytes: Of the file.
    """

    formats: frozenset[str] = frozenset()
    width: int | None = None
    height: int | None = None
    visible: bool = True
    min_bytes: int = 1


Promise = VideoPromise | AudioPromise | ImagePromise


def broken(promise: Promise, probe: Probe) -> tuple[str, ...]:
    """Every point in which a file is not what was promised, a sentence each; empty if it is."""
    return tuple(_broken(promise, probe))


def _broken(promise: Promise, probe: Probe) -> Iterator[str]:
    if probe.size < promise.min_bytes:
        yield f"the file has {probe.size} bytes, at least {promise.min_bytes} were promised"
    if probe.missing:
        yield f"the file is cut off: {probe.missing} bytes that it announces are missing"
    if probe.damaged:
        yield f"{probe.damaged} packets or frames are damaged"
    match promise:
        case VideoPromise():
            if probe.video is None:
                yield f"a video was promised, the file holds {_content(probe)}"
            else:
                yield from _video(promise, probe.video)
            yield from _sound(promise.sound, probe.audio)
        case AudioPromise():
            if probe.video is not None or probe.image is not None:
                yield f"nothing but sound was promised, the file holds {_content(probe)}"
            yield from _sound(promise, probe.audio)
        case ImagePromise():
            if probe.image is None:
                yield f"a picture was promised, the file holds {_content(probe)}"
            else:
                yield from _image(promise, probe.image)


def _content(probe: Probe) -> str:
    """What a file holds, for a sentence about what it does not."""
    if probe.image is not None:
        return f"a picture ({probe.image.format})"
    if probe.video is not None:
        return f"a video ({probe.video.codec})"
    return f"only sound ({probe.audio.codec})" if probe.audio is not None else "nothing"


def _video(promise: VideoPromise, found: VideoFacts) -> Iterator[str]:
    yield from _one_of("the video's codec", found.codec, promise.codecs)
    yield from _size(found.width, found.height, promise.width, promise.height)
    if (
        promise.fps is not None
        and abs(found.rate - promise.fps) > found.rate_error + promise.fps * _SAME_RATE
    ):
        yield f"the video has {_rate(found.rate)} frames a second, {_rate(promise.fps)} were promised"
    if promise.constant and not found.constant:
        yield f"the frame rate varies around {_rate(found.rate)}, a constant one was promised"
    if promise.frames is not None and found.frames != promise.frames:
        yield f"the video has {found.frames} frames, {promise.frames} were promised"
    if promise.duration is not None:
        # A tick of whoever measured the promised duration is no difference.
        give = (promise.within_frames + 0.1) / float(found.rate)
        if abs(found.duration - promise.duration) > give:
            yield (
                f"the pictures last {found.duration:.3f} s, "
                f"{promise.duration:.3f} s to {promise.within_frames} frames were promised"
            )
    if promise.moving and found.longest_still > _MOST_STILL * found.duration:
        yield (
            f"the picture stands still for {found.longest_still:.3f} of {found.duration:.3f} s "
            f"(it changes {found.changes} times), a moving one was promised"
        )
    if promise.visible and found.flat:
        yield "every frame is of one colour, something to see was promised"


def _sound(promise: AudioPromise | None, found: AudioFacts | None) -> Iterator[str]:
    if promise is None:
        if found is not None:
            yield f"the file has sound ({found.codec}, {found.duration:.3f} s), none was promised"
        return
    if found is None:
        yield "the file has no sound, one was promised"
        return
    yield from _one_of("the sound's codec", found.codec.removesuffix("float"), promise.codecs)
    if promise.rate is not None and found.rate != promise.rate:
        yield f"the sound has {found.rate} samples a second, {promise.rate} were promised"
    if promise.channels is not None and found.channels != promise.channels:
        yield f"the sound has {found.channels} channels, {promise.channels} were promised"
    if found.duration < promise.shortest:
        yield f"the sound lasts {found.duration:.3f} s, at least {promise.shortest:.3f} s were promised"
    if found.duration > promise.longest:
        yield f"the sound lasts {found.duration:.3f} s, at most {promise.longest:.3f} s were promised"
    if promise.audible and found.silent:
        yield f"the sound is silent (its peak is {found.peak_db:.1f} dBFS), something to hear was promised"


def _image(promise: ImagePromise, found: ImageFacts) -> Iterator[str]:
    yield from _one_of("the picture's format", found.format, promise.formats)
    yield from _size(found.width, found.height, promise.width, promise.height)
    if promise.visible and found.flat:
        yield "the picture is of one colour, something to see was promised"


def _size(width: int, height: int, wanted_width: int | None, wanted_height: int | None) -> Iterator[str]:
    if wanted_width not in (None, width):
        yield f"the picture is {width} pixels wide, {wanted_width} were promised"
    if wanted_height not in (None, height):
        yield f"the picture is {height} pixels high, {wanted_height} were promised"


def _one_of(what: str, found: str, wanted: frozenset[str]) -> Iterator[str]:
    if wanted and found not in wanted:
        yield f"{what} is {found}, {' or '.join(sorted(wanted))} was promised"


def _rate(rate: Fraction) -> str:
    """25 as 25, 30000/1001 as 29.970 (30000/1001)."""
    return str(rate) if rate.denominator == 1 else f"{float(rate):.3f} ({rate})"
