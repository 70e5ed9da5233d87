"""The completion middleware: a message arrived, so claim its node; the node ended, so what now.

Dramatiq logs and swallows what a hook raises, and delivers at least once, late, and sometimes twice at one
time. So nothing here is trusted to happen: the claim lets one start in, the token fences off a worker that
was away too long, and whatever a dead worker left open the reconciler finds.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar
from uuid import uuid4

import dramatiq
import redis
from dramatiq.broker import MessageProxy
from dramatiq.middleware import SkipMessage

from . import boot
from .attempt import Outcome, outcome_of_error, run_attempt
from .broker import MESSAGE_ID
from .dispatcher import Dispatcher
from .engines import engine_set
from .errors import StorageError
from .farm import Farm
from .graph.plan import State
from .graph.transitions import Claim, Refused
from .keys import NodeRef
from .lease_keeper import LeaseKeeper
from .metrics import WorkerMetrics
from .redaction import redact_logs
from .redis_clients import Stopped, passes, until_done
from .scratch import ScratchRoot
from .task import Task, worker_name

log = logging.getLogger(__name__)

T = TypeVar("T")

_OUTCOME_STATE = {"completed": State.COMPLETED, "failed": State.FAILED, "retry": State.READY}


class Attempt(threading.local):
    """What this worker thread is working on."""

    claim: Claim | None = None
    task: Task | None = None
    outcome: Outcome | None = None
    started: float = 0.0
    cleanup: ExitStack | None = None


class Completion(dramatiq.Middleware):
    """Claims nodes before their actor runs and records them after; see the module."""

    def __init__(self, farm: Farm, metrics: WorkerMetrics) -> None:
        self.farm = farm
        self.metrics = metrics
        self.device = "cpu"
        self.worker = worker_name()
        self._current = Attempt()
        self._stopping = threading.Event()
        self._keeper: LeaseKeeper | None = None
        self._scratch: ScratchRoot | None = None
        self._dispatcher: Dispatcher | None = None

    # Called by Dramatiq, in this order.

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        settings = self.farm.settings
        redact_logs(self.farm.secrets)
        self.worker = worker_name()
        with boot.or_exit("setting up the worker"):
            self._dispatcher = self.farm.dispatcher()
            self._scratch = ScratchRoot(settings.farm.scratch_dir)
            self._keeper = LeaseKeeper(
                settings.redis.url,
                settings.farm.namespace,
                self.farm.store.limits.lease_ms,
                worker.worker_threads,
            )

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        ref, token, call = NodeRef.parse(message.args[0]), int(message.args[1]), uuid4().hex
        try:
            answer = self._patiently(lambda: self.farm.store.claim(ref, token, self.worker, call))
        except Stopped:
            # The node stays ready; the reconciler sees that its message is gone and sends another.
            raise SkipMessage(f"stopping before node {message.args[2]} could be claimed") from None
        if isinstance(answer, Refused):
            log.info("node %s of job %s is not started: %s", message.args[2], ref.job, answer.reason)
            self._come_back(message, answer)
            raise SkipMessage(f"node {message.args[2]} of job {ref.job}: {answer.reason}")
        self.metrics.waited(answer.service, time.time() - message.message_timestamp / 1000)
        self._begin(answer)

    def run(self, service: str) -> None:
        """The body of every actor: run the node that this thread claimed."""
        current = self._current
        capability = self.farm.registry.get(service)
        if current.claim is None or current.task is None or capability is None:
            log.error("a message for %s came without a claim; it is dropped and will be sent again", service)
            return
        try:
            current.outcome = Outcome("completed", run_attempt(capability, current.task, current.claim))
        except Exception as error:  # noqa: BLE001 - every error of a task becomes the node's outcome
            current.outcome = outcome_of_error(
                error, capability, current.claim, self.worker, self.farm.secrets
            )

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        current = self._current
        claim, outcome = current.claim, current.outcome
        if claim is None:
            return
        try:
            if outcome is None:
                # Interrupted from outside (an asynchronous exception): the lease runs out and another start follows.
                log.error("node %s of job %s was interrupted: %r", claim.node_id, claim.ref.job, exception)
                return
            try:
                self._record(claim, outcome)
            except Stopped:
                log.error(
                    "stopping with the result of node %s of job %s unrecorded", claim.node_id, claim.ref.job
                )
        finally:
            self._end()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        # A result in hand is worth waiting for a Redis that is away, but not for ever: after a lease it is lost anyway.
        giving_up = threading.Timer(self.farm.settings.farm.lease_seconds, self._stopping.set)
        giving_up.daemon = True
        giving_up.start()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._keeper is not None:
            self._keeper.close()
        if self._scratch is not None:
            self._scratch.close()

    # Steps of the above.

    def _begin(self, claim: Claim) -> None:
        assert self._keeper is not None
        assert self._scratch is not None
        current, store, scratch = self._current, self.farm.store, self._scratch
        cleanup = ExitStack()
        hold = cleanup.enter_context(self._keeper.hold(claim.ref, claim.token))
        current.task = Task(
            claim,
            lambda: cleanup.enter_context(scratch.folder()),
            self.farm.storage,
            report=lambda fraction: self._quietly_renew(claim, fraction),
            publish_data=lambda data: store.publish_data(claim.ref, claim.token, data),
            verdict=lambda: hold.verdict,
            engines=lambda: engine_set(self.farm.settings.farm.engine),
            device=self.device,
            moved=self.metrics.moved,
        )
        current.claim, current.outcome, current.cleanup = claim, None, cleanup
        current.started = time.monotonic()
        cleanup.enter_context(self.metrics.active())

    def _record(self, claim: Claim, outcome: Outcome) -> None:
        """Settle, then send, then conclude: each step until it is done, none again because a later one failed."""
        dispatcher = self._dispatcher
        assert dispatcher is not None
        settled = self._patiently(
            lambda: self.farm.store.settle(
                claim.ref,
                claim.token,
                _OUTCOME_STATE[outcome.kind],
                outcome.text,
                delay_ms=round(outcome.delay_seconds * 1000),
            )
        )
        if settled.outcome in ("fenced", "gone"):
            log.warning(
                "node %s of job %s: result %s, dropped", claim.node_id, claim.ref.job, settled.outcome
            )
        elif outcome.kind != "completed":
            log.warning(
                "node %s (%s) of job %s: %s, %s", claim.node_id, claim.service, claim.ref.job,
                outcome.code, "will be tried again" if outcome.kind == "retry" else "failed",
            )  # fmt: skip
        self._patiently(lambda: dispatcher.send(settled.ready))
        if settled.over:
            self._patiently(lambda: dispatcher.conclude(claim.ref.job))
        self._patiently(lambda: self._forget_artifacts(claim, outcome, settled.outcome))

    def _forget_artifacts(self, claim: Claim, outcome: Outcome, settled: str) -> None:
        """Remove what no graph will ever name: objects of an attempt that was not recorded, and of older ones."""
        task = self._current.task
        assert task is not None
        storage, job = self.farm.storage, claim.ref.job
        recorded = outcome.kind == "completed" and settled in ("ok", "already")
        try:
            if recorded and claim.token > 1:
                kept = [artifact.key for artifact in task.kept]
                for bucket in {"staged", "output"} & set(self.farm.settings.storage.buckets):
                    storage.remove_prefix(bucket, task.attempts_prefix, keep=kept)
            elif not recorded and task.kept:
                # A run that has ended may have ended with this very result, the answer to settle being lost.
                graph = (self.farm.bridge.snapshot(job) or b"").decode() if settled == "gone" else ""
                for artifact in task.kept:
                    if json.dumps(artifact.key) not in graph:
                        storage.remove(artifact.bucket, artifact.key)
        except StorageError as error:
            log.warning("objects of node %s of job %s stay behind: %s", claim.node_id, job, error)

    def _patiently(self, action: Callable[[], T]) -> T:
        return until_done(action, self._stopping, self._redis_away)

    def _end(self) -> None:
        current = self._current
        assert current.claim is not None
        seconds = time.monotonic() - current.started
        service, kind = current.claim.service, current.outcome.kind if current.outcome else "interrupted"
        cleanup = current.cleanup
        current.claim = current.task = current.outcome = current.cleanup = None
        if cleanup is not None:
            cleanup.close()
        self.metrics.ended(service, kind, seconds)

    def _come_back(self, message: MessageProxy, refused: Refused) -> None:
        """A node leased to someone else is looked at again after the lease: the holder may be dead."""
        if refused.reason != "leased":
            return
        again = message.copy(options={MESSAGE_ID: message.options[MESSAGE_ID]})
        try:
            self._patiently(lambda: self.farm.broker.enqueue(again, delay=refused.wait_ms + 100))
        except Stopped:
            log.info("not waiting for the lease of %s; the reconciler watches it", message.args[2])

    def _quietly_renew(self, claim: Claim, fraction: float) -> str:
        """Progress that cannot be sent is not worth a failed task."""
        try:
            return self.farm.store.renew(claim.ref, claim.token, fraction)
        except redis.RedisError as error:
            if not passes(error):
                raise
            self._redis_away(error)
            return "ok"

    def _redis_away(self, error: Exception) -> None:
        log.warning("Redis: %s", error)
