"""Puts right what a crash left open; every ingestor replica runs one, and they do not need to agree.

Each look is an idempotent question to Redis: nodes whose lease ran out, ready nodes without a message, runs
that are over but not concluded, entries that were read but never admitted, messages of dead processes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from .bridge import Entry
from .dispatcher import Dispatcher
from .farm import QUEUES, Farm
from .metrics import IngestorMetrics
from .redis_clients import TRANSIENT

log = logging.getLogger(__name__)

_PAGE = 500
_CONCLUDING_MS = 1000
"""Whoever settled the last node concludes the run; only what it left open for this long is taken up."""
_GONE_SECONDS = 3600.0
"""A live ingestor reads every few seconds; one that has been silent this long is gone."""
_RECHECK_FACTOR = 6
"""A ready node whose message exists (a backlog) is looked at less often than a fresh one."""


class Reconciler:
    """Looks every few seconds.

    Args:
        take: Admits or rejects an entry.
        consumer: Name under which entries are claimed.
    """

    def __init__(
        self,
        farm: Farm,
        dispatcher: Dispatcher,
        take: Callable[[Entry], None],
        metrics: IngestorMetrics,
        consumer: str,
        stopping: threading.Event,
    ) -> None:
        self.farm = farm
        self.dispatcher = dispatcher
        self.take = take
        self.metrics = metrics
        self.consumer = consumer
        self.stopping = stopping
        self.beat = time.monotonic()
        self._done: dict[str, float] = {}

    def run(self) -> None:
        """Look until stopped."""
        while not self.stopping.wait(self.farm.settings.farm.reconcile_seconds):
            self.beat = time.monotonic()
            self.look()

    def look(self) -> None:
        """One look at everything; what fails is looked at again the next time and holds up nothing else."""
        for step, period in (
            (self.expire_leases, 0.0),
            (self.resend_messages, 0.0),
            (self.conclude_runs, 0.0),
            (self.adopt_entries, 0.0),
            (self.maintain_queues, self.farm.settings.farm.heartbeat_seconds / 6),
            (self.forget_consumers, _GONE_SECONDS / 60),
        ):
            now = time.monotonic()
            if now - self._done.get(step.__name__, float("-inf")) >= period:
                self._done[step.__name__] = now
                self._guarded(step.__name__, step)

    def _guarded(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except TRANSIENT as error:
            log.warning("%s: Redis: %s", what, error)
        except Exception:  # one thing that cannot be put right must not stop the rest from being
            log.exception("%s failed; it will be tried again", what)

    def maintain_queues(self) -> None:
        """Take back messages that dead processes left unacknowledged."""
        for queue in QUEUES:
            self.farm.broker.maintain(queue)

    def expire_leases(self) -> None:
        """Start nodes of lost workers again, or fail them after too many."""
        found = self.farm.store.expire(self.dispatcher.worker)
        self._count("lost_lease", len(found.again) + len(found.lost) + found.halted)
        for node in found.again:
            log.warning("node %s of job %s lost its worker; it starts again", node.node_id, node.ref.job)
        self.dispatcher.send(found.again)
        most = self.farm.store.limits.max_lost_attempts
        for node in found.lost:
            self.dispatcher.send(
                self.dispatcher.record_failure(
                    node,
                    node.token,
                    "worker_lost",
                    f"{most} workers in turn were lost while running this node",
                )
            )

    def resend_messages(self) -> None:
        """Send the messages of ready nodes that have none: unsent, lost, or due for a retry."""
        due = self.farm.store.due(self.farm.store.limits.message_check_ms * _RECHECK_FACTOR)
        self._count("message", self.dispatcher.resend_missing(due))

    def conclude_runs(self) -> None:
        """Conclude runs whose visit is over."""
        store = self.farm.store
        for job in store.over_since(_CONCLUDING_MS, _PAGE):
            self._guarded(f"concluding {job}", partial(self._conclude, job))

    def _conclude(self, job: str) -> None:
        self._count("conclusion", int(self.dispatcher.conclude(job)))

    def adopt_entries(self) -> None:
        """Admit entries that were read by an ingestor that did not get to it, or that waited for their job."""
        store, bridge = self.farm.store, self.farm.bridge
        idle = self.farm.settings.farm.reclaim_idle_seconds
        for page in bridge.pending(idle):
            orphans = [entry for entry, job in zip(page, store.open_runs(page), strict=True) if job is None]
            if not orphans:
                continue
            for entry in bridge.adopt(self.consumer, orphans, idle):
                if self.stopping.is_set():
                    return
                self._count("entry", 1)
                self._guarded(f"entry {entry.id}", partial(self.take, entry))

    def forget_consumers(self) -> None:
        """Drop the names of ingestors that are long gone and have nothing pending."""
        for consumer in self.farm.bridge.silent_consumers(_GONE_SECONDS):
            if self.farm.store.retire_consumer(consumer):
                log.info("ingestor %s is long gone; its name is dropped", consumer)

    def retire(self) -> None:
        """Remove this replica's consumer name if nothing is pending under it."""
        store = self.farm.store
        try:
            store.retire_consumer(self.consumer)
        except TRANSIENT as error:
            log.warning("consumer %s stays registered: %s", self.consumer, error)

    def _count(self, what: str, number: int) -> None:
        if number:
            self.metrics.repairs.labels(what).inc(number)
