"""What an operator sees of jobs, runs and nodes, as values; :mod:`.inspection` reads them out of Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SUCCESSFUL = frozenset({"completed", "completed_with_skips", "hand_back"})
"""Verdicts of a visit that went well."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """An open run, in numbers.

    Attributes:
        entry: The stream entry it came from.
        admitted_ms, started_ms: Since when it is open, and since when a node of it has run (Redis' clock).
        nodes, done: Nodes of both planes; those that are completed, failed or skipped.
        running, ready: Nodes that workers hold; nodes that wait for a worker.
        progress: The job's, 0 to 1.
        failing: A node has failed and nothing takes the failure up.
        over: Nothing more will start; the conclusion is due.
    """

    job: str
    entry: str
    admitted_ms: int
    started_ms: int | None
    nodes: int
    done: int
    running: int
    ready: int
    progress: float
    cancelled: bool
    failing: bool
    over: bool


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node as it is now.

    Attributes:
        state: waiting, ready, running, completed, failed or skipped.
        ours: It is on the python plane, so this farm runs it.
        fraction: Its done part, 0 to 1.
        attempts: Starts so far, those of earlier visits included as far as the graph tells.
        lost: Workers it has cost in this visit.
        worker: Who runs it, or who failed it.
        started_ms: When its last start began, in this visit.
        error: The last failed attempt's error.
    """

    index: int
    id: str
    service: str
    state: str
    ours: bool = True
    fraction: float = 0.0
    attempts: int = 0
    lost: int = 0
    worker: str | None = None
    started_ms: int | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Concluded:
    """A visit that has ended.

    Attributes:
        verdict: hand_back, completed, completed_with_skips, failed, cancelled, or rejected (a dead letter).
        reason: Why it failed; empty otherwise.
        admitted_ms: ``None`` if the entry never became a run, or if that is not known any more.
        ended_ms: ``None`` if that is not known any more.
    """

    job: str
    entry: str
    verdict: str
    reason: str = ""
    admitted_ms: int | None = None
    ended_ms: int | None = None
    nodes: int = 0

    @property
    def successful(self) -> bool:
        return self.verdict in SUCCESSFUL


@dataclass(frozen=True, slots=True)
class JobState:
    """Everything that is known of a job.

    Attributes:
        phase: ``open`` (a visit is under way), ``waiting`` (its entry was not taken up yet), ``ended`` (its
            last visit is over), ``elsewhere`` (known, but it was not seen here) or ``unknown``.
        entry: The stream entry of the open, waiting or last visit.
        nodes: From the open run, else from the ``job:<id>`` snapshot.
        last: The visit that ended; only when ``phase`` is ``ended``.
        status, progress: What the control plane has kept; an open run's own progress wins.
        created_ms: As the snapshot has it.
    """

    job: str
    phase: str
    entry: str | None = None
    run: RunSummary | None = None
    nodes: tuple[NodeState, ...] = ()
    last: Concluded | None = None
    status: str | None = None
    progress: float | None = None
    created_ms: int | None = None


def count_states(nodes: Iterable[NodeState]) -> dict[str, int]:
    """How many nodes are in each state."""
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.state] = counts.get(node.state, 0) + 1
    return counts
