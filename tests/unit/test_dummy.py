"""The task that does nothing takes any params."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.actors.dummy import (
    LONGEST_NAP,
    MAX_SECONDS,
    MAX_STEPS,
    DummyInput,
    DummyParams,
    dummy_task,
)
from myspinbot_worker.errors import Cancelled
from tests.unit.attempts import Desk, claim
from tests.unit.examples import some
from tests.unit.graphs import json_objects, json_values


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every sleep, none of them slept."""
    sleeps: list[float] = []
    monkeypatch.setattr(time, "sleep", sleeps.append)
    return sleeps


def run(desk: Desk, given: dict[str, Any] | None = None, **params: Any) -> float:
    output = dummy_task(
        desk.task(claim(progress=0.5, weight=0.25)),
        DummyParams.model_validate(params),
        DummyInput.model_validate(given or {}),
    )
    return output.currentProgress


numbers = st.floats() | st.integers() | st.integers(-(10**400), 10**400)


@some
@given(params=json_objects, steps=json_values | st.integers(-5, 50), seconds=json_values | numbers)
def test_any_params(slept: list[float], params: dict[str, Any], steps: Any, seconds: Any) -> None:
    slept.clear()
    desk = Desk()
    assert run(desk, **{**params, "steps": steps, "seconds": seconds}) == 0.75
    assert desk.reported == sorted(desk.reported)
    assert len(slept) >= 1
    assert 0 <= sum(slept) <= MAX_SECONDS * 1.001


@pytest.mark.parametrize(
    ("params", "steps", "seconds"),
    [
        ({}, 1, 0),
        ({"steps": 4}, 4, 0),
        ({"steps": 2.0, "seconds": 3}, 2, 3),
        ({"steps": 0}, 1, 0),
        ({"steps": -7}, 1, 0),
        ({"steps": 10**400}, MAX_STEPS, 0),
        ({"seconds": 0.5}, 1, 0.5),
        ({"seconds": -1}, 1, 0),
        ({"seconds": 1e300}, 1, MAX_SECONDS),
        ({"steps": True, "seconds": True}, 1, 0),
        ({"steps": "4", "seconds": None}, 1, 0),
        ({"steps": [4], "seconds": {}}, 1, 0),
        ({"steps": float("nan"), "seconds": float("nan")}, 1, 0),
    ],
)
def test_what_is_no_usable_number_counts_as_absent(
    slept: list[float], params: dict[str, Any], steps: int, seconds: float
) -> None:
    desk = Desk()
    run(desk, **params)
    assert sum(slept) == pytest.approx(seconds)
    assert max(slept) <= LONGEST_NAP, "a cancel is noticed soon"
    assert len(slept) == max(steps, math.ceil(seconds / steps / LONGEST_NAP) * steps)


@pytest.mark.parametrize(
    ("given", "after"), [({}, 0.75), ({"currentProgress": None}, 0.75), ({"currentProgress": 0.1}, 0.35)]
)
def test_the_jobs_progress_is_passed_on(given: dict[str, Any], after: float) -> None:
    assert run(Desk(), given) == pytest.approx(after)


def test_it_stops_between_two_steps(slept: list[float]) -> None:
    class Cancelling(Desk):
        def progress(self, fraction: float) -> None:
            self.stop_reason = "cancelled"

    desk = Cancelling()
    with pytest.raises(Cancelled):
        run(desk, steps=10)
    assert len(slept) == 1
