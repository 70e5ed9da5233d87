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
from collections.abc import Iterable, Iterator, Sequence

import redis

from .admission import Admission, job_of, read_entry
from .bridge import Entry
from .dispatcher import Dispatcher
from .errors import RejectedEntry
from .farm import Farm
from .graph.ending import Ending
from .graph.transitions import Arrival
from .janitor import Janitor
from .metrics import IngestorMetrics
from .reconciler import Reconciler
from .redis_clients import BLOCK_SECONDS, passes

log = logging.getLogger(__name__)

_ROOM_SECONDS = 0.1
"""Between two looks whether another run may be opened."""
_TRIP_BYTES = 1 << 20
"""About how much is admitted in one round trip."""


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
        self.janitor = Janitor(farm, self.stopping)
        self._group_known = False

    def run(self) -> None:
        """Read and admit entries until :meth:`stop`; survives a Redis that goes away and comes back."""
        threads = [
            threading.Thread(target=self.reconciler.run, name="reconciler"),
            threading.Thread(target=self.janitor.run, name="janitor"),
        ]
        for thread in threads:
            thread.start()
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
            for thread in threads:
                thread.join()
            self.reconciler.retire()
            log.info("ingestor %s stopped", self.consumer)

    def stop(self) -> None:
        """Ask :meth:`run` to end after the entry in hand; what was read and not admitted is others' to claim."""
        self.stopping.set()

    def _turn(self) -> None:
        bridge = self.farm.bridge
        if not self._group_known:
            made = bridge.ensure_group()
            # A new group reads again what was not deleted: what was counted of an earlier one says nothing.
            self.farm.store.open_books(anew=made)
            self._group_known = True
        for batch in _batches(
            bridge.read(self.consumer, self.farm.settings.streams.batch_size, BLOCK_SECONDS)
        ):
            if self.stopping.is_set():
                return
            for entry in self._take_all(batch):
                while not self.stopping.is_set() and not self.take(entry):
                    self._wait_for_room()

    def _wait_for_room(self) -> None:
        """As many runs are open as may be; what is not read stays in the stream, in order."""
        while not self.stopping.wait(_ROOM_SECONDS) and self.farm.store.room() <= 0:
            self.beat = time.monotonic()

    def take(self, item: Entry) -> bool:
        """Admit or reject one entry. Safe to do twice, and by several replicas at once.

        Returns:
            ``False`` if as many runs are open as may be: the entry waits, and so should those after it.
        """
        return not self._take_all([item])

    def _take_all(self, items: Sequence[Entry]) -> list[Entry]:
        """Admit or reject entries, in order; those for which there is no room."""
        store = self.farm.store
        if len(items) > 1 and store.room() < len(items):
            # Room that is made meanwhile must not go to a later one.
            return list(items)
        read = [(item, admission) for item in items if (admission := self._read(item)) is not None]
        answers = store.admit_all(
            [
                Arrival(item.id, given.document, given.plan, given.created, given.fingerprint)
                for item, given in read
            ],
            keep_going=self.farm.settings.farm.keep_going,
        )
        waiting = []
        for (item, admission), (outcome, ready) in zip(read, answers, strict=True):
            if outcome == "full":
                waiting.append(item)
                continue
            self.metrics.entries.labels(outcome).inc()
            match outcome:
                case "ok" if ready:
                    self.dispatcher.send(ready)
                case "ok" | "cancelled":
                    self.dispatcher.conclude(admission.job)
                case "duplicate":
                    log.warning("entry %s repeats an earlier one of job %s", item.id, admission.job)
                    store.reject(item.id, "duplicate", "the same entry was taken before", item.fields, None)
                case "busy":
                    # The job's open visit ends first; reconciliation comes back to this entry.
                    log.info("entry %s waits: job %s has an open visit", item.id, admission.job)
        return waiting

    def _read(self, item: Entry) -> Admission | None:
        """Understand an entry; one that cannot be understood is rejected."""
        entry, fields = item.id, item.fields
        settings, store = self.farm.settings.farm, self.farm.store
        try:
            return read_entry(entry, fields, max_bytes=settings.max_entry_bytes, max_nodes=settings.max_nodes)
        except Exception as unforeseen:  # noqa: BLE001 - see _internal
            error = unforeseen if isinstance(unforeseen, RejectedEntry) else _internal(unforeseen, entry)
            if store.reject(entry, error.code, error.message, fields, job_of(fields)):
                log.warning("entry %s rejected: %s", entry, error.message)
                self.metrics.entries.labels("rejected").inc()
            return None

    def _count_ending(self, ending: Ending, cancelled_seconds: float | None) -> None:
        self.metrics.endings.labels(ending.verdict).inc()
        if cancelled_seconds is not None:
            self.metrics.cancel.observe(cancelled_seconds)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Entries that are admitted in one round trip; large ones are not gathered in memory."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += sum(map(len, entry.fields.values()))
        if size >= _TRIP_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _internal(error: Exception, entry: str) -> RejectedEntry:
    """An entry that brings admission down is set aside with the reason, not read again for ever."""
    log.error("entry %s brought admission down", entry, exc_info=error)
    return RejectedEntry(f"admission failed: {type(error).__name__}")
