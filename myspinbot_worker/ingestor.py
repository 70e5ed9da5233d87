"""From ``process:data`` to runs: one entry in, one run (or one dead letter) out.

Any number of replicas may run. An entry is read by one of them and stays pending until the run's conclusion
acknowledges it, whoever concludes; the consumer that read it has no further part in it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

import redis

from .admission import job_of, read_entry
from .bridge import Entry
from .dispatcher import Dispatcher
from .errors import RejectedEntry
from .farm import Farm
from .graph.ending import Ending
from .metrics import IngestorMetrics
from .reconciler import Reconciler
from .redis_clients import BLOCK_SECONDS, passes

log = logging.getLogger(__name__)


class Ingestor:
    """Reads entries until stopped.

    Args:
        farm: Built with the actors loaded, so that services can be routed.
    """

    def __init__(self, farm: Farm, metrics: IngestorMetrics) -> None:
        self.farm = farm
        self.metrics = metrics
        self.dispatcher: Dispatcher = farm.dispatcher(self._count_ending)
        self.consumer = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        self.stopping = threading.Event()
        self.beat = time.monotonic()
        self.reconciler = Reconciler(farm, self.dispatcher, self.take, metrics, self.consumer, self.stopping)
        self._group_known = False

    def run(self) -> None:
        """Read and admit entries until :meth:`stop`; survives a Redis that goes away and comes back."""
        reconciling = threading.Thread(target=self.reconciler.run, name="reconciler")
        reconciling.start()
        log.info("ingestor %s reads %s", self.consumer, self.farm.store.streams.data)
        try:
            while not self.stopping.is_set():
                self.beat = time.monotonic()
                self.metrics.iterations.inc()
                try:
                    self._turn()
                except redis.RedisError as error:
                    if not (passes(error) or isinstance(error, redis.ResponseError)):
                        raise
                    # No entry is to blame for what Redis refuses; what was read and not admitted is adopted later.
                    log.log(logging.WARNING if passes(error) else logging.ERROR, "Redis: %s", error)
                    self._group_known = False
                    self.stopping.wait(0.5)
        finally:
            self.stopping.set()
            reconciling.join()
            self.reconciler.retire()
            log.info("ingestor %s stopped", self.consumer)

    def stop(self) -> None:
        """Ask :meth:`run` to end after the entry in hand; what was read and not admitted is others' to claim."""
        self.stopping.set()

    def _turn(self) -> None:
        bridge = self.farm.bridge
        if not self._group_known:
            bridge.ensure_group()
            self._group_known = True
        for entry in bridge.read(self.consumer, self.farm.settings.streams.batch_size, BLOCK_SECONDS):
            if self.stopping.is_set():
                return
            self.take(entry)

    def take(self, item: Entry) -> None:
        """Admit or reject one entry. Safe to do twice, and by several replicas at once."""
        entry, fields = item.id, item.fields
        settings, store = self.farm.settings.farm, self.farm.store
        try:
            admission = read_entry(
                entry, fields, max_bytes=settings.max_entry_bytes, max_nodes=settings.max_nodes
            )
        except Exception as unforeseen:  # noqa: BLE001 - see _internal
            error = unforeseen if isinstance(unforeseen, RejectedEntry) else _internal(unforeseen, entry)
            if store.reject(entry, error.code, error.message, fields, job_of(fields)):
                log.warning("entry %s rejected: %s", entry, error.message)
                self.metrics.entries.labels("rejected").inc()
            return
        outcome, ready = store.admit(
            entry,
            admission.document,
            admission.plan,
            admission.created,
            admission.fingerprint,
            keep_going=settings.keep_going,
        )
        self.metrics.entries.labels(outcome).inc()
        match outcome:
            case "ok" if ready:
                self.dispatcher.send(ready)
            case "ok":
                self.dispatcher.conclude(admission.job)
            case "duplicate":
                log.warning("entry %s repeats an earlier one of job %s", entry, admission.job)
                store.reject(entry, "duplicate", "the same entry was taken before", fields, None)
            case "busy":
                # The job's open visit ends first; reconciliation comes back to this entry.
                log.info("entry %s waits: job %s has an open visit", entry, admission.job)

    def _count_ending(self, job: str, ending: Ending) -> None:
        self.metrics.endings.labels(ending.verdict).inc()


def _internal(error: Exception, entry: str) -> RejectedEntry:
    """An entry that brings admission down is set aside with the reason, not read again for ever."""
    log.error("entry %s brought admission down", entry, exc_info=error)
    return RejectedEntry(f"admission failed: {type(error).__name__}")
