"""The runs of one graph, numbered, and the transitions of :mod:`myspinbot_worker.graph.machine` between them.

Two reductions keep them few, and neither loses a behaviour:

* A token is compared for equality only, so a run remembers of a node's token only whether it was ever
  started; a holder remembers whether its token still is the newest (:mod:`tests.faults.world`).
* A lease that ran out changes nothing until somebody acts on it, so it runs out in the step that does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from myspinbot_worker.graph.machine import Run, RunNode
from myspinbot_worker.graph.plan import Plan, State, Verdict, unsatisfied
from myspinbot_worker.graph.transitions import Charge

from .bugs import Bug

MOST_LOST = 2
"""Attempts whose worker may be lost before a node fails for it."""
MOST_FAILED = 2
"""Attempts that may fail."""

_LEASE = 1
_TERMINAL = (State.COMPLETED, State.FAILED, State.SKIPPED)


class _Node(NamedTuple):
    state: State
    started: int
    failed: int
    lost: int
    fraction: float


class _Frozen(NamedTuple):
    cancelled: bool
    over: bool
    nodes: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What there is to see of a run.

    Attributes:
        ready: Nodes in the outbox: ready, and the run is not halted.
        blocked: Nodes that could not start legitimately: an edge into them is not satisfied, or they ended.
    """

    states: tuple[State, ...]
    started: tuple[int, ...]
    failed: tuple[int, ...]
    lost: tuple[int, ...]
    cancelled: bool
    over: bool
    halted: bool
    progress: float
    verdict: Verdict
    ready: frozenset[int]
    running: tuple[int, ...]
    blocked: frozenset[int]


class Runs:
    """Runs by number, and what each transition makes of them."""

    def __init__(self, plan: Plan, *, keep_going: bool, bug: Bug | None) -> None:
        self.plan = plan
        self.keep_going = keep_going
        self.bug = bug
        self.views: list[View] = []
        self._numbers: dict[_Frozen, int] = {}
        self._frozen: list[_Frozen] = []
        self._known: dict[tuple[Any, ...], Any] = {}

    def admit(self, arrival: tuple[State, ...]) -> tuple[int, tuple[int, ...]]:
        """The run of a graph whose nodes arrive in these states, and its ready nodes."""
        nodes = tuple(
            replace(node, state=state) for node, state in zip(self.plan.nodes, arrival, strict=True)
        )
        run = Run.admit(
            replace(self.plan, nodes=nodes), max_lost_attempts=MOST_LOST, keep_going=self.keep_going
        )
        number = self._number(run)
        return number, tuple(sorted(self.views[number].ready))

    def claim(self, number: int, node: int, *, fresh: bool, lease_out: bool) -> tuple[str, int]:
        """``fresh``: by the message of the node's next start; else by one of an earlier start."""
        found: tuple[str, int] = self._once(("claim", number, node, fresh, lease_out), self._claim)
        return found

    def _claim(self, number: int, node: int, fresh: bool, lease_out: bool) -> tuple[str, int]:
        run = self._thaw(number)
        it = run.nodes[node]
        it.lease_until = 0 if lease_out or self.bug is Bug.CLAIM_LEASED else _LEASE
        stale = self.bug is Bug.CLAIM_STALE and it.state is State.READY and not fresh
        if self.bug is Bug.CLAIM_FINISHED and it.state in (State.COMPLETED, State.FAILED):
            it.state, stale = State.READY, True
        answer = run.claim(node, it.token + (fresh or stale), 0, _LEASE)
        return answer, self._number(run)

    def renew(self, number: int, node: int, *, newest: bool) -> tuple[str, int]:
        """The holder reports that half of its work is done."""
        found: tuple[str, int] = self._once(("renew", number, node, newest), self._renew)
        return found

    def _renew(self, number: int, node: int, newest: bool) -> tuple[str, int]:
        run = self._thaw(number)
        fraction = 0.5
        if self.bug is Bug.PROGRESS_RESET and newest and run.nodes[node].failed_attempts:
            run.nodes[node].fraction, fraction = 0.0, 0.25
        answer = run.renew(node, run.nodes[node].token - (not newest), 0, _LEASE, fraction)
        return answer, self._number(run)

    def settle(
        self, number: int, node: int, how_ended: tuple[State, Charge], *, newest: bool
    ) -> tuple[str, int, tuple[int, ...]]:
        found: tuple[str, int, tuple[int, ...]] = self._once(
            ("settle", number, node, how_ended, newest), self._settle
        )
        return found

    def _settle(
        self, number: int, node: int, how_ended: tuple[State, Charge], newest: bool
    ) -> tuple[str, int, tuple[int, ...]]:
        run, (outcome, charge) = self._thaw(number), how_ended
        if self.bug is Bug.SETTLE_ANY:
            newest = True
        answer, ready = run.settle(node, run.nodes[node].token - (not newest), outcome, charge)
        if self.bug is Bug.CLAIM_EARLY and answer == "ok" and outcome is State.COMPLETED:
            for target, _ in self.plan.nodes[node].outgoing:
                if self.plan.nodes[target].ours and run.nodes[target].state is State.WAITING:
                    run.nodes[target].state = State.READY
                    run.over = False
                    ready.append(target)
        if outcome is State.READY:
            # A retry after an error is due later and left to the outbox.
            ready = [node] if charge is not Charge.ATTEMPT and answer == "ok" and not run.halted else []
        return answer, self._number(run), tuple(ready)

    def expire(self, number: int, nodes: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """The leases of ``nodes`` have run out; also the nodes to send, and the nodes lost too often."""
        found: tuple[int, tuple[int, ...], tuple[int, ...]] = self._once(
            ("expire", number, nodes), self._expire
        )
        return found

    def _expire(self, number: int, nodes: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        run = self._thaw(number)
        for index, node in enumerate(run.nodes):
            node.lease_until = 0 if index in nodes else _LEASE
        again, lost = run.expire(0, _LEASE)
        return self._number(run), () if run.halted else tuple(again), tuple(lost)

    def cancel(self, number: int) -> int:
        run = self._thaw(number)
        run.cancel()
        return self._number(run)

    def _once(self, key: tuple[Any, ...], act: Callable[..., Any]) -> Any:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = act(*key[1:])
        return found

    def _thaw(self, number: int) -> Run:
        frozen = self._frozen[number]
        nodes = [
            RunNode(node.state, node.started, 0, node.failed, node.lost, node.fraction)
            for node in frozen.nodes
        ]
        return Run(self.plan, MOST_LOST, self.keep_going, frozen.cancelled, frozen.over, nodes=nodes)

    def _number(self, run: Run) -> int:
        frozen = _Frozen(
            run.cancelled,
            run.over,
            tuple(
                # What was counted on the way to an end is of no further use.
                _Node(it.state, min(it.token, 1), 0, 0, it.fraction)
                if it.state in _TERMINAL
                else _Node(it.state, min(it.token, 1), it.failed_attempts, it.lost_attempts, it.fraction)
                for it in run.nodes
            ),
        )
        number = self._numbers.get(frozen)
        if number is None:
            number = self._numbers[frozen] = len(self._frozen)
            self._frozen.append(frozen)
            self.views.append(self._view(run, frozen))
        return number

    def _view(self, run: Run, frozen: _Frozen) -> View:
        states = tuple(run.states)
        halted = run.halted
        size = range(len(states))
        return View(
            states=states,
            started=tuple(node.started for node in frozen.nodes),
            failed=tuple(node.failed for node in frozen.nodes),
            lost=tuple(node.lost for node in frozen.nodes),
            cancelled=run.cancelled,
            over=run.over,
            halted=halted,
            progress=run.progress,
            verdict=run.verdict,
            ready=frozenset(() if halted else (i for i in size if states[i] is State.READY)),
            running=tuple(i for i in size if states[i] is State.RUNNING),
            blocked=frozenset(i for i in size if states[i] in _TERMINAL or unsatisfied(self.plan, states, i)),
        )
