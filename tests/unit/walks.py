"""Walks through a run: the machine driven step by step, and what Redis would hold beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.machine import Run
from myspinbot_worker.graph.plan import Plan, State, make_plan
from tests.unit.graphs import text_of

LEASE = 100


class Step(NamedTuple):
    """One thing that happens to a run; numbers are taken modulo what there is."""

    what: str
    node: int
    newer: int
    outcome: State
    fraction: float | None
    kept: bool = False


_WHAT = ["claim"] * 6 + ["settle"] * 4 + ["renew"] * 2 + ["pass_time", "expire", "expire"]
_OUTCOMES = [State.COMPLETED] * 4 + [State.FAILED, State.READY]
fractions = st.none() | st.floats(0, 1)
steps = st.builds(
    Step,
    st.sampled_from([*_WHAT, *_WHAT, "cancel"]),
    st.integers(0, 11),
    # Mostly the number of the newest start, sometimes an older one or one to come.
    st.sampled_from([0, 0, 0, 0, 0, -1, 1]),
    st.sampled_from(_OUTCOMES),
    fractions,
    st.booleans(),
)
walks = st.lists(steps, max_size=40)


def some_steps(random: Random, count: int) -> list[Step]:
    """A walk from a seed: much faster than one that Hypothesis draws."""
    return [
        Step(
            random.choice([*_WHAT, *_WHAT, "cancel"]),
            random.randrange(12),
            random.choice([0, 0, 0, 0, 0, -1, 1]),
            random.choice(_OUTCOMES),
            random.choice([None, random.random()]),
            random.random() < 0.5,
        )
        for _ in range(count)
    ]


@dataclass
class Visit:
    """A run and its payloads, changed as ``admit.lua``, ``claim.lua`` and ``settle.lua`` change them."""

    run: Run
    now: int = 0
    payloads: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Document, *, keep_going: bool = False, max_lost_attempts: int = 2) -> Visit:
        plan = make_plan(document)
        visit = cls(Run.admit(plan, max_lost_attempts=max_lost_attempts, keep_going=keep_going))
        for node in document.nodes:
            planned = plan.nodes[node.index]
            wanted = {"o": "output"} if planned.outgoing else {}
            wanted |= {"p": "params", "i": "input", "r": "retries"} if planned.ours else {}
            for letter, name in wanted.items():
                if name in node.raw:
                    visit.payloads[f"{letter}:{node.index}"] = node.raw[name]
        return visit

    @property
    def plan(self) -> Plan:
        return self.run.plan

    @property
    def hash(self) -> dict[str, str]:
        """The run hash, as far as the ending reads it."""
        fields = {"over": str(int(self.run.over)), "size": str(len(self.run.nodes))}
        if self.run.cancelled:
            fields["cancelled"] = "1"
        for index, node in enumerate(self.run.nodes):
            fields[f"s:{index}"] = node.state.value
            counts = {"t": node.token, "a": node.failed_attempts, "x": node.lost_attempts}
            fields |= {f"{letter}:{index}": str(count) for letter, count in counts.items() if count}
        return fields

    def settle(self, index: int, token: int, outcome: State, text: str) -> str:
        result, _ = self.run.settle(index, token, outcome)
        if result == "ok":
            self.payloads[f"{'o' if outcome is State.COMPLETED else 'e'}:{index}"] = text
        return result

    def step(self, step: Step, text: str = "{}") -> Any:
        """Take a step; what the machine answered."""
        index = step.node % len(self.run.nodes)
        node = self.run.nodes[index]
        match step.what:
            case "claim":
                return self.run.claim(index, node.token + 1 + step.newer, self.now, LEASE)
            case "settle":
                return self.settle(index, node.token + step.newer, step.outcome, text)
            case "renew":
                token = node.token + step.newer
                return self.run.renew(index, token, self.now, LEASE, step.fraction, kept=step.kept)
            case "pass_time":
                self.now += LEASE // 2
            case "expire":
                _, lost = self.run.expire(self.now, LEASE)
                for gone in lost:
                    self.settle(gone, self.run.nodes[gone].token, State.FAILED, LOST)
            case "cancel":
                self.run.cancel()
        return None

    def finish(self, outcomes: Iterable[State], text: str = "{}") -> int:
        """Go on, node after node, until the visit is over; the number of starts it took.

        Args:
            outcomes: How each start ends; at the end of it all starts complete.
        """
        ends = iter(outcomes)
        starts = 0
        while not self.run.over:
            open_before = [node.state for node in self.run.nodes], starts
            for index, node in enumerate(self.run.nodes):
                if self.run.claim(index, node.token + 1, self.now, LEASE) == "ok":
                    starts += 1
                if node.state is State.RUNNING:
                    outcome = next(ends, State.COMPLETED)
                    self.settle(index, node.token, outcome, LOST if outcome is not State.COMPLETED else text)
            assert ([node.state for node in self.run.nodes], starts) != open_before, "the visit is stuck"
        return starts

    def abandon(self) -> int:
        """Start whatever can be, and lose every worker, until the visit is over; the number of starts."""
        starts = 0
        while not self.run.over:
            for index, node in enumerate(self.run.nodes):
                starts += self.run.claim(index, node.token + 1, self.now, LEASE) == "ok"
            self.now += LEASE
            self.step(Step("expire", 0, 0, State.FAILED, None))
            assert starts <= len(self.run.nodes) * self.run.max_lost_attempts, "lost nodes start for ever"
        return starts


LOST = '{"message": "went away", "code": "worker_lost", "details": {"attempt": 1.0}}'


def visit_of(graph: dict[str, Any], *, keep_going: bool = False) -> Visit:
    return Visit.of(Document.parse(text_of(graph)), keep_going=keep_going)


def simple_graph(states: str, *edges: str, ours: str = "") -> dict[str, Any]:
    """A graph in short: ``simple_graph("WC", "a-b", "a!b")`` has nodes a (waiting) and b (completed).

    Args:
        states: Per node a letter: W, C, F or S, lower case for nodes of the control plane.
        edges: ``a-b`` normal, ``a+b`` on success, ``a!b`` on failure.
    """
    words = {"W": "pending", "C": "completed", "F": "failed", "S": "skipped", "Q": "ready", "R": "running"}
    kinds = {"-": None, "+": "on_success", "!": "on_failure"}
    nodes = [
        {
            "id": chr(ord("a") + index),
            "service": "s",
            "plane": "python" if letter.isupper() else "node",
            "status": words[letter.upper()],
        }
        for index, letter in enumerate(states)
    ]
    return {
        "schema": "langgraph.v1",
        "workflowId": "job-1",
        "nodes": nodes,
        "edges": [
            {"from": source, "to": target} | ({"kind": kinds[sign]} if kinds[sign] else {})
            for source, sign, target in map(tuple, edges)
        ],
    }
