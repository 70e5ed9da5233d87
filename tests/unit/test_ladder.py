"""Told, interrupted, killed: in this order, each once, each in its time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.ladder import Ladder, Rung
from tests.unit.examples import many


def test_nothing_happens_to_an_attempt_that_may_go_on() -> None:
    ladder = Ladder(5, 5)
    assert ladder.next_at == math.inf
    assert ladder.step(1e9) is None
    assert (ladder.reason, ladder.rung) == (None, Rung.RUNNING)


def test_each_step_has_its_time() -> None:
    ladder = Ladder(notice_seconds=5, interrupt_seconds=2)
    ladder.begin("cancelled", 100.0)
    assert ladder.step(100.0) is Rung.TOLD
    assert ladder.step(104.9) is None
    assert ladder.next_at == 105.0
    assert ladder.step(105.0) is Rung.INTERRUPTED
    assert ladder.step(106.9) is None
    assert ladder.step(107.0) is Rung.KILLED
    assert ladder.step(1e9) is None
    assert ladder.next_at == math.inf


@pytest.mark.parametrize("later", ["timeout", "lost", "cancelled"])
def test_the_first_reason_stays_and_its_times_too(later: str) -> None:
    ladder = Ladder(5, 5)
    ladder.begin("timeout", 1.0)
    assert ladder.step(1.0) is Rung.TOLD
    ladder.begin(later, 3.0)  # type: ignore[arg-type]
    assert ladder.reason == "timeout"
    assert ladder.next_at == 6.0


@many
@given(st.floats(0, 100), st.floats(0, 100), st.lists(st.floats(0, 50), max_size=20))
def test_whenever_it_is_looked_at_no_step_is_left_out(
    notice: float, interrupt: float, waits: list[float]
) -> None:
    ladder, now, taken = Ladder(notice, interrupt), 0.0, []
    ladder.begin("cancelled", now)
    for wait in waits:
        now += wait
        if (step := ladder.step(now)) is not None:
            taken.append(step)
    assert taken == [Rung.TOLD, Rung.INTERRUPTED, Rung.KILLED][: len(taken)]
    assert ladder.rung == (taken[-1] if taken else Rung.RUNNING)
