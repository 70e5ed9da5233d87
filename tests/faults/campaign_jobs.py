"""The jobs of a campaign, all of them known from its seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MOST_RETRIES = 2
"""A failure that can pass is tried so often where a node says so."""

Edge = tuple[str, str, str]
"""Source, target, kind."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the control plane sends it first.

    Attributes:
        order: Ids of its nodes, every source before its targets; the document has them in another order.
    """

    id: str
    shape: str
    document: dict[str, Any]
    order: tuple[str, ...]

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["id"]: node for node in self.document["nodes"]}

    @property
    def edges(self) -> list[Edge]:
        return [(edge["from"], edge["to"], edge.get("kind", "normal")) for edge in self.document["edges"]]


def plan_jobs(seed: int, count: int, *, deadly: bool) -> Iterator[Job]:
    """So many jobs of mixed shapes, four nodes on average.

    Args:
        deadly: Whether there are tasks that hang, exit or kill their process.
    """
    chance = random.Random(f"jobs-{seed}")
    shapes, weights = zip(*SHAPES.items(), strict=True)
    for number in range(count):
        shape = chance.choices(shapes, weights)[0]
        sketch = _Sketch(chance, deadly)
        shape(sketch)
        yield sketch.job(f"{shape.__name__.strip('_')}-{number:05}", shape.__name__.strip("_"))


@dataclass
class _Sketch:
    """A job in the making."""

    chance: random.Random
    deadly: bool
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)

    def node(self, *after: str, kind: str = "normal", plane: str = "python", **fields: Any) -> str:
        """A node that comes after others; what it does is chosen unless it is given."""
        node_id = f"n{len(self.nodes)}"
        node: dict[str, Any] = {"id": node_id, "plane": plane, "status": "pending", **fields}
        if "service" not in fields:
            node |= {"service": "control.step", "params": {}} if plane == "node" else self._work(after)
        node["params"] = {"salt": f"{self.chance.getrandbits(32):08x}", **node["params"]}
        weight = self.chance.choice([None, None, None, 0, 0.25, 1, 1.5])
        if weight is not None:
            node["progressWeight"] = weight
        if self.chance.random() < 0.3:
            node["input"] = {"own": self.chance.randint(0, 9), "last": "nobody"}
        self.nodes.append(node)
        self.edges += [(source, node_id, kind) for source in after]
        return node_id

    def control(self, *after: str, kind: str = "normal") -> str:
        """A node of the control plane."""
        return self.node(*after, kind=kind, plane="node")

    def bad(self, *after: str) -> str:
        """A node that fails."""
        choices: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            ("campaign.raise", {"passes": False}, {}),
            ("campaign.raise", {"passes": False}, {}),
            ("campaign.raise", {"passes": True}, {"retries": {"attempt": 0, "maxAttempts": MOST_RETRIES}}),
        ]
        if self.deadly and self.chance.random() < 0.3:
            choices = [
                ("campaign.die", {"how": "kill"}, {}),
                ("campaign.die", {"how": "exit"}, {}),
                ("campaign.die", {"how": "os_exit"}, {}),
                ("campaign.hang", {"how": "gil"}, {}),
                ("campaign.hang", {"how": "sleep"}, {}),
                ("campaign.hang", {"how": "sleep"}, {}),
            ]
        service, params, fields = self.chance.choice(choices)
        return self.node(*after, service=service, params=params, **fields)

    def chain(self, length: int, *after: str) -> str:
        """So many nodes one after the other; the last."""
        for _ in range(length):
            after = (self.node(*after),)
        return after[0]

    def _work(self, after: tuple[str, ...]) -> dict[str, Any]:
        """What a node does that completes in the end."""
        kept = [node["id"] for node in self.nodes if node["service"] == "campaign.keep"]
        if set(kept) & set(after) and self.chance.random() < 0.8:
            return {"service": "campaign.fetch", "params": {}}
        kinds = {"echo": 58, "work": 22, "keep": 13, "raise": 5, "die": 1 if self.deadly else 0}
        kind = self.chance.choices(list(kinds), list(kinds.values()))[0]
        params: dict[str, Any] = {}
        match kind:
            case "work":
                params = {"seconds": round(self.chance.uniform(0.05, 0.3), 3)}
            case "keep":
                params = {"bytes": self.chance.choice([1, 1000, 100_000])}
            case "raise":
                params = {"times": self.chance.randint(1, 2), "passes": True}
            case "die":
                params = {"times": 1, "how": self.chance.choice(["kill", "os_exit"])}
        return {"service": f"campaign.{kind}", "params": params}

    def job(self, job_id: str, shape: str) -> Job:
        order = tuple(node["id"] for node in self.nodes)
        nodes = self.chance.sample(self.nodes, len(self.nodes))
        edges = self.chance.sample(self.edges, len(self.edges))
        document = {
            "schema": "langgraph.v1",
            "workflowId": job_id,
            "nodes": nodes,
            "edges": [
                {"from": source, "to": target, **({} if kind == "normal" else {"kind": kind})}
                for source, target, kind in edges
            ],
            "context": {"visit": 0, "list": [], "tiny": 1e-7},
        }
        return Job(job_id, shape, document, order)


def _single(sketch: _Sketch) -> None:
    sketch.node()


def _chain(sketch: _Sketch) -> None:
    sketch.chain(sketch.chance.randint(2, 5))


def _fan(sketch: _Sketch) -> None:
    first = sketch.node()
    sketch.node(*(sketch.node(first) for _ in range(sketch.chance.randint(2, 4))))


def _diamonds(sketch: _Sketch) -> None:
    last = sketch.node()
    for _ in range(sketch.chance.randint(1, 2)):
        last = sketch.node(sketch.node(last), sketch.node(last))


def _relay(sketch: _Sketch) -> None:
    """To and fro between the planes."""
    last = sketch.node()
    for _ in range(sketch.chance.randint(1, 2)):
        last = sketch.node(sketch.control(last))
    if sketch.chance.random() < 0.5:
        sketch.control(last)


def _both(sketch: _Sketch) -> None:
    """A branch on each plane, and a join."""
    first = sketch.node()
    sketch.node(sketch.chain(sketch.chance.randint(1, 2), first), sketch.control(first))


def _rescued(sketch: _Sketch) -> None:
    """A failure that is taken up; what needed its success is skipped."""
    bad = sketch.bad(sketch.node())
    sketch.node(sketch.node(bad, kind="on_success"))
    sketch.chain(sketch.chance.randint(1, 2), sketch.node(bad, kind="on_failure"))


def _handed_over(sketch: _Sketch) -> None:
    """A failure that a node of the control plane takes up."""
    bad = sketch.bad()
    sketch.node(sketch.control(bad, kind="on_failure"))
    if sketch.chance.random() < 0.5:
        sketch.node(bad)


def _spared(sketch: _Sketch) -> None:
    """A handler that is not needed, on either plane."""
    good = sketch.node()
    sketch.node(good, kind="on_success")
    plane = sketch.chance.choice(["python", "node"])
    sketch.node(sketch.node(good, kind="on_failure", plane=plane))


def _failing(sketch: _Sketch) -> None:
    """A failure that nobody takes up. Nothing runs beside it: how far that got would be a matter of chance."""
    length = sketch.chance.randint(0, 2)
    last = sketch.bad(*((sketch.chain(length),) if length else ()))
    for _ in range(sketch.chance.randint(0, 2)):
        last = sketch.node(last)


def _resumed(sketch: _Sketch) -> None:
    """Parts of it came done, skipped or, by a control plane that lost its memory, as running."""
    done = sketch.node(service="campaign.echo", params={})
    sketch.nodes[-1] |= {"status": "completed", "output": {"kept": [1, 2.50], "last": done}}
    sketch.node(sketch.node(done))
    sketch.nodes[-1]["status"] = "running"
    if sketch.chance.random() < 0.5:
        sketch.node(service="campaign.echo", params={})
        sketch.nodes[-1]["status"] = "skipped"


def _tangle(sketch: _Sketch) -> None:
    """Any edges at all, on both planes."""
    for _ in range(sketch.chance.randint(4, 8)):
        ids = [node["id"] for node in sketch.nodes]
        after = sketch.chance.sample(ids, sketch.chance.randint(0, min(3, len(ids))))
        plane = "node" if sketch.chance.random() < 0.2 else "python"
        sketch.node(*after, plane=plane, kind=sketch.chance.choice(["normal", "on_success"]))


SHAPES: dict[Callable[[_Sketch], None], int] = {
    _single: 14,
    _chain: 20,
    _fan: 14,
    _diamonds: 8,
    _relay: 10,
    _both: 6,
    _rescued: 5,
    _handed_over: 4,
    _spared: 4,
    _failing: 6,
    _resumed: 4,
    _tangle: 7,
}
"""How often each comes."""
