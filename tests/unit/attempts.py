"""Started nodes and tasks without a farm around them: whatever would go out is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from myspinbot_worker.engines import EngineSet
from myspinbot_worker.errors import EngineUnavailable
from myspinbot_worker.graph.transitions import Claim
from myspinbot_worker.keys import NodeRef
from myspinbot_worker.storage import Storage
from myspinbot_worker.task import Task


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
) -> Claim:
    return Claim(
        ref=NodeRef("1-1", 0, job),
        token=token,
        failed_attempts=failed_attempts,
        lost_attempts=0,
        progress=progress,
        weight=weight,
        node_id=node_id,
        service="test.service",
        params=params,
        input=input,
        retries=retries,
        outputs=outputs,
    )


@dataclass
class Desk:
    """What a task's surroundings were told, and what they answer.

    Attributes:
        now: The task's clock (s).
        answer: To every report of progress.
        verdict: Of the lease keeper.
        published: Whether the node is still this start's when something is published.
    """

    now: float = 100.0
    answer: str = "ok"
    verdict: str = ""
    published: bool = True
    reported: list[float] = field(default_factory=list)
    data: list[Any] = field(default_factory=list)

    def task(self, given: Claim | None = None, *, device: str = "cpu") -> Task:
        return Task(
            given or claim(),
            lambda: Path("scratch"),
            cast(Storage, None),
            report=self._report,
            publish_data=self._publish,
            verdict=lambda: self.verdict,
            engines=_no_engines,
            device=device,
            clock=lambda: self.now,
        )

    def _report(self, fraction: float) -> str:
        self.reported.append(fraction)
        return self.answer

    def _publish(self, data: Any) -> bool:
        self.data.append(data)
        return self.published


def _no_engines() -> EngineSet:
    raise EngineUnavailable("there is no engine in this test")
