"""Each check of a campaign is shown a good history and bad ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from .campaign_checks import JOB_CHECKS, Violation, check_job
from .campaign_expected import Expected, ExpectedNode, advance, expect
from .campaign_history import Heard, History, Start
from .campaign_jobs import Job
from .campaign_leaks import leaked_keys, leaked_objects, wrong_dead_letters
from .campaign_recovery import Loss, Recovery, quantile, recoveries, slow_recovery
from .campaign_values import ARTIFACT


def _node(
    node_id: str, service: str = "campaign.echo", plane: str = "python", **params: Any
) -> dict[str, Any]:
    return {
        "id": node_id, "service": service, "plane": plane, "status": "pending", "params": {"salt": node_id, **params}
    }  # fmt: skip


def _job(nodes: list[dict[str, Any]], edges: list[dict[str, str]]) -> Job:
    document = {
        "schema": "langgraph.v1",
        "workflowId": "job",
        "nodes": nodes,
        "edges": edges,
        "context": {"visit": 0},
    }
    return Job("job", "test", document, tuple(node["id"] for node in nodes))


TWO_VISITS = _job(
    [_node("a", "campaign.keep", bytes=3), _node("c", plane="node"), _node("b"), _node("d")],
    [
        {"from": "a", "to": "c"},
        {"from": "c", "to": "b"},
        {"from": "a", "to": "b"},
        {"from": "b", "to": "d", "kind": "on_failure"},
    ],
)
FAILS = _job([_node("a"), _node("b", "campaign.raise", passes=False)], [{"from": "a", "to": "b"}])
BACK = _job([_node("a"), _node("b")], [{"from": "a", "to": "b"}])


def good(job: Job) -> tuple[Expected, History]:
    """How a job goes when all goes well."""
    expected = expect(job)
    history = History()
    document: dict[str, Any] = copy.deepcopy(job.document)
    for number, visit in enumerate(expected.visits):
        entry = f"{number}-0"
        history.sent[entry] = number
        history.conclusions.append((entry, visit.verdict))
        for status in visit.statuses[:2]:
            history.heard.append(Heard("status", status))
        history.heard.append(Heard("progress", 0.5))
        history.starts += [
            Start("job", node_id, entry, 1, node.digest, 1.0, 1, f"{node_id}-{entry}")
            for node_id, node in expected.nodes.items()
            if node.starts and node.visit == number
        ]
        if visit.statuses[2:]:
            history.heard += [Heard("progress", 1.0), Heard("status", visit.statuses[2])]
        history.heard.append(Heard("mark", number))
        for node in document["nodes"]:
            _end(node, expected.nodes[node["id"]], number, number == len(expected.visits) - 1)
        if visit.handed_back:
            history.backs.append(number)
            document = advance(document) or document
    history.final = document
    return expected, history


def _end(node: dict[str, Any], expected: ExpectedNode, visit: int, last: bool) -> None:
    """As the farm writes a node down, if it ended in this visit; in these jobs nothing is skipped before the last."""
    if node["plane"] == "node" or expected.visit > visit or (expected.status == "skipped" and not last):
        return
    node["status"] = expected.status
    for name in ("input", "output"):
        if getattr(expected, name) is not None:
            node[name] = _with_keys(node["id"], copy.deepcopy(getattr(expected, name)))
    if expected.code:
        node["error"] = {"code": expected.code, "message": "m"}


def _with_keys(node_id: str, value: dict[str, Any]) -> dict[str, Any]:
    """Artifacts as they are outside of what is foretold."""
    for name, item in value.items():
        if name.startswith(ARTIFACT):
            maker = name.removeprefix(ARTIFACT)
            item |= {"key": f"job/{maker}/0-0/1/made.bin", "created_at": "now", "content_type": None}
    return value


@pytest.mark.parametrize("job", [TWO_VISITS, FAILS, BACK], ids=["two visits", "fails", "back"])
def test_a_good_history_is_good(job: Job) -> None:
    expected, history = good(job)
    assert list(check_job(job, expected, history)) == []


Change = Callable[[History], object]


def _final(history: History) -> dict[str, Any]:
    assert history.final is not None
    return {node["id"]: node for node in history.final["nodes"]}


def _start(history: History, **changes: Any) -> None:
    history.starts[0] = replace(history.starts[0], **changes)


def _late(history: History) -> None:
    history.heard.append(Heard("data", "x"))


BAD: list[tuple[str, Job, Change]] = [
    ("lost", TWO_VISITS, lambda h: h.conclusions.pop()),
    ("lost", BACK, lambda h: h.backs.clear()),
    ("lost", BACK, lambda h: setattr(h, "final", None)),
    ("handed back twice", TWO_VISITS, lambda h: h.backs.append(0)),
    ("handed back twice", FAILS, lambda h: h.backs.append(0)),
    ("ended twice", BACK, lambda h: h.conclusions.append(("0-0", "completed"))),
    ("ended twice", BACK, lambda h: h.conclusions.append(("9-9", "completed"))),
    ("innocent jobs failed", BACK, lambda h: h.conclusions.__setitem__(0, ("0-0", "failed"))),
    ("wrong inputs", BACK, lambda h: _start(h, digest="another")),
    ("wrong inputs", TWO_VISITS, lambda h: _start(h, node="d")),
    ("wrong inputs", TWO_VISITS, lambda h: _start(h, entry="1-0")),
    ("one start twice", BACK, lambda h: h.starts.append(replace(h.starts[0], id="again"))),
    ("wrong results", BACK, lambda h: _final(h)["a"].update(status="skipped")),
    ("wrong results", BACK, lambda h: _final(h)["b"]["output"].update(b="another")),
    ("wrong results", BACK, lambda h: _final(h)["b"]["input"].pop("last")),
    ("wrong results", FAILS, lambda h: _final(h)["b"]["error"].update(code="timeout")),
    ("wrong results", FAILS, lambda h: h.conclusions.__setitem__(0, ("0-0", "completed_with_skips"))),
    ("wrong results", TWO_VISITS, lambda h: _final(h)["a"]["output"]["artifact_a"].update(key="job/b/1")),
    ("changed documents", BACK, lambda h: _final(h)["a"].update(name=None)),
    ("changed documents", BACK, lambda h: _final(h)["a"]["params"].update(salt=1)),
    ("changed documents", BACK, lambda h: h.final["edges"].reverse() or h.final["edges"].clear()),  # type: ignore[index]
    ("progress falls", BACK, lambda h: h.heard.insert(2, Heard("progress", 0.7))),
    ("progress falls", BACK, lambda h: h.heard.insert(2, Heard("progress", -0.1))),
    ("progress falls", BACK, lambda h: h.heard.remove(Heard("progress", 1.0))),
    ("wrong statuses", BACK, lambda h: h.heard.remove(Heard("status", "running"))),
    ("wrong statuses", TWO_VISITS, lambda h: h.heard.insert(2, Heard("status", "running"))),
    ("messages after the end", BACK, _late),
    ("messages after the end", BACK, lambda h: h.heard.insert(-1, Heard("progress", 1.0))),
    ("messages after the end", TWO_VISITS, lambda h: h.heard.insert(4, Heard("data", "of the first visit"))),
]


@pytest.mark.parametrize(("check", "job", "change"), BAD)
def test_a_bad_history_is_noticed(check: str, job: Job, change: Change) -> None:
    expected, history = good(job)
    change(history)
    assert check in {violation.check for violation in check_job(job, expected, history)}


def test_every_check_of_a_job_is_shown_a_bad_history() -> None:
    assert {check for check, _, _ in BAD} == set(JOB_CHECKS)


def test_where_nobody_listened_messages_may_be_missing_but_not_others_be_there() -> None:
    expected, history = good(TWO_VISITS)
    history.deaf = True
    history.heard = [item for item in history.heard if item.kind != "mark"][1:-1]
    assert list(check_job(TWO_VISITS, expected, history)) == []
    history.heard.append(Heard("status", "queued"))
    assert [violation.check for violation in check_job(TWO_VISITS, expected, history)] == ["wrong statuses"]


def test_a_mark_may_come_twice() -> None:
    expected, history = good(TWO_VISITS)
    marks = [index for index, item in enumerate(history.heard) if item.kind == "mark"]
    for index in reversed(marks):
        history.heard.insert(index, history.heard[index])
    assert list(check_job(TWO_VISITS, expected, history)) == []


def _checks(violations: Any) -> list[tuple[str, str]]:
    found: list[Violation] = list(violations)
    return [(violation.check, violation.subject) for violation in found]


def test_leaked_keys() -> None:
    stays = ["process:data", "job:x", "farm:seen:x", "farm:dramatiq:__heartbeats__", "test:starts"]
    leaks = ["farm:run:x", "farm:dramatiq:cpu.msgs", "farm:outbox"]
    assert _checks(leaked_keys([*stays, *leaks])) == [("leaked keys", key) for key in leaks]


def test_leaked_and_missing_objects() -> None:
    artifact = {"bucket": "staged", "key": "j/a/1", "size_bytes": 3, "created_at": "1", "content_type": None}
    final = {"nodes": [{"output": {"artifact_a": artifact}}, {}]}
    assert _checks(leaked_objects({"staged/j/a/1": 3}, [final])) == []
    assert _checks(leaked_objects({"staged/j/a/1": 3, "staged/j/a/2": 3}, [final])) == [
        ("leaked objects", "staged/j/a/2")
    ]
    assert _checks(leaked_objects({}, [final])) == [("missing objects", "staged/j/a/1")]
    assert _checks(leaked_objects({"staged/j/a/1": 2}, [final])) == [("missing objects", "staged/j/a/1")]


def test_dead_letters() -> None:
    dead = [("a", "duplicate"), ("a", "duplicate"), ("b", "duplicate")]
    assert _checks(wrong_dead_letters(["a", "b", "a"], dead)) == []
    assert _checks(wrong_dead_letters(["a", "b"], dead)) == [("dead letters", "a")]
    assert _checks(wrong_dead_letters(["a", "a", "b", "c"], dead)) == [("dead letters", "c")]
    assert _checks(wrong_dead_letters([], [("a", "bad_entry")])) == [("dead letters", "a")]


def test_recovery_is_the_time_to_the_next_start() -> None:
    loss = Loss("j", "a", "1-0", 1, 10.0)
    starts = [
        Start("j", "a", "1-0", attempt, "", at, 1, "") for attempt, at in ((1, 9.0), (3, 14.0), (2, 12.5))
    ]
    assert recoveries([loss], starts) == [Recovery(2.5, loss)]
    assert recoveries([loss], starts[:1]) == []
    assert recoveries([replace(loss, entry="2-0")], starts) == []


def test_slow_recovery() -> None:
    loss = Loss("j", "a", "1-0", 1, 10.0)
    waits = [Recovery(seconds, loss) for seconds in [1.0] * 98 + [7.9, 60.0]]
    assert quantile([], 0.99) == 0.0
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert slow_recovery(waits, 3.0) == []
    (slow,) = slow_recovery(waits, 2.0)
    assert slow.actual.startswith("7.9 s: 60.0 s for a of j, 7.9 s")
    assert slow_recovery(waits[-10:], 2.0) == []
