"""Attempts that this worker has begun: a lane, a folder and the word to the runner, and giving it all back.

An attempt begins as soon as its node is claimed, and a worker thread comes to watch over it afterwards: it does not
wait for what Dramatiq and the attempt before still have to do.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .capability import Kind
from .farm import Farm
from .graph.transitions import Claim
from .metrics import WorkerMetrics
from .offering import Offering
from .reports import Reports, node_times
from .runner_messages import Known
from .runner_pool import Lane
from .scratch import ScratchRoot
from .supervision import Lanes, Supervisor

log = logging.getLogger(__name__)


def kind_of(queue: str) -> Kind:
    """What a queue's services need."""
    return "gpu" if queue == "gpu" else "cpu"


@dataclass(slots=True)
class Running:
    """An attempt that was begun.

    Attributes:
        lane: ``None`` once another attempt has it.
        why_not: Why its service cannot run here: then no runner was told. ``None`` if one was.
        since: When it began (monotonic s).
        held: What ends with it, but for the lane.
    """

    claim: Claim
    lane: Lane | None
    scratch: Path
    reports: Reports
    why_not: str | None
    since: float
    held: ExitStack


class Attempts:
    """Begins and ends them."""

    def __init__(
        self,
        farm: Farm,
        metrics: WorkerMetrics,
        lanes: Lanes,
        scratch: ScratchRoot,
        offering: Offering,
        supervisor: Supervisor,
    ) -> None:
        self._farm = farm
        self._metrics = metrics
        self._lanes = lanes
        self._scratch = scratch
        self._offering = offering
        self._supervisor = supervisor

    def begin(self, claim: Claim, lane: Lane) -> Running:
        """Begin in a lane that is the attempt's from now on.

        Raises:
            OSError: There is no room for its folder; the lane is not taken.
        """
        with ExitStack() as held:
            folder = held.enter_context(self._scratch.folder())
            held.enter_context(self._metrics.active())
            capability = self._farm.registry.get(claim.service)
            why_not = self._lanes.missing.get(claim.service)
            if capability is None:
                why_not = "this worker does not know it"
            elif why_not is None:
                times = node_times(self._farm) if capability.runs_prompts else {}
                self._supervisor.start(lane, claim, folder, Known(self._offering.withheld, times))
            reports = Reports(self._farm, self._metrics, claim)
            return Running(claim, lane, folder, reports, why_not, time.monotonic(), held.pop_all())

    def begin_ahead(self, claim: Claim, queue: str, before: Running | None) -> Running | None:
        """Begin at once, in the lane of the attempt before or in a free one, if that can be done.

        Args:
            before: Has ended.
        """
        lane = before.lane if before is not None else self._lanes.lend_free(kind_of(queue))
        if lane is None:
            return None
        running = None
        try:
            if lane.reusable:
                running = self.begin(claim, lane)
        except OSError as error:
            log.warning("node %s of job %s cannot begin yet: %s", claim.node_id, claim.ref.job, error)
        if before is None and running is None:
            self._lanes.take_back(lane)
        elif before is not None and running is not None:
            before.lane = None
        return running

    def end(self, running: Running) -> None:
        """Give back what an attempt had."""
        running.held.close()
        lane, running.lane = running.lane, None
        if lane is not None:
            self._lanes.take_back(lane)

    def abandon(self, running: Running) -> None:
        """End one that nobody will watch over."""
        if running.why_not is None and running.lane is not None:
            running.lane.runner.kill(running.lane)
        self.end(running)
