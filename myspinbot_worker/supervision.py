"""Watches over one attempt: keeps its lease, passes on what it tells, and ends it when it must end."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .artifact_cache import CachedFetch
from .attempt import Outcome, outcome_of_death, outcome_of_stop
from .capability import Capability, Kind
from .graph.transitions import Claim
from .ladder import Ladder, Rung
from .runner_messages import (
    NOTHING_KNOWN,
    Asks,
    Data,
    Finished,
    Interrupt,
    Kept,
    Known,
    KnownResult,
    LookedUp,
    Moved,
    NodeTimes,
    Progress,
    Start,
    Stop,
    Uploads,
    UsesDevice,
)
from .runner_pool import Lane, RunnerDied
from .task import stop_error

log = logging.getLogger(__name__)

_RENEW_SECONDS = 1.0

RETURNED = Outcome("returned", "")


class Lanes(Protocol):
    """Where attempts run (:class:`.runner_pool.RunnerPool`)."""

    @property
    def missing(self) -> Mapping[str, str]: ...

    def start(self) -> None: ...

    def free(self, kind: Kind) -> int: ...

    def lend(self, kind: Kind) -> Lane: ...

    def lend_free(self, kind: Kind) -> Lane | None: ...

    def take_back(self, lane: Lane) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wire:
    """What an attempt tells goes here.

    Attributes:
        renew: Extends the lease, and reports a fraction if there is one: ``ok``, ``cancelled`` or ``lost``.
        kept: The same; the attempt kept a step that was not there before.
        publish: Publishes to the job's data channel.
        uploads: Told before the first object is written.
        moved: Counts bytes of artifacts.
        node_times: Told how long ComfyUI's node classes took (s).
        looked_up: Counts looks into the cache of artifacts.
        known: The memo of an earlier result, by the digest of its fingerprint.
    """

    renew: Callable[[float | None], str]
    kept: Callable[[], str]
    publish: Callable[[str], object]
    uploads: Callable[[], None]
    moved: Callable[[str, int], None]
    node_times: Callable[[Mapping[str, float]], None]
    looked_up: Callable[[CachedFetch], None]
    known: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long attempts are waited for.

    Attributes:
        lease_seconds: They belong to this worker without a renewal.
        notice_seconds, interrupt_seconds: See :class:`.ladder.Ladder`.
        most_lost: After how many lost processes a node fails.
    """

    lease_seconds: float
    notice_seconds: float
    interrupt_seconds: float
    most_lost: int


class _Clock:
    """When an attempt's time is up; waiting for the device is not its time."""

    def __init__(self, limit: float, now: float) -> None:
        self._ends = now + limit if limit > 0 else math.inf
        self._waiting_since: float | None = None

    def waits(self, now: float) -> None:
        self._waiting_since = now

    def goes_on(self, now: float) -> None:
        if self._waiting_since is not None:
            self._ends += now - self._waiting_since
            self._waiting_since = None

    @property
    def ends_at(self) -> float:
        return math.inf if self._waiting_since is not None else self._ends


class Supervisor:
    """Starts attempts in lanes and watches over them, one in each thread that calls :meth:`watch`."""

    def __init__(self, patience: Patience, worker: str, device: str) -> None:
        self._patience = patience
        self._worker = worker
        self._device = device
        self._returning = threading.Event()

    def return_all(self) -> None:
        """End every attempt now, as returned: this worker stops."""
        self._returning.set()

    def start(self, lane: Lane, claim: Claim, scratch: Path, known: Known = NOTHING_KNOWN) -> None:
        """Tell the runner to begin.

        Args:
            known: What the farm knows and a runner, which has no Redis, cannot ask.
        """
        lane.send(Start(claim, scratch, self._device, self._worker, known))

    def watch(self, lane: Lane, claim: Claim, capability: Capability, wire: Wire) -> Outcome:
        """See a started attempt to its end."""
        period = min(_RENEW_SECONDS, self._patience.lease_seconds / 3)
        ladder = Ladder(self._patience.notice_seconds, self._patience.interrupt_seconds)
        now = time.monotonic()
        clock, renew_at = _Clock(capability.timeout_seconds, now), now + period
        kept = False
        while True:
            if self._returning.is_set():
                lane.runner.kill()
                return RETURNED
            if now >= renew_at:
                _learn(ladder, wire.renew(None), now)
                renew_at = now + period
            if now >= clock.ends_at:
                ladder.begin("timeout", now)
            self._step(ladder, now, lane, claim)
            due = renew_at if ladder.reason else min(renew_at, clock.ends_at)
            try:
                message = lane.receive(min(due, ladder.next_at) - now)
            except RunnerDied as died:
                return self._died(died, lane, claim, ladder, kept)
            now = time.monotonic()
            match message:
                case Progress(fraction):
                    _learn(ladder, wire.renew(fraction), now)
                case Data(text):
                    wire.publish(text)
                case Uploads():
                    wire.uploads()
                case Kept():
                    kept = True
                    _learn(ladder, wire.kept(), now)
                case Moved(direction, size):
                    wire.moved(direction, size)
                case NodeTimes(seconds):
                    wire.node_times(seconds)
                case Asks(digest):
                    lane.send(KnownResult(digest, wire.known(digest)))
                case LookedUp(fetched):
                    wire.looked_up(fetched)
                case UsesDevice("waiting"):
                    clock.waits(now)
                case UsesDevice():
                    clock.goes_on(now)
                case Finished(outcome):
                    return self._finished(outcome, claim, ladder)

    def _step(self, ladder: Ladder, now: float, lane: Lane, claim: Claim) -> None:
        step, reason = ladder.step(now), ladder.reason
        if step is None or reason is None:
            return
        if step is not Rung.TOLD:
            log.warning(
                "node %s of job %s (%s) is %s", claim.node_id, claim.ref.job, reason, step.name.lower()
            )
        match step:
            case Rung.TOLD:
                lane.send(Stop(claim.attempt, reason))
            case Rung.INTERRUPTED:
                lane.send(Interrupt(claim.attempt))
            case Rung.KILLED:
                lane.runner.kill(lane)

    def _finished(self, outcome: Outcome, claim: Claim, ladder: Ladder) -> Outcome:
        if ladder.reason is None or outcome.kind == "completed":
            return outcome
        # Whatever the task made of being stopped.
        return outcome_of_stop(
            stop_error(ladder.reason, claim.node_id), claim, self._worker, ladder.rung.name.lower()
        )

    def _died(self, died: RunnerDied, lane: Lane, claim: Claim, ladder: Ladder, kept: bool) -> Outcome:
        runner = lane.runner
        if self._returning.is_set() or not runner.answers_for_death(lane):
            return RETURNED
        if ladder.reason is not None:
            return outcome_of_stop(stop_error(ladder.reason, claim.node_id), claim, self._worker, "killed")
        log.error("node %s of job %s: its runner %s", claim.node_id, claim.ref.job, died.how)
        return outcome_of_death(claim, self._worker, died.how, self._patience.most_lost, spared=kept)


def _learn(ladder: Ladder, answer: str, now: float) -> None:
    if answer == "cancelled":
        ladder.begin("cancelled", now)
    elif answer == "lost":
        ladder.begin("lost", now)
