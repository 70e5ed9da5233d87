"""A graph's faults: the same verdict as the whole model's, at a cost that what is wrong cannot drive up."""

from __future__ import annotations

import json
import tracemalloc
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from myspinbot_worker.graph_schema import faults
from myspinbot_worker.models.langgraph_v1 import LanggraphWorkflow
from tests.unit.graphs import graphs, json_values

MANY = 100_000
NODE: dict[str, Any] = {"id": "a", "service": "s", "plane": "python", "status": "pending"}


def graph(**parts: Any) -> dict[str, Any]:
    return {"schema": "langgraph.v1", "workflowId": "j", "nodes": [NODE], "edges": [], **parts}


def fits(document: Any) -> bool:
    try:
        LanggraphWorkflow.model_validate(document, strict=True)
    except ValidationError:
        return False
    return True


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A graph in which one value, at any depth, was replaced, added or taken out."""
    document: Any = json.loads(json.dumps(draw(graphs(max_nodes=3))))
    at = document
    while True:
        names = list(at) if isinstance(at, dict) else range(len(at))
        if not names:
            break
        name = draw(st.sampled_from(list(names)))
        if isinstance(at[name], dict | list) and at[name] and draw(st.booleans()):
            at = at[name]
            continue
        what = draw(st.sampled_from(["replace", "remove", "add"]))
        if what == "replace":
            at[name] = draw(json_values)
        elif what == "remove":
            del at[name]
        elif isinstance(at, dict):
            at[draw(st.text(max_size=3))] = draw(json_values)
        else:
            at.append(draw(json_values))
        break
    return document


@given(damaged() | json_values)
def test_the_verdict_is_the_models(document: Any) -> None:
    assert (not list(faults(document))) == fits(document)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "graph: Input should be a valid dictionary"),
        (graph(nodes=[]), "graph.nodes: List should have at least 1 item"),
        (graph(nodes={}), "graph.nodes: Input should be a valid list"),
        (graph(nodes=[NODE, 1]), "graph.nodes[1]: Input should be a valid dictionary"),
        (graph(nodes=[NODE, {**NODE, "retries": {"tries": 1}}]), "graph.nodes[1].retries.tries: Extra"),
        (graph(nodes=[{**NODE, "retries": {"attempt": -1}}]), "graph.nodes[0].retries.attempt: Input should"),
        (
            graph(nodes=[{**NODE, "tags": ["a", None]}]),
            "graph.nodes[0].tags[1]: Input should be a valid string",
        ),
        (graph(edges=[{"from": "a", "to": "a", "kind": "x"}]), "graph.edges[0].kind: Input should be"),
        (graph(edges=None), "graph.edges: Input should be a valid list"),
        (graph(extra=1), "graph.extra: Extra inputs are not permitted"),
    ],
)
def test_a_fault_is_told_with_its_place(document: Any, told: str) -> None:
    found = list(faults(document))
    assert len(found) == 1
    assert found[0].startswith(told)


@pytest.mark.parametrize(
    "document",
    [
        graph(edges=[{}] * MANY),
        graph(edges=[0] * MANY),
        graph(nodes=[0] * MANY),
        graph(nodes=[{**NODE, "tags": [0] * MANY}]),
        graph(nodes=[{**NODE, **dict.fromkeys(map(str, range(MANY)))}]),
        graph(nodes=[{**NODE, "retries": dict.fromkeys(map(str, range(MANY)))}]),
        graph(**dict.fromkeys(map(str, range(MANY)))),
    ],
    ids=["empty edges", "no edges", "no nodes", "tags", "a node's keys", "retries' keys", "the graph's keys"],
)
def test_what_is_wrong_in_many_places_costs_little(document: Any) -> None:
    tracemalloc.start()
    try:
        found = list(islice(faults(document), 4))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 4
    assert peak < 5_000_000
