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
from .farm import Farm
from .keys import QUEUES
from .metrics import IngestorMetrics
from .redis_clients import TRANSIENT

log = logging.getLogger(__name__)

_PAGE = 500
_CONCLUDING_MS = 1000
"""Whoever settled the last node concludes the run; only what it left open for this long is taken up."""
_GONE_SECONDS = 3600.0
"""A live ingestor reads every few seconds; one that has been silent this long is gone."""
_OLD_LETTERS_SECONDS = 3600.0
"""Between two looks for Dramatiq's dead letters that are older than a week."""
_RECHECK_FACTOR = 6
"""A ready node whose message exists (a backlog) is looked at less often than a fresh one."""


class Reconciler:
    """Looks every few seconds.

    Args:
        take: Admits or rejects an entry; ``False`` if it has to wait for room.
        consumer: Name under which entries are claimed.
    """

    def __init__(
        self,
        farm: Farm,
        dispatcher: Dispatcher,
        take: Callable[[Entry], bool],
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
        self._full = self._idle = False
        self._maintained = float("-inf")

    def run(self) -> None:
        """Look until stopped."""
        while not self.stopping.wait(self.farm.settings.farm.reconcile_seconds):
            self.beat = time.monotonic()
            self.look()

    def look(self) -> None:
        """One look at everything; what fails is looked at again the next time and holds up nothing else."""
        self._idle = False
        self._guarded("asking what is open", self._ask)
        of_runs = (self.expire_leases, self.resend_messages, self.cancel_jobs, self.conclude_runs)
        for step, period in (
            *((step, 0.0) for step in of_runs if not self._idle),
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

    def _ask(self) -> None:
        self._idle = self.farm.store.is_idle()

    def maintain_queues(self) -> None:
        """Take back messages that dead processes left unacknowledged, and forget dead letters that are too old."""
        broker, now = self.farm.broker, time.monotonic()
        # It looks dead itself if it is not heard of, and all processes would look after it.
        broker.beat()
        if broker.silent_processes() or now - self._maintained >= _OLD_LETTERS_SECONDS:
            self._maintained = now
            for queue in QUEUES:
                broker.maintain(queue)

    def expire_leases(self) -> None:
        """Start nodes of lost workers again, or fail them after too many."""
        found = self.farm.store.expire(self.dispatcher.worker)
        self._count("lost_lease", len(found.again) + len(found.lost) + found.halted)
        for node in found.again:
            log.warning("node %s of job %s lost its worker; it starts again", node.node_id, node.ref.job)
        self.dispatcher.send(found.again, first=True)
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

    def cancel_jobs(self) -> None:
        """Cancel what other programs asked for; a request that meets no visit for long is dropped."""
        store = self.farm.store
        for job in store.cancel_requests(self.farm.settings.jobs.ttl_seconds * 1000, _PAGE):
            if store.cancel(job) is not None:
                self._guarded(f"concluding {job}", partial(self._conclude, job))

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
        self._full = False
        for page in bridge.pending(idle):
            orphans = [entry for entry, job in zip(page, store.open_runs(page), strict=True) if job is None]
            if not orphans:
                continue
            for entry in bridge.adopt(self.consumer, orphans, idle):
                if self.stopping.is_set():
                    return
                self._guarded(f"entry {entry.id}", partial(self._adopt, entry))
                if self._full:
                    return

    def _adopt(self, entry: Entry) -> None:
        self._full = not self.take(entry)
        self._count("entry", int(not self._full))

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
