"""Random ``langgraph.v1`` graphs for property tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

KINDS = ("normal", "on_success", "on_failure")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=3)


@st.composite
def nodes(draw: st.DrawFn, node_id: str, *, plain: bool = False) -> dict[str, Any]:
    """A node; ``plain`` leaves out everything optional but the weight."""
    node: dict[str, Any] = {
        "id": node_id,
        "service": draw(st.sampled_from(["dummy.dummy_task", "some.service"])),
        "plane": draw(st.sampled_from(["python", "python", "python", "node"])),
        "status": draw(
            st.sampled_from(
                ["pending", "pending", "pending", "ready", "running", "completed", "failed", "skipped"]
            )
        ),
    }
    if draw(st.booleans()):
        node["progressWeight"] = draw(st.floats(0, 3) | st.integers(0, 3))
    if plain:
        return node
    optional = {
        "name": st.text(),
        "params": st.none() | json_objects,
        "input": json_values,
        "output": json_values,
        "error": st.none() | json_objects.map(lambda value: {"message": "m", **value, "code": "c"}),
        "retries": st.none() | st.fixed_dictionaries({}, optional={"attempt": st.integers(0, 5)}),
        "tags": st.none() | st.lists(st.text(), max_size=2),
        "telemetry": st.none() | json_objects,
    }
    for name, strategy in optional.items():
        if draw(st.booleans()):
            node[name] = draw(strategy)
    if node.get("error"):
        node["error"]["message"] = "m"
    return node


@st.composite
def graphs(draw: st.DrawFn, *, max_nodes: int = 6, plain: bool = False) -> dict[str, Any]:
    """A valid acyclic graph whose node order is not its topological order."""
    count = draw(st.integers(1, max_nodes))
    ids = [f"n{i}" for i in range(count)]
    shuffled = draw(st.permutations(ids))
    pairs = [(a, b) for i, a in enumerate(shuffled) for b in shuffled[i + 1 :]]
    edges = []
    for source, target in draw(st.lists(st.sampled_from(pairs), max_size=2 * count)) if pairs else []:
        edge: dict[str, Any] = {"from": source, "to": target}
        if draw(st.booleans()):
            edge["kind"] = draw(st.sampled_from(KINDS))
        if not plain and draw(st.booleans()):
            edge["metadata"] = draw(st.none() | json_objects)
        edges.append(edge)
    graph: dict[str, Any] = {
        "schema": "langgraph.v1",
        "workflowId": "job-1",
        "nodes": [draw(nodes(node_id, plain=plain)) for node_id in ids],
        "edges": edges,
    }
    if not plain:
        for name in ("context", "metadata"):
            if draw(st.booleans()):
                graph[name] = draw(json_objects)
    return graph


def text_of(graph: dict[str, Any]) -> str:
    return json.dumps(graph, ensure_ascii=False)
