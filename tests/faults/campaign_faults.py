"""The faults of a campaign, all of them known from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What befalls the farm."""

    KILL_COMMAND = "a worker command killed"
    KILL_WORKER = "a worker process killed"
    KILL_TASK = "a task's process killed"
    KILL_INGESTOR = "an ingestor killed"
    STOP_WORKER = "a worker command asked to stop"
    STOP_INGESTOR = "an ingestor asked to stop"
    FREEZE_COMMAND = "a worker command frozen"
    FREEZE_WORKER = "a worker process frozen"
    FREEZE_INGESTOR = "an ingestor frozen"
    KILL_REDIS = "Redis killed"
    CUT_CONNECTIONS = "all connections to Redis cut"
    KILL_STORAGE = "storage killed"
    FREEZE_STORAGE = "storage frozen"
    DOUBLE_ENTRY = "a stream entry doubled"
    DOUBLE_MESSAGE = "a message doubled"


SHARES: dict[Kind, int] = {
    Kind.KILL_COMMAND: 9,
    Kind.KILL_WORKER: 10,
    Kind.KILL_TASK: 10,
    Kind.KILL_INGESTOR: 9,
    Kind.STOP_WORKER: 5,
    Kind.STOP_INGESTOR: 3,
    Kind.FREEZE_COMMAND: 4,
    Kind.FREEZE_WORKER: 6,
    Kind.FREEZE_INGESTOR: 6,
    Kind.KILL_REDIS: 4,
    Kind.CUT_CONNECTIONS: 8,
    Kind.KILL_STORAGE: 4,
    Kind.FREEZE_STORAGE: 4,
    Kind.DOUBLE_ENTRY: 9,
    Kind.DOUBLE_MESSAGE: 9,
}
"""Parts of a hundred."""

DEADLY = frozenset({Kind.KILL_TASK})
"""Only where tasks have a process of their own."""

FREEZES = frozenset({Kind.FREEZE_COMMAND, Kind.FREEZE_WORKER, Kind.FREEZE_INGESTOR})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        after: It comes when so many visits have ended.
        pick: 0 to 1: which of several it befalls.
        seconds: How long it lasts; 0 where that is not ours to say.
    """

    number: int
    kind: Kind
    after: int
    pick: float
    seconds: float = 0.0


def plan_faults(seed: int, count: int, visits: int, lease: float, *, deadly: bool) -> list[Fault]:
    """So many faults, each kind by its share, spread over the campaign at random.

    Args:
        visits: How many visits there will be; the last tenth is left in peace, so that no fault comes too late.
        lease: Seconds; who is frozen is so for longer.
        deadly: Whether tasks have a process of their own, which can be killed.
    """
    chance = random.Random(f"faults-{seed}")
    kinds = shared_out(count, [kind for kind in SHARES if deadly or kind not in DEADLY])
    chance.shuffle(kinds)
    moments = sorted(chance.randrange(max(1, visits * 9 // 10)) for _ in kinds)
    faults = []
    for number, (kind, after) in enumerate(zip(kinds, moments, strict=True)):
        seconds = 0.0
        if kind in FREEZES:
            seconds = lease + chance.uniform(0.2, 2.0)
        elif kind in (Kind.KILL_STORAGE, Kind.FREEZE_STORAGE):
            seconds = chance.uniform(0.2, 2.0)
        faults.append(Fault(number, kind, after, chance.random(), round(seconds, 3)))
    return faults


def shared_out(count: int, among: list[Kind]) -> list[Kind]:
    """So many kinds by their shares; each once where there are enough."""
    order = sorted(among, key=lambda kind: -SHARES[kind])
    kinds = order[:count]
    # Whoever is furthest behind its share is next.
    numbers = {kind: kinds.count(kind) for kind in order}
    while len(kinds) < count:
        kinds.append(min(order, key=lambda kind: (numbers[kind] + 0.5) / SHARES[kind]))
        numbers[kinds[-1]] += 1
    return kinds
