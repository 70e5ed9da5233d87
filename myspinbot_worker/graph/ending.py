"""How a visit ends: the final graph, and what the control plane is told (the contract's section 5)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .document import Document, Node
from .payload import merge_input, with_member
from .plan import OPEN, Plan, State, Verdict, handlers, make_plan, unsatisfied, verdict

_MOST_ATTEMPTS = 1 << 53
"""A count beyond what the control plane can count exactly is left as it came."""

_STATUS = {State.COMPLETED: "completed", State.FAILED: "failed", State.SKIPPED: "skipped"}


@dataclass(frozen=True, slots=True)
class Handoff:
    """Which ended jobs go back to the control plane."""

    completed: bool = True
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """A node of which starts without a result may have left objects; ``recorded`` is the token of the start with one,
    0 for none."""

    node_id: str
    recorded: int


@dataclass(frozen=True, slots=True)
class Ending:
    """Everything the terminal act needs.

    Attributes:
        graph: The final graph's JSON text.
        last_progress, last_status: What to publish before the hand-back; ``None`` for nothing.
        reason: Why the job failed, for operators; empty otherwise.
        queued: Nodes that never left the outbox.
        unrecorded: Nodes of which starts without a result may have left objects in storage.
    """

    verdict: Verdict
    graph: str
    hand_back: bool
    last_progress: float | None
    last_status: str | None
    reason: str
    queued: tuple[int, ...]
    unrecorded: tuple[Unrecorded, ...] = ()


def end_visit(graph: str, run: Mapping[str, str], payloads: Mapping[str, str], handoff: Handoff) -> Ending:
    """The ending of a run that is over.

    Args:
        graph: The graph as it was admitted.
        run: The run hash (admit.lua names its fields).
        payloads: The payload hash.
    """
    document = Document.parse(graph)
    plan = make_plan(document)
    states = [State(run[f"s:{node.index}"]) for node in plan.nodes]
    outcome = verdict(plan, states, cancelled="cancelled" in run)
    changes = {
        node.index: change
        for node in document.nodes
        if (change := _node_change(node, plan, states, run, payloads, cancelled=outcome is Verdict.CANCELLED))
    }
    done = outcome in (Verdict.COMPLETED, Verdict.COMPLETED_WITH_SKIPS)
    failed = outcome in (Verdict.FAILED, Verdict.CANCELLED)
    return Ending(
        verdict=outcome,
        graph=document.render(changes),
        hand_back={
            Verdict.HAND_BACK: True,
            Verdict.COMPLETED: handoff.completed,
            # The deployed control plane counts only `completed` nodes and would send this graph round for ever.
            Verdict.COMPLETED_WITH_SKIPS: False,
            Verdict.FAILED: handoff.failed,
            Verdict.CANCELLED: handoff.failed,
        }[outcome],
        last_progress=1.0 if done else None,
        last_status="completed" if done else "failed" if failed else None,
        reason=_reason(document, plan, states, payloads, outcome) if failed else "",
        queued=tuple(i for i, state in enumerate(states) if state is State.READY),
        unrecorded=tuple(_unrecorded(document, states, run)),
    )


def _unrecorded(document: Document, states: list[State], run: Mapping[str, str]) -> Iterator[Unrecorded]:
    for node in document.nodes:
        if f"u:{node.index}" in run:
            completed = states[node.index] is State.COMPLETED
            yield Unrecorded(node.id, int(run[f"t:{node.index}"]) if completed else 0)


def _node_change(
    node: Node,
    plan: Plan,
    states: list[State],
    run: Mapping[str, str],
    payloads: Mapping[str, str],
    *,
    cancelled: bool,
) -> dict[str, str]:
    """The fields of one node that the run changed."""
    index, state = node.index, states[node.index]
    if state in OPEN:
        if cancelled and not unsatisfied(plan, states, index):
            return {
                "status": '"failed"',
                "error": json.dumps({"message": "the job was cancelled", "code": "cancelled"}),
            }
        return {}
    change = {}
    if node.status != _STATUS[state]:
        change["status"] = f'"{_STATUS[state]}"'
    if f"t:{index}" not in run:
        return change
    sources = (payloads.get(f"o:{source}") for source, _ in plan.nodes[index].incoming)
    merged = merge_input(node.raw.get("input"), sources)
    if merged is not None:
        change["input"] = merged
    if state is State.COMPLETED:
        if (output := payloads.get(f"o:{index}")) is not None:
            change["output"] = output
        if node.raw.get("error", "null") != "null":
            change["error"] = "null"
        if (reused := payloads.get(f"m:{index}")) is not None:
            change["telemetry"] = with_member(node.raw.get("telemetry"), "reused", reused)
    else:
        change["error"] = payloads[f"e:{index}"]
    failed_attempts = int(run.get(f"a:{index}", 0))
    attempts = failed_attempts + (state is State.COMPLETED)
    if node.attempt < _MOST_ATTEMPTS and (attempts > 1 or node.raw.get("retries", "null") != "null"):
        retries: dict[str, int] = {"attempt": node.attempt + attempts}
        if node.max_attempts is not None:
            retries["maxAttempts"] = node.max_attempts
        change["retries"] = json.dumps(retries)
    return change


def _reason(
    document: Document, plan: Plan, states: list[State], payloads: Mapping[str, str], outcome: Verdict
) -> str:
    if outcome is Verdict.CANCELLED:
        return "cancelled"
    for node in document.nodes:
        if states[node.index] is State.FAILED and not handlers(plan, states, node.index):
            error = json.loads(payloads.get(f"e:{node.index}") or node.raw.get("error") or "null") or {}
            reason = f"node {node.id!r} failed: {error.get('code', 'unknown')}: {error.get('message', '')}"
            # An error may hold half a character, which JSON can spell and Redis does not take.
            return reason[:500].encode("utf-8", "backslashreplace").decode()
    return "nothing in the graph can run any more"
