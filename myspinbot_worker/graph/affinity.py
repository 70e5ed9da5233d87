"""Which message a worker takes next: one whose model it has loaded, before others, but within bounds.

Pure, and the specification of ``lua/pick.lua``. Loading a model can cost more than the work it is for, so a worker that
has one loaded ("warm") looks a little way down the queue for work that needs just it. The head of the queue pays for
that with its patience, which is bounded: it is passed over only so often and so long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How unfair a choice may be.

    Attributes:
        window: How many messages from the head on are looked at, and how often one head may be passed over; below 2
            nothing ever is.
        longest_ms: For how long after the first time.
    """

    window: int
    longest_ms: int


HEAD_ONLY = Bounds(window=0, longest_ms=0)
"""First come, first served."""


def choose(services: Sequence[str], warm: str, passed: int, passed_ms: int, bounds: Bounds) -> int:
    """The place in the queue to take from, 0 being the head.

    Args:
        services: Of the queue's messages, from the head on.
        warm: The service that is loaded, "" for none.
        passed: How often the head was passed over.
        passed_ms: How long ago the first time was.
    """
    if not warm or passed >= bounds.window or passed_ms >= bounds.longest_ms:
        return 0
    for place, service in enumerate(services[: bounds.window]):
        if service == warm:
            return place
    return 0
