"""Refused entries and failed nodes as values: grouped by error, found in snapshots and reasons, named by operators."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from myspinbot_worker.cli.retry import split_assignment
from myspinbot_worker.job_state import Concluded
from myspinbot_worker.repair.failures import troubles_of
from myspinbot_worker.repair.troubles import FINGERPRINT, LETTER_ID, NODE_ID, Trouble, grouped, of_reason

VISIT = Concluded("j", "5-5", "failed", "node 'b' failed: network: away", ended_ms=9000)


def trouble(number: int, message: str, at_ms: int, code: str = "c") -> Trouble:
    return Trouble(f"{number}-0", "entry", code, message, at_ms, "1-1", "j")


def test_groups_have_the_newest_case_as_their_example() -> None:
    found = grouped([trouble(1, "of 1", 5), trouble(2, "of 22", 9), trouble(3, "other", 7)])
    assert [(group.message, group.count, group.example.id) for group in found] == [
        ("of <n>", 2, "2-0"),
        ("other", 1, "3-0"),
    ]
    assert found[0].oldest_ms == 5
    assert grouped([]) == []


def graph(*nodes: dict[str, Any]) -> bytes:
    return json.dumps({"schema": "langgraph.v1", "workflowId": "j", "nodes": nodes, "edges": []}).encode()


def node(name: str, status: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "service": "s", "plane": "python", "status": status, **fields}


def test_failed_nodes_of_a_snapshot() -> None:
    text = graph(
        node("a", "completed"),
        node("b", "failed", error={"message": "m", "code": "c"}),
        node("c", "failed"),
        node("d", "failed", plane="node"),
    )
    found = list(troubles_of(VISIT, text))
    assert [(one.id, one.node, one.code, one.message) for one in found] == [
        ("5-5.1", "b", "c", "m"),
        ("5-5.2", "c", "unknown", ""),
    ]
    assert all(one.at_ms == 9000 and one.retryable and NODE_ID.fullmatch(one.id) for one in found)


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b"[" * 9999, graph(), b'{"schema": "langgraph.v1"}'])
def test_what_is_no_graph_has_no_failed_nodes(text: bytes) -> None:
    assert list(troubles_of(VISIT, text)) == []


def test_a_snapshot_with_a_cycle_has_none() -> None:
    text = json.loads(graph(node("a", "failed")))
    text["edges"] = [{"from": "a", "to": "a"}]
    assert list(troubles_of(VISIT, json.dumps(text).encode())) == []


def test_a_failure_whose_snapshot_is_gone_is_told_by_its_reason() -> None:
    (one,) = troubles_of(VISIT, None)
    assert (one.id, one.node, one.code, one.message, one.retryable) == (
        "5-5.gone",
        "b",
        "network",
        "away",
        False,
    )
    assert NODE_ID.fullmatch(one.id)
    assert of_reason("j", "5-5", "nothing in the graph can run any more", 1) is None


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("1700000000000-0", [True, False, False]),
        ("1700000000000-0.12", [False, True, False]),
        ("1-1.gone", [False, True, False]),
        ("0123abcd", [False, False, True]),
        ("12345678", [False, False, True]),
        ("0123ABCD", [False, False, False]),
        ("1-1.", [False, False, False]),
    ],
)
def test_names_have_one_shape(name: str, shapes: list[bool]) -> None:
    assert [bool(shape.fullmatch(name)) for shape in (LETTER_ID, NODE_ID, FINGERPRINT)] == shapes


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("a.k=1", ("a", "k", "1")),
        ("a.k=1.0", ("a", "k", "1.0")),
        ("a.k= [1, 2] ", ("a", "k", "[1, 2]")),
        ("a.k=", ("a", "k", '""')),
        ("a.k=x=y", ("a", "k", '"x=y"')),
        ('a.k="1"', ("a", "k", '"1"')),
        ("a.k=NaN", ("a", "k", '"NaN"')),
        ("a.k.l=null", ("a", "k.l", "null")),
        ("a.b.k=true", ("a.b", "k", "true")),
        ("unknown.k=1", ("unknown", "k", "1")),
    ],
)
def test_assignments(assignment: str, expected: tuple[str, str, str]) -> None:
    assert split_assignment(assignment, ["a", "a.b", "k"]) == expected


@pytest.mark.parametrize("assignment", ["", "=", "a", "a=1", "a.k", ".k=1", "a.=1"])
def test_what_is_no_assignment(assignment: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not NODE\.KEY=VALUE"):
        split_assignment(assignment, ["a"])
