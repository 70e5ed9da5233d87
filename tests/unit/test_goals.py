"""Goals are held against the right figures, and only against those that were measured."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.goals import judge


def figure(benchmark: str, name: str, *values: float) -> Figure:
    return Figure(benchmark, name, "what", "unit", values)


def test_what_was_not_measured_is_not_judged() -> None:
    assert judge([figure("stock", "hop", 8.0)]) == []


def test_ratios_are_theirs_to_ours() -> None:
    judged = judge(
        [figure("chain", "hop", 1.0, 2.0, 9.0), figure("celery", "hop", 3.0), figure("stock", "hop", 8.0)]
    )
    assert [(one.wanted, one.seen, one.met) for one in judged] == [
        ("<= 2", 2.0, True), (">= 2", 1.5, False), (">= 4", 4.0, True),
    ]  # fmt: skip


def test_the_largest_graph_is_held_against_the_smallest() -> None:
    judged = judge(
        [
            figure("growth", "time_fan_100", 2.0),
            figure("growth", "time_fan_1000", 9.0),
            figure("growth", "time_fan_10000", 3.0),
        ]
    )
    assert [(one.what, one.seen, one.met) for one in judged] == [
        ("time a node, fan: 10,000 nodes to 100", 1.5, False)
    ]
