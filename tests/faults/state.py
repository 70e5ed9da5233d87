"""The small world at one moment: what Redis holds and what each process still means to do."""

from __future__ import annotations

from typing import NamedTuple

from myspinbot_worker.graph.plan import State
from myspinbot_worker.graph.transitions import Charge

from .bugs import Statement

# An entry: not sent, in the stream, read by somebody, ended.
ABSENT, NEW, PENDING, DONE = range(4)

ENTRIES = ("v1", "v1-double", "v2", "v2-double")
"""What `process:data` can see of the job: two visits, of which one may be doubled."""

OUTCOMES = (
    (State.COMPLETED, Charge.NOTHING),
    (State.FAILED, Charge.ATTEMPT),
    (State.READY, Charge.ATTEMPT),
    (State.READY, Charge.LOST_WORKER),
    (State.READY, Charge.NOTHING),
)
"""How a worker may settle a node; the last three mean that it is tried again: after an error that passes, after its
process died under it, and because the worker stops."""


class Do:
    """The verbs of what a process has yet to do, one Redis step each; arguments follow the verb."""

    TAKE = 0
    """entry: admit an entry that was read or adopted."""
    REJECT = 1
    """entry: set a doubled entry aside."""
    SEND = 2
    """node: send the message of a ready node's next start."""
    READ = 3
    """Look whether the job's run is over, and read it."""
    CONCLUDE = 4
    """entry, run: the terminal act, with the run as it was read."""
    HOLD = 5
    """entry, node, current, newest, how, unanswered: settle a node this process started.

    ``current``: its token still is the node's token. ``newest``: its lease was not lost and no start followed,
    as one who sees everything knows; the statements are judged by it. ``unanswered``: 0, or 1 + the position in
    :data:`OUTCOMES` of what was recorded without this process knowing.
    """


class How:
    """How a process came to hold a node."""

    WORKER = 0
    AFTER_LOSS = 1
    """A reconciler, to fail a node that was lost too often."""
    INSTEAD_OF_SEND = 2
    """Whoever was to send it, to fail a node of an unknown service."""


Action = tuple[int, ...]
Todo = tuple[Action, ...]
Crew = tuple[Todo, ...]


class World(NamedTuple):
    """One state; processes of a kind are kept sorted, because which is which does not matter.

    Attributes:
        entries: What has become of each of :data:`ENTRIES`.
        entry, run: The open run (-1: none) and the entry it belongs to.
        messages: Nodes (bits) whose next start has a message that was not taken yet.
        seen: Visits (bits) remembered as concluded.
        closed: Visits (bits) that a run of theirs has ended: nothing more may be said of them.
        second: In which states the nodes come the second time (0: no second visit).
        published: The last progress that was published.
    """

    entries: tuple[int, ...]
    entry: int
    run: int
    messages: int
    seen: int
    closed: int
    second: int
    published: float
    workers: Crew
    ingestors: Crew


class Step(NamedTuple):
    """A step that can be taken.

    Attributes:
        fair: It will be taken some day by processes that do not crash and a network that does not fail.
        broken: The statement it breaks and how, if any.
    """

    label: tuple[object, ...]
    after: World
    fair: bool = True
    broken: tuple[Statement, str] | None = None


def visit_of(entry: int) -> int:
    return entry // 2


def ended(world: World) -> bool:
    """Whether every entry that was or will be sent has ended."""
    return not (world.second and world.entries[2] == ABSENT) and not any(
        entry in (NEW, PENDING) for entry in world.entries
    )


def replaced(entries: tuple[int, ...], entry: int, status: int) -> tuple[int, ...]:
    return (*entries[:entry], status, *entries[entry + 1 :])
