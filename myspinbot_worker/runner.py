"""A runner process: where tasks run, so that a worker survives them.

A task may hang in C code, hold the GIL, eat all memory or end the process it runs in. The worker keeps the
lease, the Redis connection and the deadline; a runner has the code, the models and the device, and can be
killed. It serves one attempt a lane, each in a thread of its own.

    python -m myspinbot_worker.runner <worker's process id> <cpu or gpu> <lane's two file descriptors>...
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Literal

from .artifact_cache import CachedFetch
from .attempt import Outcome, outcome_of_error, run_attempt
from .capability import Capability, Kind
from .comfy import engines as comfy_engines
from .farm import Farm
from .graph.transitions import AttemptId
from .memory import Memory, run_within_memory
from .redaction import redact_logs
from .reuse_attempt import Reuse, context_of
from .runner_messages import (
    Asks,
    Data,
    Finished,
    FromRunner,
    Interrupt,
    Kept,
    KnownResult,
    LookedUp,
    Moved,
    NodeTimes,
    Progress,
    Ready,
    Start,
    Stop,
    ToAttempt,
    Uploads,
    UsesDevice,
    send,
)
from .serving import engines_of, free_engines, missing_services
from .task import DeviceUse, StopReason, Task, stop_error

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_ANSWER_SECONDS = 10.0


class Interrupted(BaseException):
    """Raised from outside in the thread of a task that does not listen; no ``except Exception`` swallows it."""


class Lane:
    """One attempt at a time, in a thread of its own; the channel of its task."""

    def __init__(self, connection: Connection[FromRunner, Start], farm: Farm, memory: Memory) -> None:
        self._connection = connection
        self._farm = farm
        self._memory = memory
        self._attempt: AttemptId | None = None
        self._stop: Stop | None = None
        self._answers: SimpleQueue[KnownResult] = SimpleQueue()
        # Also held while sending: half a message would end the conversation.
        self._interruptible = threading.Lock()
        self._running = False
        self._got_on = False
        self._thread = threading.Thread(target=self._work, name="task", daemon=True)
        self._thread.start()

    # Called by the thread that listens to the worker.

    def handle(self, message: ToAttempt) -> None:
        match message:
            case Stop():
                self._stop = message
            case KnownResult():
                self._answers.put(message)
            case Interrupt(attempt):
                self._interrupt(attempt)

    def _interrupt(self, attempt: AttemptId) -> None:
        with self._interruptible:
            if self._running and self._attempt == attempt:
                _raise_in(self._thread, Interrupted)

    # The channel; called by the task.

    @property
    def stop_reason(self) -> StopReason | None:
        # One that came late was for the attempt before.
        return self._stop.reason if self._stop is not None and self._stop.attempt == self._attempt else None

    def progress(self, fraction: float) -> None:
        self._send(Progress(fraction))

    def publish(self, text: str) -> None:
        self._send(Data(text))

    def uploads(self) -> None:
        self._send(Uploads())

    def kept(self) -> None:
        self._got_on = True
        self._send(Kept())

    def moved(self, direction: Literal["in", "out"], size: int) -> None:
        self._send(Moved(direction, size))

    def looked_up(self, fetched: CachedFetch) -> None:
        self._send(LookedUp(fetched))

    def uses_device(self, use: DeviceUse) -> None:
        self._send(UsesDevice(use))

    def node_times(self, seconds: Mapping[str, float]) -> None:
        self._send(NodeTimes(seconds))

    def known(self, digest: str) -> str | None:
        """The memo of an earlier result; whoever cannot say so in time has none."""
        self._send(Asks(digest))
        ends = time.monotonic() + _ANSWER_SECONDS
        with suppress(Empty):
            while True:
                answer = self._answers.get(timeout=max(0.0, ends - time.monotonic()))
                # Another one answers an attempt that was interrupted while it waited.
                if answer.digest == digest:
                    return answer.memo
        return None

    def _send(self, message: FromRunner) -> None:
        with self._interruptible:
            send(self._connection, message)

    # The thread of the tasks.

    def _work(self) -> None:
        try:
            while True:
                start = self._connection.recv()
                capability = self._farm.registry.get(start.claim.service)
                assert capability is not None  # the worker looked it up in the same registry
                self._attempt = start.claim.attempt
                self._send(Finished(self._outcome(capability, start)))
        except (EOFError, ConnectionError):
            return
        except BaseException:
            log.exception("a lane of this runner is broken")
            # The worker waits for the attempt's end, and learns of it by the runner's.
            os._exit(1)

    def _outcome(self, capability: Capability, start: Start) -> Outcome:
        claim, settings = start.claim, self._farm.settings
        self._got_on = False
        task = Task(
            claim,
            start.scratch,
            self._farm.storage,
            self,
            engines=lambda: engines_of(settings),
            device=start.device,
            withheld=start.known.withheld,
            comfy=lambda: comfy_engines.comfy_engine(settings),
            node_times=start.known.node_times,
            cache=self._farm.cache,
        )
        reuse = None
        if settings.farm.reuse_results and capability.reuse:
            reuse = Reuse(task, capability, context_of(settings), self.known)
        try:
            text = self._interruptibly(capability, task, start, reuse)
            if reuse is None:
                return Outcome("completed", text)
            return Outcome("completed", text, reused=reuse.told, memo=reuse.memo)
        except Exception as error:  # noqa: BLE001 - every error of a task becomes the node's outcome
            return outcome_of_error(
                error, capability, claim, start.worker, self._farm.secrets, got_on=self._got_on
            )

    def _interruptibly(self, capability: Capability, task: Task, start: Start, reuse: Reuse | None) -> str:
        try:
            try:
                with self._interruptible:
                    self._running = True
                return run_within_memory(
                    self._memory, lambda: run_attempt(capability, task, start.claim, reuse)
                )
            finally:
                with self._interruptible:
                    self._running = False
                    # One that was raised and not delivered yet must not meet what comes after the task.
                    _raise_in(self._thread, None)
        except Interrupted:
            raise stop_error(self.stop_reason or "cancelled", start.claim.node_id) from None
        except Exception:
            raise
        except BaseException as error:  # sys.exit() and the like end a task, not the runner
            raise RuntimeError(f"the task ended with {type(error).__name__}: {error}") from error


def _raise_in(thread: threading.Thread, error: type[BaseException] | None) -> None:
    """Raise in a thread at its next step in Python; ``None`` takes back what was not raised yet."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(error) if error is not None else None
    )


def _die_with(worker: int) -> None:
    """Be killed when the worker's process ends, also while a task holds the GIL (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker:
        sys.exit("the worker is gone")


def serve(farm: Farm, connections: Sequence[Connection[Any, Any]], missing: Mapping[str, str]) -> None:
    """Run attempts until the worker closes a lane.

    Args:
        connections: Two of every lane: for attempts, and for what is said to one that runs.
        missing: Service → why it cannot run here.
    """
    memory = Memory((lambda: free_engines(farm.settings),))
    send(connections[0], Ready(missing))
    with DefaultSelector() as selector:
        for attempts, control in zip(connections[::2], connections[1::2], strict=True):
            selector.register(control, EVENT_READ, (control, Lane(attempts, farm, memory)))
        while True:
            for ready, _ in selector.select():
                control, lane = ready.data
                try:
                    lane.handle(control.recv())
                except (EOFError, ConnectionError):
                    return


def _main(worker: int, kind: Kind, descriptors: Sequence[int]) -> None:
    _die_with(worker)
    # The worker is told to stop, and it decides what becomes of its tasks; what they start inherits no deaf ear.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # Storage's client is imported here, and not by the first attempt.
    from . import storage  # noqa: F401
    from .actors import farm

    logging.basicConfig(
        level=farm.settings.farm.log_level,
        format="[%(asctime)s] [PID %(process)d] [%(threadName)s] [%(name)s] [%(levelname)s] %(message)s",
    )
    redact_logs(farm.secrets)
    missing = missing_services(farm.settings, farm.registry) if kind == "gpu" else {}
    serve(farm, [Connection(descriptor) for descriptor in descriptors], missing)
    # A task may still be running, and nobody wants its result.
    os._exit(0)


if __name__ == "__main__":
    _main(
        int(sys.argv[1]),
        "gpu" if sys.argv[2] == "gpu" else "cpu",
        [int(descriptor) for descriptor in sys.argv[3:]],
    )
