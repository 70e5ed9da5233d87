"""Started nodes and tasks without a farm around them: whatever would go out is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from myspinbot_worker.engines import EngineSet
from myspinbot_worker.errors import EngineUnavailable
from myspinbot_worker.graph.transitions import Claim
from myspinbot_worker.keys import NodeRef
from myspinbot_worker.storage import Storage
from myspinbot_worker.task import StopReason, Task


def claim(
    *,
    job: str = "job-1",
    node_id: str = "a",
    token: int = 1,
    failed_attempts: int = 0,
    progress: float = 0.0,
    weight: float = 0.5,
    params: str | None = None,
    input: str | None = None,
    retries: str | None = None,
    outputs: tuple[str | None, ...] = (),
    lost_attempts: int = 0,
    exhausted: str = "",
) -> Claim:
    return Claim(
        ref=NodeRef("1-1", 0, job),
        token=token,
        failed_attempts=failed_attempts,
        lost_attempts=lost_attempts,
        progress=progress,
        weight=weight,
        node_id=node_id,
        service="test.service",
        params=params,
        input=input,
        retries=retries,
        outputs=outputs,
        exhausted=exhausted,
    )


@dataclass
class Desk:
    """What a task's surroundings were told, and what they answer: a task's channel.

    Attributes:
        now: The task's clock (s).
        stop_reason: Why the attempt should end.
    """

    now: float = 100.0
    stop_reason: StopReason | None = None
    reported: list[float] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    device_uses: list[str] = field(default_factory=list)

    def task(self, given: Claim | None = None, *, device: str = "cpu") -> Task:
        return Task(
            given or claim(),
            Path("scratch"),
            cast(Storage, None),
            self,
            engines=_no_engines,
            device=device,
            clock=lambda: self.now,
        )

    def progress(self, fraction: float) -> None:
        self.reported.append(fraction)

    def publish(self, text: str) -> None:
        self.data.append(text)

    def uploads(self) -> None:
        raise AssertionError("no artifact is kept in these tests")

    def kept(self) -> None:
        raise AssertionError("no step is kept in these tests")

    def moved(self, direction: str, size: int) -> None:
        raise AssertionError("no artifact is moved in these tests")

    def looked_up(self, fetched: object) -> None:
        raise AssertionError("no artifact is looked for in these tests")

    def uses_device(self, use: str) -> None:
        self.device_uses.append(use)

    def node_times(self, seconds: Mapping[str, float]) -> None:
        raise AssertionError("no prompt is run in these tests")


def _no_engines() -> EngineSet:
    raise EngineUnavailable("there is no engine in this test")
