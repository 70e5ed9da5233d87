"""One ingestor and one worker in one process, which take their steps in turn and always in the same order.

The steps are those of the real processes: the ingestor's turn, the reconciler's look, Dramatiq's own consumer
and worker threads (not started, but called); tasks run in the worker's own thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import dramatiq.worker
from dramatiq.errors import ConnectionClosed
from dramatiq.worker import ConsumerThread, WorkerThread
from redis.backoff import NoBackoff

from myspinbot_worker import broker, consumer, ingestor, janitor, reconciler, supervision
from myspinbot_worker.capability import Payload, Registry, Retry, capability
from myspinbot_worker.completion import Completion
from myspinbot_worker.errors import StorageUnavailable
from myspinbot_worker.farm import Farm
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.ingestor import Ingestor
from myspinbot_worker.keys import QUEUES
from myspinbot_worker.metrics import IngestorMetrics, new_registry
from myspinbot_worker.redis_clients import TRANSIENT, connect
from myspinbot_worker.settings import Settings
from myspinbot_worker.task import Task
from myspinbot_worker.worker import build_worker
from tests.unit.inline_lanes import InlineLanes

SHORT = 0.001
"""Seconds that a blocking command waits for what does not come."""
LATE = 1 << 60
"""Later than every time at which a delayed message is due."""

tasks = Registry()
_clock = [0.0]


class Any_(Payload):
    """Whatever it is given."""


@capability("crash.echo", kind="cpu", into=tasks)
def echo(task: Task, params: Any_, given: Any_) -> Any_:
    """Show progress (less at each attempt) and data, then return ``params.output``."""
    task.progress(0.5 / task.attempt)
    task.publish({"node": task.node_id})
    return Any_.model_validate((params.model_extra or {}).get("output", {"from": task.node_id}))


@capability("crash.fail", kind="gpu", into=tasks)
def fail(task: Task, params: Any_, given: Any_) -> Any_:
    """Fail for good."""
    raise ValueError("told to fail")


@capability("crash.retry", kind="gpu", retry=Retry(max_attempts=3), into=tasks)
def retry(task: Task, params: Any_, given: Any_) -> Any_:
    """Fail once with an error that passes; attempts whose worker was lost do not count."""
    task.progress(0.25)
    if task._claim.failed_attempts == 0:
        raise StorageUnavailable("told to fail once")
    return Any_.model_validate({"from": task.node_id})


@capability("crash.cancel", kind="cpu", into=tasks)
def cancel(task: Task, params: Any_, given: Any_) -> Any_:
    """Cancel the node's own job, as an operator may at any moment, and go on."""
    RunStore(connect(os.environ["REDIS_URL"], text=True)).cancel(task.job)
    return Any_()


def hurry() -> None:
    """Make this process and all it forks wait for nothing: what takes time is the test's to bring about."""
    modules: list[tuple[Any, str, Any]] = [
        (supervision, "_RENEW_SECONDS", 0.0),
        (janitor, "clear", lambda storage, litter: 0),  # there is no storage here
        (ingestor, "BLOCK_SECONDS", SHORT),
        (consumer, "BLOCK_SECONDS", SHORT),
        (broker, "_PAUSED_SECONDS", float(LATE)),
        (consumer, "_RECONNECTING", NoBackoff()),
        (broker, "_CLOCK_SECONDS", float(LATE)),
        (broker, "_BEATS_A_TIMEOUT", 1 / LATE),
        (reconciler, "_GONE_SECONDS", 0.0),
        (reconciler, "time", SimpleNamespace(monotonic=lambda: _clock[0])),
        (dramatiq.worker, "current_millis", lambda: LATE),
        (dramatiq.worker, "POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0),
    ]
    for module, name, value in modules:
        assert hasattr(module, name)
        setattr(module, name, value)


class Crew:
    """One ingestor and one worker. Nothing connects before :meth:`start`, so one crew serves for many forks."""

    def __init__(self, settings: Settings) -> None:
        self.ingestor = Ingestor(Farm(settings, registry=tasks), IngestorMetrics(new_registry()))
        self.worker = build_worker(
            settings, tasks, lambda count: InlineLanes(tasks, self.worker.storage), lambda: None
        )
        self._work: queue.PriorityQueue[Any] = queue.PriorityQueue()
        self._consumers: dict[str, ConsumerThread] = {}
        self._thread = WorkerThread(
            broker=self.worker.broker, consumers=self._consumers, work_queue=self._work, worker_timeout=1
        )
        self._looked = False

    def start(self, name: str) -> None:
        """Begin, under names that tell this crew's processes from those of others."""
        self.ingestor.consumer = self.ingestor.reconciler.consumer = name
        self.ingestor.farm.broker.broker_id = f"{name}-ingestor"
        self.worker.broker.broker_id = f"{name}-worker"
        for middleware in self.worker.broker.middleware:
            if isinstance(middleware, Completion):
                boot: Any = SimpleNamespace(worker_threads=1, consumers=self._consumers)
                # What others offer is a hint that nothing here depends on, and its thread would take steps of its own.
                cast(Any, middleware)._offer = lambda *_: SimpleNamespace(withheld={}, end=lambda: None)
                middleware.before_worker_boot(self.worker.broker, boot)
        for queue_name in (*QUEUES, *(f"{queue_name}.DQ" for queue_name in QUEUES)):
            self._consumers[queue_name] = self._consumer(queue_name)

    def shift(self) -> None:
        """Do everything there is to do now, an hour after the last time."""
        _clock[0] += 3600
        self._drain([name for name in self._consumers if name.endswith(".DQ")])
        self._ingest()
        self._drain(QUEUES)
        self.ingestor.reconciler.look()
        self._clean()
        self._drain(QUEUES)
        self._looked = True

    def close(self) -> None:
        """Close its connections."""
        for farm in (self.ingestor.farm, self.worker):
            farm.broker.client.close()
            farm.binary_client.close()
            farm.client.close()
            farm.taking_client.close()

    def _ingest(self) -> None:
        """A turn of the ingestor's loop, which lives through a broken connection."""
        try:
            self.ingestor._turn()
        except TRANSIENT:
            self.ingestor._group_known = False

    def _clean(self) -> None:
        """A look of the janitor, which lives through a broken connection."""
        with contextlib.suppress(*TRANSIENT):
            self.ingestor.janitor.look()

    def _consumer(self, name: str) -> ConsumerThread:
        thread = ConsumerThread(
            broker=self.worker.broker, queue_name=name, prefetch=1, work_queue=self._work, worker_timeout=1
        )
        self._start(thread)
        return thread

    def _start(self, thread: ConsumerThread) -> None:
        """Begin to consume, as Dramatiq does at the start and after a broken connection."""
        while True:
            with contextlib.suppress(ConnectionClosed):
                thread.consumer = self.worker.broker.consume(thread.queue_name, 1, 1)
                return

    def _has_more(self, name: str) -> bool:
        """Whether a real consumer, which looks again and again, would find something or look for what it lost."""
        consumer: Any = self._consumers[name].consumer
        return consumer._failures > 0 or self.worker.broker.depth(name) > 0

    def _drain(self, names: Sequence[str]) -> None:
        """Work until the queues are empty; the first shift also waits at each for what does not come."""
        waiting = [] if self._looked else list(names)
        while waiting or (waiting := [name for name in names if self._has_more(name)]):
            consumer = self._consumers[waiting.pop(0)]
            assert consumer.consumer is not None
            try:
                message = next(consumer.consumer)
                if message is not None:
                    consumer.handle_message(message)
                consumer.handle_delayed_messages()
            except ConnectionClosed:
                consumer.delay_queue = queue.PriorityQueue()
                consumer.close()
                self._start(consumer)
            while self._work.qsize():
                self._thread.process_message(self._work.get().message)
