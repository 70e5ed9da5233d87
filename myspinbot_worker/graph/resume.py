"""A failed job's graph, made ready to go on from where it failed. Pure.

What is finished stays finished. Only the nodes that failed, and those that were skipped because of them, are
pending again; everything else of the text is copied byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .document import Document, Node
from .payload import members
from .plan import Plan, State, failing, handlers, impossible, make_plan, propagate_skips
from .scanner import MAX_DEPTH, DocumentError, Scanner, nested_deeper

CANCELLED = '"cancelled"'


class CannotResume(ValueError):
    """The graph cannot go on as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class ParamsEdit:
    """What to change in one node's params.

    Attributes:
        whole: JSON text that takes the place of all of them; ``None`` to keep them.
        members: Member name to the JSON text of its new value, applied after ``whole``.
    """

    whole: str | None = None
    members: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resumed:
    """A graph that can go on.

    Attributes:
        graph: Its JSON text.
        again: Ids of the failed nodes that are pending again.
        revived: Ids of the nodes that were skipped because of them.
        kept: How many nodes are finished and stay so.
    """

    graph: str
    again: tuple[str, ...]
    revived: tuple[str, ...]
    kept: int


def failed_nodes(document: Document, plan: Plan) -> list[Node]:
    """Nodes a retry starts again: failed here, or ended by a cancel, and nothing took the failure up."""
    states = [node.state for node in plan.nodes]
    return [
        node
        for node in document.nodes
        if states[node.index] is State.FAILED
        and not handlers(plan, states, node.index)
        and (plan.nodes[node.index].ours or _error_code(node) == CANCELLED)
    ]


def resume(document: Document, edits: Mapping[str, ParamsEdit] | None = None) -> Resumed:
    """The graph with its failed nodes pending again.

    Args:
        document: The job's latest snapshot; it fits the schema.
        edits: Node id to what to change in its params.

    Raises:
        CannotResume: Nothing has failed, the job would fail again at once, nothing of it could run, or an edit
            names no node or one that will not run, or holds JSON that is none.
        CycleError: The edges form a cycle.
    """
    plan = make_plan(document)
    again = failed_nodes(document, plan)
    _refuse_hopeless(document, plan, again)
    states = [node.state for node in plan.nodes]
    for node in again:
        states[node.index] = State.WAITING
    revived = _revive(plan, states, {node.index for node in again})
    edited = _edits(document, plan, states, edits or {})
    changes: dict[int, dict[str, str]] = {}
    for index in sorted({node.index for node in again} | set(revived)):
        changes[index] = _fresh(document.nodes[index])
    for index, edit in edited.items():
        params = _edited(document.nodes[index], edit)
        changes.setdefault(index, {})["params"] = params
    return Resumed(
        document.render(changes),
        tuple(node.id for node in again),
        tuple(document.nodes[index].id for index in revived),
        sum(state is not State.WAITING for state in states),
    )


def _refuse_hopeless(document: Document, plan: Plan, again: Sequence[Node]) -> None:
    states = [node.state for node in plan.nodes]
    for node in again:
        states[node.index] = State.WAITING
    states = propagate_skips(plan, states)
    if failing(plan, states):
        culprit = next(
            node
            for node in document.nodes
            if states[node.index] is State.FAILED and not handlers(plan, states, node.index)
        )
        raise CannotResume(
            f"node {culprit.id!r} failed on the control plane and nothing takes that up: the job would fail "
            "again at once"
        )
    if not again:
        raise CannotResume("no node of it has failed")
    if not any(states[node.index] is State.WAITING for node in again):
        raise CannotResume(
            f"node {again[0].id!r} failed, but what it comes after was skipped: it would not run"
        )


def _revive(plan: Plan, states: list[State], again: set[int]) -> list[int]:
    """Make nodes waiting that were skipped because of ``again`` and have no other reason; their indexes.

    Args:
        states: Of all nodes, those of ``again`` waiting; changed.
    """
    before = [node.state for node in plan.nodes]
    back, revived = set(again), []
    for index in plan.order:
        if before[index] is not State.SKIPPED:
            continue
        incoming = plan.nodes[index].incoming
        because = any(source in back and impossible(kind, before[source]) for source, kind in incoming)
        if because and not any(impossible(kind, states[source]) for source, kind in incoming):
            states[index] = State.WAITING
            back.add(index)
            revived.append(index)
    return sorted(revived)


def _fresh(node: Node) -> dict[str, str]:
    """The fields of a node that starts anew."""
    change = {"status": '"pending"'}
    if node.raw.get("error", "null") != "null":
        change["error"] = "null"
    retries = members(node.raw.get("retries"))
    if retries and "attempt" in retries:
        change["retries"] = _object({**retries, "attempt": "0"})
    return change


def _edits(
    document: Document, plan: Plan, states: Sequence[State], edits: Mapping[str, ParamsEdit]
) -> dict[int, ParamsEdit]:
    index_of = {node.id: node.index for node in document.nodes}
    found: dict[int, ParamsEdit] = {}
    for name, edit in edits.items():
        if name not in index_of:
            raise CannotResume(f"there is no node {name!r}")
        index = index_of[name]
        if states[index] is not State.WAITING:
            raise CannotResume(
                f"node {name!r} is {document.nodes[index].status} and will not run again: its params stay"
            )
        found[index] = edit
    return found


def _edited(node: Node, edit: ParamsEdit) -> str:
    text = node.raw.get("params", "null")
    if edit.whole is not None:
        text = json_text(edit.whole, f"params of node {node.id!r}")
        if text != "null" and members(text) is None:
            raise CannotResume(f"params of node {node.id!r}: an object or null is wanted")
    if not edit.members:
        return text
    known = members(text) or {}
    new = {
        name: json_text(value, f"params.{name} of node {node.id!r}") for name, value in edit.members.items()
    }
    return _object({**known, **new})


def json_text(text: str, what: str) -> str:
    """``text`` without the space around it, if it is one JSON value that a graph may hold.

    Raises:
        CannotResume: It is not; the message says ``what`` is wrong.
    """
    scanner = Scanner(text)
    try:
        value = scanner.value_text()
        scanner.expect_end()
        text.encode()
    except json.JSONDecodeError as error:
        raise CannotResume(f"{what}: not JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeEncodeError:
        raise CannotResume(f"{what}: not valid UTF-8") from None
    except (DocumentError, RecursionError, ValueError) as error:
        raise CannotResume(f"{what}: not JSON: {error}") from None
    if nested_deeper(json.loads(value), MAX_DEPTH // 2):
        raise CannotResume(f"{what}: nested too deeply")
    return value


def _error_code(node: Node) -> str | None:
    return (members(node.raw.get("error")) or {}).get("code")


def _object(fields: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{raw}" for name, raw in fields.items()) + "}"
