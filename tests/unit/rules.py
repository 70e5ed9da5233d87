"""The rules of edges, failures and endings once more, written down naively on the JSON of a graph.

Nothing here looks at how the farm computes them: this is what the wire contract says, word by word.
"""

from __future__ import annotations

import json
from typing import Any

from myspinbot_worker.graph.plan import State

WORDS = {
    State.WAITING: "open",
    State.READY: "open",
    State.RUNNING: "open",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.SKIPPED: "skipped",
}


def words(graph: dict[str, Any], states: list[State]) -> dict[str, str]:
    return {node["id"]: WORDS[state] for node, state in zip(graph["nodes"], states, strict=True)}


def wanted(edge: dict[str, Any]) -> str:
    """The end of an edge's source that satisfies the edge."""
    return "failed" if edge.get("kind") == "on_failure" else "completed"


def may_run(graph: dict[str, Any], state: dict[str, str], node: dict[str, Any]) -> bool:
    """A node may run when every source of its incoming edges is satisfied."""
    return all(state[edge["from"]] == wanted(edge) for edge in graph["edges"] if edge["to"] == node["id"])


def never_runs(graph: dict[str, Any], state: dict[str, str], node: dict[str, Any]) -> bool:
    return any(
        state[edge["from"]] not in ("open", wanted(edge))
        for edge in graph["edges"]
        if edge["to"] == node["id"]
    )


def skipped(graph: dict[str, Any], states: list[State]) -> list[State]:
    """One skip after the other, until there is none left to make."""
    states = list(states)
    while True:
        state = words(graph, states)
        for index, node in enumerate(graph["nodes"]):
            if states[index] is State.WAITING and never_runs(graph, state, node):
                states[index] = State.SKIPPED
                break
        else:
            return states


def untaken(graph: dict[str, Any], states: list[State]) -> list[str]:
    """Failed nodes that no other node has taken up or still may."""
    state = words(graph, states)
    return [
        name
        for name, word in state.items()
        if word == "failed"
        and not any(
            edge["from"] == name
            and edge.get("kind") == "on_failure"
            and state[edge["to"]] in ("open", "completed")
            for edge in graph["edges"]
        )
    ]


def ending(graph: dict[str, Any], states: list[State]) -> str:
    """The row of the contract that a visit with nothing running ends in, were it not cancelled."""
    state = words(graph, states)
    if untaken(graph, states):
        return "failed"
    if any(
        state[node["id"]] == "open" and node["plane"] == "node" and may_run(graph, state, node)
        for node in graph["nodes"]
    ):
        return "hand_back"
    if "open" in state.values():
        return "failed"
    return "completed" if set(state.values()) == {"completed"} else "completed_with_skips"


def merged(own: str | None, outputs: list[str | None]) -> dict[str, Any]:
    """A node's input: its own and its sources' outputs merged as dictionaries, where they are objects."""
    result: dict[str, Any] = {}
    for text in (own, *outputs):
        decoded = None if text is None else json.loads(text)
        if isinstance(decoded, dict):
            result.update(decoded)
    return result
