"""Which nodes of a failed job start again, what stays, and that nothing else of the text changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.plan import State, failing, make_plan, propagate_skips
from myspinbot_worker.graph.resume import CannotResume, ParamsEdit, Resumed, resume
from myspinbot_worker.graph.scanner import DocumentError
from tests.unit.graphs import graphs, text_of


def node(node_id: str, status: str = "pending", **fields: Any) -> dict[str, Any]:
    return {"id": node_id, "service": "s", "plane": "python", "status": status, **fields}


def graph(nodes: list[dict[str, Any]], *edges: tuple[str, ...]) -> str:
    return json.dumps(
        {
            "schema": "langgraph.v1",
            "workflowId": "j",
            "nodes": nodes,
            "edges": [
                {"from": edge[0], "to": edge[1], **({"kind": edge[2]} if len(edge) > 2 else {})}
                for edge in edges
            ],
        }
    )


def resumed(text: str, **edits: ParamsEdit) -> Resumed:
    return resume(Document.parse(text), edits)


def fields(found: Resumed, node_id: str) -> dict[str, Any]:
    (wanted,) = [item for item in json.loads(found.graph)["nodes"] if item["id"] == node_id]
    return dict(wanted)


ERROR = {"message": "m", "code": "bad_params"}
CANCELLED = {"message": "the job was cancelled", "code": "cancelled"}


def test_a_chain_goes_on_where_it_failed() -> None:
    text = graph(
        [
            node("a", "completed", output={"x": [1.0]}),
            node("b", "failed", error=ERROR, retries={"attempt": 3, "maxAttempts": 4}),
            node("c", "skipped"),
            node("d", "skipped", plane="node"),
        ],
        ("a", "b"), ("b", "c"), ("c", "d"),
    )  # fmt: skip
    found = resumed(text)
    assert (found.again, found.revived, found.kept) == (("b",), ("c", "d"), 1)
    assert fields(found, "b") == node("b", error=None, retries={"attempt": 0, "maxAttempts": 4})
    assert fields(found, "c") == node("c")
    assert fields(found, "a") == json.loads(text)["nodes"][0]


def test_what_was_skipped_for_another_reason_stays_so() -> None:
    text = graph(
        [
            node("a", "completed"),
            node("b", "failed", error=ERROR),
            node("handler", "skipped"),  # waited for a's failure
            node("both", "skipped"),  # would need b, and the handler
            node("planned", "skipped"),  # the planner's own decision
        ],
        ("a", "b"), ("a", "handler", "on_failure"), ("b", "both"), ("handler", "both"),
    )  # fmt: skip
    found = resumed(text)
    assert (found.again, found.revived, found.kept) == (("b",), (), 4)


def test_a_failure_that_was_taken_up_is_not_repeated() -> None:
    text = graph(
        [node("a", "failed", error=ERROR), node("h", "completed"), node("b", "failed", error=ERROR)],
        ("a", "h", "on_failure"), ("h", "b"),
    )  # fmt: skip
    assert resumed(text).again == ("b",)


def test_a_handler_that_failed_is_repeated_with_its_source() -> None:
    text = graph(
        [node("a", "failed", error=ERROR), node("h", "failed", error=ERROR)], ("a", "h", "on_failure")
    )
    assert resumed(text).again == ("a", "h")


def test_a_cancelled_job_goes_on_on_both_planes() -> None:
    text = graph(
        [
            node("a", "completed"),
            node("b", "failed", error=CANCELLED),
            node("c", "failed", plane="node", error=CANCELLED),
            node("d"),
        ],
        ("a", "b"), ("a", "c"), ("b", "d"),
    )  # fmt: skip
    found = resumed(text)
    assert (found.again, found.kept) == (("b", "c"), 1)
    assert fields(found, "c") == node("c", plane="node", error=None)


@pytest.mark.parametrize("nodes", [[node("a")], [node("a", "completed"), node("b", "skipped")]])
def test_nothing_failed(nodes: list[dict[str, Any]]) -> None:
    with pytest.raises(CannotResume, match="no node of it has failed"):
        resumed(graph(nodes))


def test_a_failure_of_the_control_plane_is_not_ours_to_retry() -> None:
    with pytest.raises(CannotResume, match="node 'c' failed on the control plane"):
        resumed(graph([node("b", "failed", error=ERROR), node("c", "failed", plane="node", error=ERROR)]))


def test_a_failure_after_what_was_skipped_would_not_run() -> None:
    text = graph([node("done", "skipped"), node("a", "failed", error=ERROR)], ("done", "a"))
    with pytest.raises(CannotResume, match="node 'a' failed, but what it comes after was skipped"):
        resumed(text)


def test_absent_fields_stay_absent() -> None:
    assert fields(resumed(graph([node("a", "failed")])), "a") == node("a")
    assert fields(resumed(graph([node("a", "failed", error=None, retries=None)])), "a") == node(
        "a", error=None, retries=None
    )
    limited = node("a", "failed", retries={"maxAttempts": 2})
    assert fields(resumed(graph([limited])), "a") == {**limited, "status": "pending"}


def test_params_are_edited_where_they_stand() -> None:
    text = graph([node("a", "failed")]).replace(
        '"status": "failed"', '"status":"failed","params":{"n":1.0, "big":12345678901234567890,"s":"x"}'
    )
    edit = ParamsEdit(members={"s": ' "y" ', "new": "[1.0]"})
    assert '"params":{"n":1.0,"big":12345678901234567890,"s":"y","new":[1.0]}' in resumed(text, a=edit).graph
    assert fields(resumed(text, a=ParamsEdit("null")), "a")["params"] is None
    assert fields(resumed(text, a=ParamsEdit('{"k": 2}', {"l": "3"})), "a")["params"] == {"k": 2, "l": 3}


def test_nodes_that_will_run_later_can_be_edited_too() -> None:
    text = graph([node("a", "failed"), node("b", "skipped"), node("c")], ("a", "b"))
    found = resumed(text, b=ParamsEdit("{}"), c=ParamsEdit(members={"k": "1"}))
    assert fields(found, "b")["params"] == {}
    assert fields(found, "c")["params"] == {"k": 1}


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ({"nope": ParamsEdit("{}")}, "there is no node 'nope'"),
        ({"done": ParamsEdit("{}")}, "node 'done' is completed and will not run again"),
        ({"a": ParamsEdit("{")}, "params of node 'a': not JSON: Expecting property name"),
        ({"a": ParamsEdit("")}, "params of node 'a': not JSON"),
        ({"a": ParamsEdit("{} {}")}, "params of node 'a': not JSON: Extra data"),
        ({"a": ParamsEdit("[1]")}, "params of node 'a': an object or null is wanted"),
        ({"a": ParamsEdit('{"x": NaN}')}, "params of node 'a': not JSON: NaN"),
        ({"a": ParamsEdit('{"x": 1e999}')}, "params of node 'a': not JSON: number"),
        ({"a": ParamsEdit("[" * 9000)}, "params of node 'a': not JSON"),
        ({"a": ParamsEdit('{"x":' + "[" * 200 + "]" * 200 + "}")}, "params of node 'a': nested too deeply"),
        ({"a": ParamsEdit('"\udcff"')}, "params of node 'a': not valid UTF-8"),
        ({"a": ParamsEdit(members={"k": "nope"})}, "params.k of node 'a': not JSON"),
    ],
)
def test_edits_that_are_refused(edits: dict[str, ParamsEdit], why: str) -> None:
    text = graph([node("done", "completed"), node("a", "failed", params={"k": 1})])
    with pytest.raises(CannotResume, match=why.replace(".", r"\.")):
        resume(Document.parse(text), edits)


@given(graphs())
def test_a_resumed_graph_can_go_on_and_the_rest_of_it_is_the_same(sent: dict[str, Any]) -> None:
    text = text_of(sent)
    try:
        document = Document.parse(text)
        found = resume(document)
    except (CannotResume, DocumentError):
        return
    after = json.loads(found.graph)
    changed = set(found.again) | set(found.revived)
    for before, now in zip(sent["nodes"], after["nodes"], strict=True):
        if now["id"] not in changed:
            assert now == before
        else:
            assert now["status"] == "pending"
            assert {**now, "status": 0, "error": 0, "retries": 0} == {
                **before, "status": 0, "error": 0, "retries": 0
            }  # fmt: skip
            assert not now.get("error")
            assert set(now) == set(before)
    assert {**after, "nodes": 0} == {**sent, "nodes": 0}
    plan = make_plan(Document.parse(found.graph))
    states = propagate_skips(plan, [item.state for item in plan.nodes])
    assert not failing(plan, states)
    assert any(states[item.index] is State.WAITING for item in plan.nodes)
    with pytest.raises(CannotResume):
        resume(Document.parse(found.graph))
