"""A task that does nothing but look like work: for trying out graphs and for tests."""

from __future__ import annotations

import math
import time
from typing import Any

from pydantic import Field

from ..capability import Payload, capability
from ..task import Task

MAX_STEPS = 10_000
MAX_SECONDS = 86_400.0
LONGEST_NAP = 0.25


class DummyParams(Payload):
    """Any params are taken; what is not a usable number counts as absent."""

    steps: Any = Field(None, description=f"How many steps to walk through, 1 to {MAX_STEPS}; 1 by default.")
    seconds: Any = Field(None, description="How long all steps take together, in seconds; 0 by default.")


class DummyInput(Payload):
    currentProgress: float | None = Field(None, description="The job's progress so far.")


class DummyOutput(Payload):
    currentProgress: float = Field(description="The job's progress after this node.")


@capability("dummy.dummy_task", kind="cpu", label="Dummy task", timeout_seconds=MAX_SECONDS + 60)
def dummy_task(task: Task, params: DummyParams, given: DummyInput) -> DummyOutput:
    """Walk through some steps, report progress, and pass the job's progress on."""
    steps = round(_number(params.steps, 1, 1, MAX_STEPS))
    seconds = _number(params.seconds, 0, 0, MAX_SECONDS)
    for step in range(steps):
        _rest(task, seconds / steps)
        task.progress((step + 1) / steps)
    return DummyOutput(currentProgress=task.current_progress(given.currentProgress))


def _rest(task: Task, seconds: float) -> None:
    """Sleep in short naps, so that a cancel is noticed."""
    naps = max(1, math.ceil(seconds / LONGEST_NAP))
    for _ in range(naps):
        task.check()
        time.sleep(seconds / naps)


def _number(value: Any, default: float, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return float(min(most, max(least, value)))
