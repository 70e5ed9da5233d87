"""The worker's side of its runner processes: starts them, lends out their lanes, kills and replaces them.

Attempts of CPU services each have a runner of their own, so it is known which one a runner died of. Those of GPU
services share one, because models and the device's context are in it; there, who holds the device answers.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from multiprocessing.connection import Connection
from typing import Any

from .capability import Kind
from .errors import FarmError
from .runner_messages import FromRunner, FromWorker, Ready, Start, ToAttempt, UsesDevice, send

log = logging.getLogger(__name__)

START_SECONDS = 60.0
"""Longest start of a runner that boots no engine."""
_END_SECONDS = 5.0


class RunnerDied(Exception):
    """The runner of a lane is gone; ``how`` it ended."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class RunnerUnavailable(FarmError):
    """A runner process could not be started."""

    code = "runner_unavailable"
    retryable = True


class Lane:
    """The worker's end of one lane; used by one attempt at a time.

    Attributes:
        busy: Whether it is lent.
        holds_device: Whether its attempt does.
    """

    def __init__(
        self,
        runner: Runner,
        connection: Connection[Start, FromRunner],
        control: Connection[ToAttempt, Any],
    ) -> None:
        self.runner = runner
        self._connection = connection
        self._control = control
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)
        self.busy = False
        self.holds_device = False

    @property
    def reusable(self) -> bool:
        """Whether another attempt can have it at once."""
        return self.runner.alive and self.runner.killed_for is None

    def send(self, message: FromWorker) -> None:
        """Tell the runner; a dead one is found out by :meth:`receive`."""
        connection: Connection[Any, Any] = self._control
        if isinstance(message, Start):
            connection, self.holds_device = self._connection, False
        with suppress(ConnectionError):
            send(connection, message)

    def receive(self, timeout: float) -> FromRunner | None:
        """What the runner says next, ``None`` if nothing within ``timeout`` seconds.

        Raises:
            RunnerDied: It is gone.
        """
        try:
            # Rounded up: a wait that ends before its time would be followed by one of none.
            if not self._poll.poll(ceil(max(0.0, timeout) * 1000)):
                if self.runner.alive:
                    return None
                raise RunnerDied(self.runner.end())
            message = self._connection.recv()
        except RunnerDied:
            raise
        except Exception:  # noqa: BLE001 - whatever a broken process makes of the conversation
            raise RunnerDied(self.runner.end()) from None
        if isinstance(message, UsesDevice):
            self.holds_device = message.use == "held"
        return message

    def close(self) -> None:
        self._connection.close()
        self._control.close()


class Runner:
    """One runner process.

    Args:
        count: How many lanes it has.
        gpu: Whether it is the one for GPU services, which boots their engine first.
    """

    def __init__(self, count: int, *, gpu: bool = False) -> None:
        pairs = [socket.socketpair() for _ in range(2 * count)]
        theirs = [child.fileno() for _, child in pairs]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "myspinbot_worker.runner", str(os.getpid())),
                *("gpu" if gpu else "cpu", *map(str, theirs)),
            ],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=theirs,
            # A group of its own: what a task started is killed with it, and Ctrl-C is the worker's to hear.
            process_group=0,
        )
        for _, child in pairs:
            child.close()
        ours: list[Connection[Any, Any]] = [Connection(parent.detach()) for parent, _ in pairs]
        self.lanes = [Lane(self, *two) for two in zip(ours[::2], ours[1::2], strict=True)]
        self._ending = threading.Lock()
        self.killed_for: Lane | None = None
        self.missing: Mapping[str, str] = {}

    def wait_ready(self, seconds: float) -> None:
        """Until it can take an attempt.

        Raises:
            RunnerUnavailable: It ended, or took too long.
        """
        try:
            ready = self.lanes[0].receive(seconds)
            if isinstance(ready, Ready):
                self.missing = ready.missing
                return
            how = f"was not ready within {seconds:.0f} s"
        except RunnerDied as died:
            how = died.how
        self.kill()
        raise RunnerUnavailable(f"a runner process could not be started: it {how}")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self, culprit: Lane | None = None) -> None:
        """Kill it and all that its tasks started; ``culprit`` is the lane that made it necessary, if one did."""
        with self._ending:
            if self.killed_for is None:
                self.killed_for = culprit
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Wait for the end of one that closed a lane; how it ended, for people."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        # What its tasks started may have outlived it.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"

    def answers_for_death(self, lane: Lane) -> bool:
        """Whether the attempt in ``lane`` is to blame for the runner's end, as far as can be told."""
        if self.killed_for is not None:
            return lane is self.killed_for
        holders = [other for other in self.lanes if other.busy and other.holds_device]
        return lane in holders or not holders

    def close(self) -> None:
        """Let an idle one end."""
        for lane in self.lanes:
            lane.close()
        self.end()


class RunnerPool:
    """The runners of one worker process.

    Args:
        gpu_lanes: Most GPU attempts at one time.
        start_seconds: Longest start of a runner.
    """

    def __init__(self, gpu_lanes: int, start_seconds: float = START_SECONDS) -> None:
        self._gpu_lanes = gpu_lanes
        self._start_seconds = start_seconds
        self._missing: Mapping[str, str] = {}
        self._changed = threading.Condition()
        self._idle: list[Runner] = []
        self._gpu: Runner | None = None
        # A runner dies with the thread that started it: this one lives as long as the worker.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="runner-starter")

    def start(self) -> None:
        """Start the first runner, to see that it can be done.

        Raises:
            RunnerUnavailable: It cannot.
        """
        if self._gpu_lanes:
            self._gpu = self._new(self._gpu_lanes, gpu=True)
        else:
            self._idle.append(self._new(1))

    def free(self, kind: Kind) -> int:
        """How many attempts could begin at once, without a new runner."""
        with self._changed:
            if kind == "cpu":
                return sum(runner.alive for runner in self._idle)
            if self._gpu is None or not self._gpu.alive:
                return 0
            return sum(not lane.busy for lane in self._gpu.lanes)

    def lend(self, kind: Kind) -> Lane:
        """A free lane for one attempt; waited for, or of a new runner, if there is none.

        Raises:
            RunnerUnavailable: A new runner was needed and could not be started.
        """
        if kind == "cpu":
            if (idle := self.lend_free(kind)) is not None:
                return idle
            new = self._new(1).lanes[0]
            new.busy = True
            return new
        with self._changed:
            while True:
                if self._gpu is None or not self._gpu.alive:
                    self._gpu = self._new(max(1, self._gpu_lanes), gpu=True)
                if (free := self._free_gpu_lane()) is not None:
                    return free
                self._changed.wait()

    def lend_free(self, kind: Kind) -> Lane | None:
        """A lane that can be had at once, ``None`` if there is none."""
        with self._changed:
            if kind == "gpu":
                return self._free_gpu_lane() if self._gpu is not None and self._gpu.alive else None
            while self._idle:
                runner = self._idle.pop()
                if runner.alive:
                    runner.lanes[0].busy = True
                    return runner.lanes[0]
            return None

    def _free_gpu_lane(self) -> Lane | None:
        assert self._gpu is not None
        for lane in self._gpu.lanes:
            if not lane.busy:
                lane.busy = True
                return lane
        return None

    def take_back(self, lane: Lane) -> None:
        """The lane's attempt has ended; what became of its runner shows now."""
        with self._changed:
            lane.busy = lane.holds_device = False
            runner = lane.runner
            if not runner.alive or runner.killed_for is not None:
                if runner is self._gpu:
                    self._gpu = None
                if not any(other.busy for other in runner.lanes):
                    runner.close()
            elif runner is not self._gpu:
                self._idle.append(runner)
            self._changed.notify_all()

    @property
    def missing(self) -> Mapping[str, str]:
        """GPU service → why it cannot run here, as the newest shared runner found."""
        return self._missing

    def _new(self, lanes: int, *, gpu: bool = False) -> Runner:
        runner = self._starter.submit(_started, lanes, self._start_seconds, gpu).result()
        if gpu:
            self._missing = runner.missing
        return runner

    def close(self) -> None:
        """End all runners; none may be busy any more."""
        for runner in [*self._idle, *([self._gpu] if self._gpu else [])]:
            runner.close()
        self._starter.shutdown()


def _started(lanes: int, seconds: float, gpu: bool) -> Runner:
    try:
        runner = Runner(lanes, gpu=gpu)
    except OSError as error:
        raise RunnerUnavailable(f"a runner process could not be started: {error}") from None
    runner.wait_ready(seconds)
    return runner
