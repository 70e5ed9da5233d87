"""Prometheus metrics: the four the platform's dashboards read, and what operators need besides.

Every process has its own registry and serves its own page; sums over processes are Prometheus' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from .artifact_cache import CachedFetch
from .broker import FarmBroker
from .graph.ending import Ending
from .graph.store import RunStore
from .redis_clients import TRANSIENT

_CANCEL_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 300)
_DURATIONS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)


def new_registry() -> CollectorRegistry:
    """A registry with the default collectors (process, platform, garbage collection)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def cancel_histogram(registry: CollectorRegistry) -> Histogram:
    return Histogram(
        "farm_cancel_seconds",
        "From a job being cancelled to its end.",
        buckets=_CANCEL_SECONDS,
        registry=registry,
    )


class WorkerMetrics:
    """What a worker process counts. ``type`` is the service id, as the dashboards expect."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._active = Gauge("worker_active_tasks", "Nodes this process is working on.", registry=registry)
        self._jobs = Counter(
            "worker_jobs_total", "Attempts at nodes that ended, by service.", ["type"], registry=registry
        )
        self._results = Counter(
            "worker_results_total",
            "The same by service and by how they ended.",
            ["type", "result"],
            registry=registry,
        )
        self._seconds = Histogram(
            "worker_job_duration_seconds",
            "How long attempts took.",
            ["type"],
            buckets=_DURATIONS,
            registry=registry,
        )
        self._wait = Histogram(
            "worker_queue_wait_seconds", "From a message being sent to its node being claimed.", ["type"],
            buckets=_DURATIONS, registry=registry,
        )  # fmt: skip
        self._bytes = Counter(
            "worker_artifact_bytes_total", "Bytes of artifacts moved.", ["direction"], registry=registry
        )
        self._lookups = Counter(
            "worker_cache_lookups_total",
            "Looks into this machine's cache of artifacts, by what came of them.",
            ["result"],
            registry=registry,
        )
        self._cached_bytes = Counter(
            "worker_cache_bytes_total", "Bytes of the artifacts looked for.", ["result"], registry=registry
        )
        self._reused = Counter(
            "worker_reused_total",
            "Nodes that took an earlier result, by service.",
            ["type"],
            registry=registry,
        )
        self._cancel = cancel_histogram(registry)
        self._of: dict[tuple[str, str], tuple[Counter, Counter, Histogram]] = {}

    def active(self) -> AbstractContextManager[None]:
        """Counts one running task for the length of the block."""
        return self._active.track_inprogress()

    def moved(self, direction: str, size: int) -> None:
        self._bytes.labels(direction).inc(size)

    def reused(self, service: str) -> None:
        self._reused.labels(service).inc()

    def looked_up(self, fetched: CachedFetch) -> None:
        self._lookups.labels(fetched.result).inc()
        self._cached_bytes.labels(fetched.result).inc(fetched.size)

    def concluded(self, ending: Ending, cancelled_seconds: float | None) -> None:
        if cancelled_seconds is not None:
            self._cancel.observe(cancelled_seconds)

    def waited(self, service: str, seconds: float) -> None:
        self._wait.labels(service).observe(max(0.0, seconds))

    def ended(self, service: str, result: str, seconds: float) -> None:
        # Finding labelled metrics takes several times as long as counting.
        found = self._of.get((service, result))
        if found is None:
            jobs, results = self._jobs.labels(service), self._results.labels(service, result)
            found = self._of[service, result] = (jobs, results, self._seconds.labels(service))
        jobs, results, durations = found
        jobs.inc()
        results.inc()
        durations.observe(seconds)


class IngestorMetrics:
    """What an ingestor process counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.iterations = Counter(
            "worker_loop_iterations_total", "Turns of the ingestor's loop.", registry=registry
        )
        self.entries = Counter(
            "farm_entries_total",
            "Entries of the data stream, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self.endings = Counter(
            "farm_runs_concluded_total",
            "Runs concluded by this process, by verdict.",
            ["verdict"],
            registry=registry,
        )
        self.cancel = cancel_histogram(registry)
        self.repairs = Counter(
            "farm_reconciled_total", "What reconciliation put right.", ["what"], registry=registry
        )


class FarmCollector(Collector):
    """The farm's state in Redis, read when Prometheus asks: the same from every ingestor."""

    def __init__(self, store: RunStore, broker: FarmBroker, queues: tuple[str, ...]) -> None:
        self._store, self._broker, self._queues = store, broker, queues

    def describe(self) -> list[Metric]:
        # Without this, registering would call collect(), and Redis may be away just then.
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("farm_redis_up", "Whether Redis answered this scrape.")
        try:
            found = list(self._read())
        except TRANSIENT:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from found

    def _read(self) -> Iterator[Metric]:
        client, keys = self._store.client, self._store.keys
        depth = GaugeMetricFamily("farm_queue_depth", "Messages waiting for a worker.", labels=["queue"])
        for queue in self._queues:
            depth.add_metric([queue], self._broker.depth(queue))
        yield depth
        yield GaugeMetricFamily(
            "farm_runs_open", "Runs admitted and not concluded.", value=client.hlen(keys.runs)
        )
        yield GaugeMetricFamily(
            "farm_nodes_running", "Nodes leased to workers.", value=client.zcard(keys.leases)
        )
        yield GaugeMetricFamily(
            "farm_dead_letters", "Entries in the dead-letter stream.", value=client.xlen(keys.dead)
        )
        totals = client.hgetall(keys.counters)
        for name, text in (
            ("redeliveries", "Nodes taken from a worker whose lease ran out."),
            ("fenced_results", "Results refused because another start was newer."),
        ):
            counter = CounterMetricFamily(f"farm_{name}", text)
            counter.add_metric([], int(totals.get(name, 0)))
            yield counter
