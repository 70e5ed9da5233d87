"""How long nodes of killed workers waited for their next start. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .campaign_checks import Violation
from .campaign_history import Start

ALLOWED_SECONDS = 5.0
"""Beyond the lease, for 99 of 100 nodes."""
ENOUGH = 100
"""Of fewer recoveries the slowest one is the 99th of 100, and what else was broken at that moment decides it: they are
told, not judged."""


@dataclass(frozen=True, slots=True, order=True)
class Loss:
    """A node that was running in a process when that was killed.

    Attributes:
        attempt: The number of the start that was lost.
        at: Seconds since the epoch.
    """

    job: str
    node: str
    entry: str
    attempt: int
    at: float


@dataclass(frozen=True, slots=True, order=True)
class Recovery:
    """Seconds from a loss to the node's next start."""

    seconds: float
    loss: Loss

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s for {self.loss.node} of {self.loss.job}"


def recoveries(losses: Iterable[Loss], starts: Iterable[Start]) -> list[Recovery]:
    """How long each lost node waited, the shortest first.

    A loss without a next start is none: the process had sent the node's result before it died.
    """
    later: dict[tuple[str, str, str], list[Start]] = defaultdict(list)
    for start in starts:
        later[start.job, start.node, start.entry].append(start)
    waits = []
    for loss in losses:
        after = [start.at for start in later[loss.job, loss.node, loss.entry] if start.attempt > loss.attempt]
        if after:
            waits.append(Recovery(max(0.0, min(after) - loss.at), loss))
    return sorted(waits)


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest of sorted values that at least this part of them does not exceed; 0 of none."""
    return values[max(0, math.ceil(part * len(values)) - 1)] if values else 0.0


def slow_recovery(waits: Sequence[Recovery], lease: float) -> list[Violation]:
    """Whether more than one in a hundred waited too long."""
    limit, seen = lease + ALLOWED_SECONDS, quantile([wait.seconds for wait in waits], 0.99)
    if seen <= limit or len(waits) < ENOUGH:
        return []
    slowest = ", ".join(str(wait) for wait in reversed(waits[-5:]))
    return [
        Violation(
            "slow recovery",
            "nodes of killed workers",
            f"p99 ≤ {limit:.1f} s",
            f"{seen:.1f} s: {slowest}",
        )
    ]
