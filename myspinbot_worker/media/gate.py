"""The gate a task's file passes before its node counts as completed: is it what was promised?

A run that ends without an error can leave a clip of another node, a frozen picture, silence or half a file. So the
file is decoded from end to end and held against the task's promise, and what was seen is pinned to the file's SHA-256.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from myspinbot_worker.errors import BadMedia, UntrueOutput
from myspinbot_worker.media.facts import Probe
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media.promise import AudioPromise, ImagePromise, Promise, VideoPromise, broken
from myspinbot_worker.media_limits import MediaLimits, media_limits

# Seconds by which a promised length may be passed before nobody decodes on.
_FURTHER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Verified:
    """A file that is what was promised.

    Attributes:
        digest: SHA-256 of the file when it was looked at, hexadecimal.
        probe: What it holds.
    """

    digest: str
    probe: Probe


def verify(path: Path, promise: Promise, *, check: Callable[[], None] = lambda: None) -> Verified:
    """Hold a file against a promise.

    Args:
        check: Called again and again while the file is decoded; may raise.

    Raises:
        UntrueOutput: It breaks it, or is no media file, empty or not there; ``details`` has ``problems``, all of
            them, and under ``probe`` what the file is.
        EngineUnavailable: The extra ``media`` is not installed.
        OSError: The file cannot be read.
    """
    if not path.is_file():
        raise _untrue(path, ("there is no such file",), {})
    size = path.stat().st_size
    if not size:
        raise _untrue(path, ("the file is empty",), {"size": 0})
    try:
        found = probe(path, "the file", limits=_limits(promise), check=check)
    except BadMedia as error:
        raise _untrue(path, (error.message,), {"size": size}) from error
    if problems := broken(promise, found):
        raise _untrue(path, problems, found.told())
    return Verified(found.sha256, found)


def _untrue(path: Path, problems: tuple[str, ...], found: dict[str, object]) -> UntrueOutput:
    return UntrueOutput(
        f"{path.name} is not what was promised: {'; '.join(problems)}",
        details={"problems": list(problems), "probe": found},
    )


def _limits(promise: Promise) -> MediaLimits:
    """The limits of this process, wider where more was promised: a doubled picture has four times the pixels."""
    limits = media_limits()
    match promise:
        case VideoPromise():
            pixels = (promise.width or 0) * (promise.height or 0)
            seconds = promise.duration or 0.0
        case ImagePromise():
            pixels, seconds = (promise.width or 0) * (promise.height or 0), 0.0
        case AudioPromise():
            pixels, seconds = 0, 0.0 if math.isinf(promise.longest) else promise.longest
    return replace(
        limits,
        image_pixels=max(limits.image_pixels, pixels),
        media_seconds=max(limits.media_seconds, seconds + _FURTHER_SECONDS),
    )
