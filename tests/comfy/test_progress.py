"""How far a prompt is: weighted by earlier runs, and never falling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.comfy.node_times import class_times, usable
from myspinbot_worker.comfy.progress import PromptProgress
from tests.unit.examples import many

CLASSES = {"1": "Load", "2": "Sample", "3": "Save"}
SECONDS = {"Load": 2.0, "Sample": 16.0, "Save": 2.0}


def test_nodes_weigh_what_they_took() -> None:
    progress = PromptProgress(CLASSES, SECONDS)
    assert (progress.fraction, progress.eta_seconds(0)) == (0, 20)
    progress.started("1", 0)
    assert progress.eta_seconds(0.5) == 19.5
    assert progress.eta_seconds(5) == 18
    progress.finished("1")
    assert progress.fraction == pytest.approx(0.1)
    progress.started("2", 5)
    progress.progressed("2", 1, 4)
    assert progress.fraction == pytest.approx(0.3)
    # A quarter took 8 s: its own speed is truer than what earlier runs took.
    assert progress.eta_seconds(13) == pytest.approx(24 + 2)
    progress.finished("2")
    progress.started("3", 40)
    progress.finished("3")
    assert (progress.fraction, progress.eta_seconds(41)) == (1, 0)


def test_cached_nodes_are_done_at_once() -> None:
    progress = PromptProgress(CLASSES, SECONDS)
    progress.cached(("1", "2", "elsewhere"))
    assert progress.fraction == pytest.approx(0.9)
    assert progress.eta_seconds(0) == 2


def test_what_is_not_known_gets_the_median() -> None:
    progress = PromptProgress({"1": "Load", "2": "New"}, {"Load": 1, "Other": 3, "Third": 8})
    progress.finished("1")
    assert progress.fraction == pytest.approx(0.25)
    assert progress.eta_seconds(0) == 3


def test_when_nothing_is_known_nodes_count_the_same_and_no_time_is_told() -> None:
    progress = PromptProgress(CLASSES, {})
    progress.finished("2")
    assert progress.fraction == pytest.approx(1 / 3)
    assert progress.eta_seconds(0) is None
    assert PromptProgress(CLASSES, dict.fromkeys(SECONDS, 0.0)).eta_seconds(0) == 3


def test_a_bar_that_falls_or_makes_no_sense_is_left_alone() -> None:
    progress = PromptProgress({"2": "Sample"}, SECONDS)
    progress.progressed("2", 1, 2)
    assert progress.fraction == 0
    progress.started("2", 0)
    for value, most, fraction in (
        (2, 4, 0.5),
        (1, 4, 0.5),
        (1, 0, 0.5),
        (9, 4, 0.5),
        (-1, -1, 0.5),
        (3, 4, 0.75),
    ):
        progress.progressed("2", value, most)
        assert progress.fraction == fraction
    progress.progressed("2", float("nan"), 1)
    assert progress.fraction == 0.75


def test_a_prompt_without_nodes() -> None:
    progress = PromptProgress({}, SECONDS)
    progress.started("2.0.1", 0)
    progress.progressed("2.0.1", 1, 2)
    progress.finished("2.0.1")
    assert progress.fraction == 0


_events = st.lists(
    st.tuples(
        st.sampled_from(["cached", "started", "progressed", "finished"]),
        st.sampled_from(["1", "2", "3", "x"]),
        st.floats(),
        st.floats(),
    )
)


@many
@given(_events, st.dictionaries(st.sampled_from(["Load", "Sample", "Save", "Other"]), st.floats(0, 1e6)))
def test_it_never_falls_whatever_happens(
    events: list[tuple[str, str, float, float]], seconds: dict[str, float]
) -> None:
    progress = PromptProgress(CLASSES, seconds)
    before = 0.0
    for now, (what, node, value, most) in enumerate(events):
        match what:
            case "cached":
                progress.cached((node,))
            case "started":
                progress.started(node, now)
            case "progressed":
                progress.progressed(node, value, most)
            case _:
                progress.finished(node)
        assert before <= progress.fraction <= 1
        before = progress.fraction
        left = progress.eta_seconds(now)
        assert (left is None) == (not seconds)
        assert left is None or left >= 0
    progress.cached(tuple(CLASSES))
    assert progress.fraction == pytest.approx(1)


def test_times_by_class() -> None:
    assert class_times({"1": 2, "2": 4, "9": 5, "x": 7}, {"1": "A", "2": "A", "9": "B"}) == {"A": 3, "B": 5}
    assert usable({"A": 1, "": 1, "B": float("nan"), "C": -1, "D": 1e9, "x" * 201: 1, "E": 0}) == {
        "A": 1,
        "E": 0,
    }
