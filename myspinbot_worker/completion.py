"""The completion middleware: a message arrived, so claim its node; the node ended, so what now.

Dramatiq logs and swallows what a hook raises, and delivers at least once, late, and sometimes twice at one
time. So nothing here is trusted to happen: the claim lets one start in, the token fences off a worker that
was away too long, and whatever a dead worker left open the reconciler finds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import TypeVar
from uuid import uuid4

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.middleware import SkipMessage

from . import boot
from .artifact_keys import attempt_folder, steps_folder
from .attempt import Outcome, outcome_elsewhere
from .consumer import MESSAGE_ID, Delivered
from .dispatcher import Dispatcher
from .errors import StorageError
from .farm import Farm
from .graph.plan import State
from .graph.transitions import Charge, Claim, Refused, Result, Settled
from .keys import NodeRef
from .litter import BUCKETS
from .metrics import WorkerMetrics
from .offering import Offering
from .redaction import redact_logs
from .redis_clients import Stopped, until_done
from .relay import Relay
from .reports import say_redis_is_away
from .runner_pool import Lane, RunnerUnavailable
from .running import Attempts, Running, kind_of
from .scratch import ScratchRoot
from .supervision import Lanes, Patience, Supervisor
from .task import worker_name

log = logging.getLogger(__name__)

T = TypeVar("T")

_RECORDED_AS = {
    "completed": (State.COMPLETED, Charge.NOTHING),
    "failed": (State.FAILED, Charge.ATTEMPT),
    "retry": (State.READY, Charge.ATTEMPT),
    "lost": (State.READY, Charge.LOST_WORKER),
    "returned": (State.READY, Charge.NOTHING),
}

_ELSEWHERE_MS = 1000
_UNAVAILABLE_MS = 5000


class Current(threading.local):
    """What this worker thread is working on."""

    running: Running | None = None
    outcome: Outcome | None = None


def finisher() -> ThreadPoolExecutor:
    """A thread that concludes runs."""
    return ThreadPoolExecutor(1, "finisher")


class Completion(dramatiq.Middleware):
    """Claims nodes before their actor runs and records them after; see the module.

    Args:
        make_lanes: Where attempts run, for a number of GPU attempts at one time.
        make_finisher: What concludes runs beside the next node; ``None``: they are concluded before it.
    """

    def __init__(
        self,
        farm: Farm,
        metrics: WorkerMetrics,
        make_lanes: Callable[[int], Lanes],
        make_finisher: Callable[[], ThreadPoolExecutor | None] = finisher,
    ) -> None:
        self.farm = farm
        self.metrics = metrics
        self.device = "cpu"
        self.gpu_lanes = 0
        self._make_lanes = make_lanes
        self._make_finisher = make_finisher
        self.worker = worker_name()
        self._current = Current()
        self._stopping = threading.Event()
        self._timers: list[threading.Timer] = []
        self._lanes: Lanes | None = None
        self._offering: Offering | None = None
        self._supervisor: Supervisor | None = None
        self._scratch: ScratchRoot | None = None
        self._attempts: Attempts | None = None
        self._dispatcher: Dispatcher | None = None
        self._relay: Relay | None = None
        self._finisher: ThreadPoolExecutor | None = None

    # Called by Dramatiq, in this order.

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        settings = self.farm.settings
        redact_logs(self.farm.secrets)
        self.worker = worker_name()
        with boot.or_exit("setting up the worker"):
            self._dispatcher = self.farm.dispatcher(self.metrics.concluded)
            self._scratch = ScratchRoot(settings.farm.scratch_dir)
            self._lanes = self._make_lanes(self.gpu_lanes)
            self._lanes.start()
            self._offering = self._offer(worker, self._lanes)
            patience = Patience(
                lease_seconds=settings.farm.lease_seconds,
                notice_seconds=settings.farm.notice_seconds,
                interrupt_seconds=settings.farm.interrupt_seconds,
                most_lost=settings.farm.max_lost_attempts,
            )
            self._supervisor = Supervisor(patience, self.worker, self.device)
            lanes = self._lanes
            self._attempts = Attempts(
                self.farm, self.metrics, lanes, self._scratch, self._offering, self._supervisor
            )
            self.farm.broker.abandon = self._attempts.abandon
            self._relay = Relay(
                self.farm, worker, self.worker, lambda queue: lanes.free(kind_of(queue)),
                self._attempts.begin_ahead,
            )  # fmt: skip
            self._finisher = self._make_finisher()

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        running = message.running if isinstance(message, Delivered) else None
        if running is None:
            running = self._begin(message)
            if isinstance(message, Delivered):
                message.running = running
        self._current.running, self._current.outcome = running, None
        self.metrics.waited(running.claim.service, time.time() - message.message_timestamp / 1000)

    def run(self, service: str) -> None:
        """The body of every actor: watch over the attempt that was begun for this thread's message."""
        running, capability = self._current.running, self.farm.registry.get(service)
        if running is None or running.lane is None or capability is None:
            log.error("a message for %s came without a claim; it is dropped and will be sent again", service)
            return
        assert self._supervisor is not None
        assert self._offering is not None
        claim = running.claim
        if running.why_not is None:
            wire = running.reports.wire()
            self._current.outcome = self._supervisor.watch(running.lane, claim, capability, wire)
        else:
            self._current.outcome = outcome_elsewhere(
                claim, self.worker, running.why_not, others_serve=self._offering.others_serve(service),
                wait_seconds=self.farm.settings.farm.heartbeat_seconds,
            )  # fmt: skip

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        current = self._current
        running, outcome = current.running, current.outcome
        if running is None:
            return
        claim = running.claim
        try:
            if outcome is None:
                # Interrupted from outside (an asynchronous exception): the lease runs out and another start follows.
                log.error("node %s of job %s was interrupted: %r", claim.node_id, claim.ref.job, exception)
                return
            try:
                self._record(running, outcome, message)
            except Stopped:
                log.error(
                    "stopping with the result of node %s of job %s unrecorded", claim.node_id, claim.ref.job
                )
        finally:
            self._end(running, outcome)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        farm = self.farm.settings.farm
        self.farm.broker.slots.configure(0, {})
        assert self._supervisor is not None
        self._after(farm.drain_seconds, self._supervisor.return_all)
        # A result in hand is worth waiting for a Redis that is away, but not for ever: after a lease it is lost anyway.
        self._after(farm.drain_seconds + farm.lease_seconds, self._stopping.set)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._finisher is not None:
            self._finisher.shutdown()
        for timer in self._timers:
            timer.cancel()
        if self._offering is not None:
            self._offering.end()
        if self._lanes is not None:
            self._lanes.close()
        if self._scratch is not None:
            self._scratch.close()

    # Steps of the above.

    def _offer(self, worker: dramatiq.Worker, lanes: Lanes) -> Offering:
        """Say what this process can run; a GPU queue of which it can run nothing is left alone."""
        whitelist = worker.consumer_whitelist

        def listens(queue: str) -> bool:
            return (not whitelist or queue in whitelist) and (queue != "gpu" or self.gpu_lanes > 0)

        gpu = [item.id for item in self.farm.registry if item.queue == "gpu"]
        if gpu and listens("gpu") and all(service in lanes.missing for service in gpu):
            log.error("nothing of the gpu queue can run here: this process leaves it alone")
            self.gpu_lanes = 0
            self.farm.broker.slots.configure(worker.worker_threads, {"gpu": 0})
        offering = Offering(
            self.farm.offers, self.farm.registry, self.worker, listens, lambda: lanes.missing,
            self.farm.settings.farm.heartbeat_seconds,
        )  # fmt: skip
        offering.begin()
        return offering

    def _begin(self, message: MessageProxy) -> Running:
        """Begin with a message's node, which was claimed with it or is claimed now.

        Raises:
            SkipMessage: It is not to be started, or not here and now.
        """
        assert self._attempts is not None
        assert self._lanes is not None
        # Before the claim: a process that takes long to start would take it from the lease.
        lane = self._lane(message)
        with ExitStack() as held:
            held.callback(self._lanes.take_back, lane)
            ref = NodeRef.parse(message.args[0])
            try:
                answer = self._claim(message, ref)
            except Stopped:
                # The node stays ready; the reconciler sees that its message is gone and sends another.
                raise SkipMessage(f"stopping before node {message.args[2]} could be claimed") from None
            if isinstance(answer, Refused):
                log.info("node %s of job %s is not started: %s", message.args[2], ref.job, answer.reason)
                self._come_back(message, answer)
                if answer.reason == "cancelled":
                    self._conclude(ref.job)
                raise SkipMessage(f"node {message.args[2]} of job {ref.job}: {answer.reason}")
            running = self._attempts.begin(answer, lane)
            held.pop_all()
            return running

    def _lane(self, message: MessageProxy) -> Lane:
        assert self._lanes is not None
        try:
            lane = self._lanes.lend(kind_of(message.queue_name))
        except RunnerUnavailable as error:
            log.error("%s", error.message)
            self._begun(message)
            if isinstance(message, Delivered) and isinstance(message.answer, Claim):
                claimed = message.answer
                self._patiently(
                    lambda: self.farm.store.settle(
                        claimed.ref,
                        claimed.token,
                        State.READY,
                        delay_ms=_UNAVAILABLE_MS,
                        charge=Charge.NOTHING,
                    )
                )
                raise SkipMessage(f"node {message.args[2]} is given back") from None
            self._come_back(message, Refused("unavailable", _UNAVAILABLE_MS))
            raise SkipMessage(f"node {message.args[2]} is left for later") from None
        self._begun(message)
        return lane

    def _begun(self, message: MessageProxy) -> None:
        if self._relay is not None:
            self._relay.begun(message)

    def _claim(self, message: MessageProxy, ref: NodeRef) -> Claim | Refused:
        """The answer that came with the message, or else one of its own."""
        if isinstance(message, Delivered) and message.answer is not None:
            answer, message.answer = message.answer, None
            return answer
        token, call = int(message.args[1]), uuid4().hex
        return self._patiently(lambda: self.farm.store.claim(ref, token, self.worker, call))

    def _record(self, running: Running, outcome: Outcome, message: MessageProxy | None = None) -> None:
        """Settle, then send, then conclude: each step until it is done, none again because a later one failed.

        Args:
            message: Acknowledged with it, and followed by the next one, if this worker goes on.
        """
        dispatcher = self._dispatcher
        assert dispatcher is not None
        state, charge = _RECORDED_AS[outcome.kind]
        claim, reports = running.claim, running.reports
        first = outcome.kind in ("lost", "returned")
        result = Result(
            state,
            outcome.text,
            round(outcome.delay_seconds * 1000),
            Charge.NOTHING if outcome.spared else charge,
            self.worker if outcome.elsewhere else "",
            reports.kept or (reports.uploaded and state is not State.COMPLETED),
            first,
            outcome.reused,
        )
        settled = self._settle(claim, result, message)
        self._note_reuse(claim, outcome, settled)
        if settled.outcome in ("fenced", "gone"):
            log.warning(
                "node %s of job %s: result %s, dropped", claim.node_id, claim.ref.job, settled.outcome
            )
        elif outcome.kind != "completed":
            log.warning(
                "node %s (%s) of job %s: %s, %s", claim.node_id, claim.service, claim.ref.job,
                outcome.code or "returned", "failed" if outcome.kind == "failed" else "will be tried again",
            )  # fmt: skip
        self._patiently(lambda: dispatcher.send(settled.ready, first=first))
        if settled.over:
            self._finish(claim.ref.job, at_once=not (isinstance(message, Delivered) and message.followed))
        if settled.outcome in ("fenced", "gone") and reports.uploaded:
            self._patiently(lambda: self._forget_artifacts(claim, settled.outcome == "gone"))

    def _note_reuse(self, claim: Claim, outcome: Outcome, settled: Settled) -> None:
        """Whose result a node has, or that it has one for others; what a crash leaves out is only not used again."""
        if settled.outcome not in ("ok", "already"):
            return
        if outcome.reused:
            self.metrics.reused(claim.service)
            log.info("node %s of job %s has the result of %s", claim.node_id, claim.ref.job, outcome.reused)
        if outcome.memo is not None:
            self.farm.reuse_index.remember(outcome.memo)

    def _settle(self, claim: Claim, result: Result, message: MessageProxy | None) -> Settled:
        if self._relay is not None and isinstance(message, Delivered):
            another = self._goes_on(message) and not result.first
            return self._relay.advance(message, claim, result, self._patiently, another=another)
        return self._patiently(lambda: self.farm.store.settle(claim.ref, claim.token, **asdict(result)))

    def _goes_on(self, message: MessageProxy | None) -> bool:
        """Whether this thread can begin with another node at once, in the lane it has."""
        running = self._current.running
        lane = running.lane if running is not None else None
        return (
            isinstance(message, Delivered)
            and lane is not None
            and lane.reusable
            and not self._stopping.is_set()
            and self.farm.broker.slots.may_pass_on(message.queue_name, id(message))
        )

    def _forget_artifacts(self, claim: Claim, ended: bool) -> None:
        """Remove what no graph will ever name; the ends of visits see to all other starts without a result.

        Args:
            ended: The visit is over: nobody will go on from the steps that were kept.
        """
        job, entry = claim.ref.job, claim.ref.entry
        attempt = attempt_folder(job, claim.node_id, entry, claim.token)
        folders = [steps_folder(job, claim.node_id, entry)] if ended else []
        # A run that has ended may have ended with this very result, the answer to settle being lost.
        if attempt not in (self.farm.bridge.snapshot(job) or b"").decode():
            folders.append(attempt)
        try:
            for bucket in BUCKETS & set(self.farm.settings.storage.buckets):
                for folder in folders:
                    self.farm.storage.remove_prefix(bucket, folder)
        except StorageError as error:
            log.warning("objects of node %s of job %s stay behind: %s", claim.node_id, job, error)

    def _patiently(self, action: Callable[[], T]) -> T:
        return until_done(action, self._stopping, say_redis_is_away)

    def _end(self, running: Running, outcome: Outcome | None) -> None:
        assert self._attempts is not None
        self._current.running = self._current.outcome = None
        if outcome is None:
            self._attempts.abandon(running)
        else:
            self._attempts.end(running)
        kind = outcome.kind if outcome is not None else "interrupted"
        self.metrics.ended(running.claim.service, kind, time.monotonic() - running.since)

    def _finish(self, job: str, *, at_once: bool) -> None:
        """Conclude a run; beside the next node, if there is one: the device need not wait for it."""
        if at_once or self._finisher is None:
            dispatcher = self._dispatcher
            assert dispatcher is not None
            self._patiently(lambda: dispatcher.conclude(job))
        else:
            self._finisher.submit(self._conclude_or_tell, job)

    def _conclude_or_tell(self, job: str) -> None:
        try:
            self._conclude(job)
        except Exception:  # what cannot be concluded now the reconciler tries again
            log.exception("concluding job %s failed", job)

    def _conclude(self, job: str) -> None:
        """Conclude a run if it is over; who stops now leaves that to the reconciler."""
        assert self._dispatcher is not None
        dispatcher = self._dispatcher
        with suppress(Stopped):
            self._patiently(lambda: dispatcher.conclude(job))

    def _come_back(self, message: MessageProxy, refused: Refused) -> None:
        """A node leased to someone else is looked at again after the lease: the holder may be dead."""
        if not refused.wait_ms:
            return
        # Under an id of its own: one that is used again while its last delay is being acknowledged would vanish.
        again = message.copy(options={MESSAGE_ID: f"{message.options[MESSAGE_ID]}~{uuid4().hex}"})
        # The others are given time to take what this worker had no memory for.
        delay = (
            min(refused.wait_ms, _ELSEWHERE_MS) if refused.reason == "elsewhere" else refused.wait_ms + 100
        )
        try:
            self._patiently(lambda: self.farm.broker.enqueue(again, delay=delay))
        except Stopped:
            log.info("not waiting for the lease of %s; the reconciler watches it", message.args[2])

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)
