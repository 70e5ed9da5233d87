"""What a graph allows: which nodes may start, which never will, and when a visit is over.

Everything here is a pure function of the plan (the graph's shape) and the nodes' states. It is the
specification that ``lua/*.lua`` follows step by step; tests hold the two against each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .document import Document


class State(StrEnum):
    """A node's state inside a run; the values are what Redis holds."""

    WAITING = "W"
    READY = "Q"
    RUNNING = "R"
    COMPLETED = "C"
    FAILED = "F"
    SKIPPED = "S"


OPEN = frozenset({State.WAITING, State.READY, State.RUNNING})

_ARRIVES_AS = {"completed": State.COMPLETED, "failed": State.FAILED, "skipped": State.SKIPPED}


class Verdict(StrEnum):
    """How a visit ends (the rows of the contract's section 5)."""

    HAND_BACK = "hand_back"
    COMPLETED = "completed"
    COMPLETED_WITH_SKIPS = "completed_with_skips"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CycleError(ValueError):
    """The graph's edges form a cycle; the message names the nodes on it."""


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A node as the run sees it.

    Attributes:
        ours: Whether the node is on the python plane, so that this farm runs it.
        weight: Its share of the job's progress, normalised (see :func:`normalise`).
        state: Its state on arrival, before skips are propagated.
        incoming: Source index and edge kind of every edge into it, in edge order.
        outgoing: Target index and edge kind of every edge out of it, in edge order.
    """

    index: int
    id: str
    service: str
    ours: bool
    weight: float
    state: State
    incoming: tuple[tuple[int, str], ...]
    outgoing: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph's shape and the states its nodes arrived in."""

    nodes: tuple[PlannedNode, ...]
    order: tuple[int, ...]
    """Node indexes, every source before its targets."""


def make_plan(document: Document) -> Plan:
    """The plan of a document.

    Raises:
        CycleError: The edges form a cycle.
    """
    incoming: list[list[tuple[int, str]]] = [[] for _ in document.nodes]
    outgoing: list[list[tuple[int, str]]] = [[] for _ in document.nodes]
    for edge in document.edges:
        incoming[edge.target].append((edge.source, edge.kind))
        outgoing[edge.source].append((edge.target, edge.kind))
    weights = normalise(
        [1.0 if node.progress_weight is None else node.progress_weight for node in document.nodes]
    )
    nodes = tuple(
        PlannedNode(
            index=node.index,
            id=node.id,
            service=node.service,
            ours=node.plane == "python",
            weight=weights[node.index],
            # `running` and `ready` on arrival mean nothing: only this farm could be running the node.
            state=_ARRIVES_AS.get(node.status, State.WAITING),
            incoming=tuple(incoming[node.index]),
            outgoing=tuple(outgoing[node.index]),
        )
        for node in document.nodes
    )
    return Plan(nodes, _topological_order(nodes))


def normalise(weights: Sequence[float]) -> list[float]:
    """Shares of progress from ``progressWeight`` values: scaled down to sum to 1 only where they sum past 1."""
    largest = max(weights, default=0.0)
    # Scaling by the largest first keeps the sum of weights near the top of the float range finite.
    scaled = [weight / largest for weight in weights] if largest > 1 else list(weights)
    total = math.fsum(scaled)
    if largest > 1 or total > 1:
        return [weight / total for weight in scaled]
    return scaled


def _topological_order(nodes: Sequence[PlannedNode]) -> tuple[int, ...]:
    missing = [len(node.incoming) for node in nodes]
    order = [node.index for node in nodes if not node.incoming]
    for index in order:
        for target, _ in nodes[index].outgoing:
            missing[target] -= 1
            if missing[target] == 0:
                order.append(target)
    if len(order) < len(nodes):
        raise CycleError("the edges form a cycle: " + " → ".join(_cycle(nodes, missing)))
    return tuple(order)


def _cycle(nodes: Sequence[PlannedNode], missing: Sequence[int]) -> list[str]:
    """Ids along one cycle, first repeated at the end; every node left over has a source left over."""
    index = next(i for i, count in enumerate(missing) if count)
    position: dict[int, int] = {}
    while index not in position:
        position[index] = len(position)
        index = next(source for source, _ in nodes[index].incoming if missing[source])
    path = list(position)
    ids = [nodes[i].id for i in [index, *reversed(path[position[index] :])]]
    return ids if len(ids) <= 8 else [*ids[:4], "…", *ids[-3:]]


def satisfied(kind: str, source: State) -> bool:
    """Whether an edge of ``kind`` from a node in state ``source`` lets its target run."""
    return source is (State.FAILED if kind == "on_failure" else State.COMPLETED)


def impossible(kind: str, source: State) -> bool:
    """Whether such an edge can never be satisfied any more."""
    return source not in OPEN and not satisfied(kind, source)


def propagate_skips(plan: Plan, states: Sequence[State]) -> list[State]:
    """States after every waiting node with an impossible edge, and so on downstream, is skipped."""
    result = list(states)
    for index in plan.order:
        node = plan.nodes[index]
        if result[index] is State.WAITING and any(
            impossible(kind, result[src]) for src, kind in node.incoming
        ):
            result[index] = State.SKIPPED
    return result


def unsatisfied(plan: Plan, states: Sequence[State], index: int) -> int:
    """How many edges into a node are not satisfied yet."""
    return sum(not satisfied(kind, states[source]) for source, kind in plan.nodes[index].incoming)


def startable(plan: Plan, states: Sequence[State]) -> list[int]:
    """Waiting nodes of ours whose every edge is satisfied, in document order."""
    return [
        node.index
        for node in plan.nodes
        if node.ours and states[node.index] is State.WAITING and not unsatisfied(plan, states, node.index)
    ]


def handlers(plan: Plan, states: Sequence[State], index: int) -> int:
    """How many ``on_failure`` edges of a node lead to a node that has taken its failure up or still may."""
    return sum(
        kind == "on_failure" and states[target] not in (State.FAILED, State.SKIPPED)
        for target, kind in plan.nodes[index].outgoing
    )


def failing(plan: Plan, states: Sequence[State]) -> bool:
    """Whether a node has failed and nothing can take the failure up any more: the job will fail."""
    return any(
        states[node.index] is State.FAILED and not handlers(plan, states, node.index) for node in plan.nodes
    )


def progress(plan: Plan, fractions: Sequence[float]) -> float:
    """The job's progress when each node's largest reported fraction is as given; terminal nodes count 1."""
    return min(1.0, math.fsum(node.weight * fractions[node.index] for node in plan.nodes))


def verdict(plan: Plan, states: Sequence[State], *, cancelled: bool = False) -> Verdict:
    """How the visit ends, given that nothing is running and nothing more will be started in it."""
    doomed = failing(plan, states)
    if cancelled and (doomed or any(state in OPEN for state in states)):
        return Verdict.CANCELLED
    if doomed:
        return Verdict.FAILED
    waiting = [node for node in plan.nodes if states[node.index] in OPEN]
    if any(not node.ours and not unsatisfied(plan, states, node.index) for node in waiting):
        return Verdict.HAND_BACK
    if waiting:
        return Verdict.FAILED
    if all(state is State.COMPLETED for state in states):
        return Verdict.COMPLETED
    return Verdict.COMPLETED_WITH_SKIPS
