"""Lanes without processes: attempts run in the worker's own thread, and what they tell is heard afterwards.

For tests that follow a worker command by command; whether tasks are stopped is tested with real runners.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from myspinbot_worker.attempt import Outcome, outcome_of_error, run_attempt
from myspinbot_worker.capability import Kind, Registry
from myspinbot_worker.errors import EngineUnavailable
from myspinbot_worker.runner_messages import (
    Data,
    Finished,
    FromRunner,
    FromWorker,
    Kept,
    LookedUp,
    Moved,
    NodeTimes,
    Progress,
    Start,
    Uploads,
    UsesDevice,
)
from myspinbot_worker.runner_pool import Lane
from myspinbot_worker.storage import Storage
from myspinbot_worker.task import StopReason, Task


class InlineLane:
    """Both ends of a lane."""

    stop_reason: StopReason | None = None
    reusable = True

    def __init__(self, registry: Registry, storage: Storage) -> None:
        self._registry, self._storage = registry, storage
        self._told: deque[FromRunner] = deque()

    def send(self, message: FromWorker) -> None:
        if isinstance(message, Start):
            self._told.append(Finished(self._run(message)))

    def receive(self, timeout: float) -> FromRunner | None:
        return self._told.popleft()

    def _run(self, start: Start) -> Outcome:
        capability = self._registry.get(start.claim.service)
        assert capability is not None
        task = Task(start.claim, start.scratch, self._storage, self, engines=_no_engines, device=start.device)
        try:
            return Outcome("completed", run_attempt(capability, task, start.claim))
        except Exception as error:  # noqa: BLE001 - as a runner does
            return outcome_of_error(error, capability, start.claim, start.worker)

    def progress(self, fraction: float) -> None:
        self._told.append(Progress(fraction))

    def publish(self, text: str) -> None:
        self._told.append(Data(text))

    def uploads(self) -> None:
        self._told.append(Uploads())

    def kept(self) -> None:
        self._told.append(Kept())

    def moved(self, direction: Any, size: int) -> None:
        self._told.append(Moved(direction, size))

    def looked_up(self, fetched: Any) -> None:
        self._told.append(LookedUp(fetched))

    def uses_device(self, use: Any) -> None:
        self._told.append(UsesDevice(use))

    def node_times(self, seconds: Mapping[str, float]) -> None:
        self._told.append(NodeTimes(seconds))


class InlineLanes:
    """As :class:`myspinbot_worker.runner_pool.RunnerPool`."""

    def __init__(self, registry: Registry, storage: Storage) -> None:
        self._registry, self._storage = registry, storage

    missing: Mapping[str, str] = MappingProxyType({})

    def start(self) -> None:
        """There is nothing to start."""

    def free(self, kind: Kind) -> int:
        return 1

    def lend(self, kind: Kind) -> Lane:
        return cast(Lane, InlineLane(self._registry, self._storage))

    def lend_free(self, kind: Kind) -> Lane | None:
        return self.lend(kind)

    def take_back(self, lane: Lane) -> None:
        """It is not used again."""

    def close(self) -> None:
        """There is nothing to end."""


def _no_engines() -> Any:
    raise EngineUnavailable("there is no engine in this test")
