"""Every small graph, one of each up to isomorphism."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations, permutations, product
from typing import NamedTuple

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.plan import Plan, make_plan

# `on_success` means what `normal` means (a test says so), so one of the two stands for both.
_BETWEEN = ((), ("normal",), ("on_failure",))
_BETWEEN_FEW = (*_BETWEEN, ("normal", "on_failure"))


class Shape(NamedTuple):
    """A graph: what each node is, and its edges as (source, target, kind).

    A node is ``python`` (ours), ``node`` (the control plane's) or ``unknown`` (ours by its plane, of a
    service that no capability serves).
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]

    def __str__(self) -> str:
        edges = ", ".join(f"{source}→{target} {kind}" for source, target, kind in self.edges)
        return f"[{' '.join(self.nodes)}] {edges or 'no edges'}"

    def plan(self) -> Plan:
        """Its plan, by way of the document that would travel."""
        return make_plan(
            Document.parse(
                json.dumps(
                    {
                        "schema": "langgraph.v1",
                        "workflowId": "job",
                        "nodes": [
                            {
                                "id": f"n{index}",
                                "service": kind,
                                "plane": "node" if kind == "node" else "python",
                                "status": "pending",
                            }
                            for index, kind in enumerate(self.nodes)
                        ],
                        "edges": [
                            {"from": f"n{source}", "to": f"n{target}", "kind": kind}
                            for source, target, kind in self.edges
                        ],
                    }
                )
            )
        )


def shapes(size: int) -> Iterator[Shape]:
    """Every acyclic graph of ``size`` nodes, up to isomorphism.

    Graphs of one or two nodes come also with unknown services and with double edges.
    """
    few = size <= 2
    pairs = list(combinations(range(size), 2))
    seen: set[Shape] = set()
    for kinds in product(("python", "node", "unknown") if few else ("python", "node"), repeat=size):
        for between in product(_BETWEEN_FEW if few else _BETWEEN, repeat=len(pairs)):
            edges = tuple(
                (source, target, kind)
                for (source, target), chosen in zip(pairs, between, strict=True)
                for kind in chosen
            )
            shape = _smallest(Shape(kinds, edges))
            if shape not in seen:
                seen.add(shape)
                yield shape


def _smallest(shape: Shape) -> Shape:
    """The same for all graphs that differ only in the order of their nodes."""
    size = len(shape.nodes)
    best: Shape | None = None
    for order in permutations(range(size)):
        nodes = [""] * size
        for old, new in enumerate(order):
            nodes[new] = shape.nodes[old]
        edges = sorted((order[source], order[target], kind) for source, target, kind in shape.edges)
        candidate = Shape(tuple(nodes), tuple(edges))
        if best is None or candidate < best:
            best = candidate
    assert best is not None
    return best
