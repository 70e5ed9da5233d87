"""The run's state machine as a pure model: the specification of the scripts in ``lua/``.

Each method mirrors one script, takes the time as an argument and returns what the script returns. It is
written for clarity (it recomputes what the scripts keep as counters) and is used by tests and by tools that
explore what a run can do; production goes through :mod:`.store`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .plan import Plan, State, Verdict, failing, progress, propagate_skips, startable, verdict
from .transitions import Charge


@dataclass(slots=True)
class RunNode:
    """What a run knows of one node.

    Attributes:
        token: How many times the node was started; the newest start's number fences off all older ones.
        lease_until: When the newest start's lease runs out (ms); meaningful while running.
        failed_attempts: Attempts that ended in a failure charged to the node.
        lost_attempts: Attempts whose worker went away.
        fraction: The largest fraction of its work any attempt reported; 1.0 once terminal.
        kept_by: The newest start that kept a step of its work for later ones; its loss is not counted.
        exhausted, elsewhere_until: A worker whose memory it did not fit into, and how long (ms) others get it first.
    """

    state: State
    token: int = 0
    lease_until: int = 0
    failed_attempts: int = 0
    lost_attempts: int = 0
    fraction: float = 0.0
    kept_by: int = 0
    exhausted: str = ""
    elsewhere_until: int = 0

    @property
    def spared(self) -> bool:
        """Whether the loss of the newest start costs nothing: the next one goes on from what it kept."""
        return self.kept_by == self.token


@dataclass(slots=True)
class Run:
    """One visit of one job."""

    plan: Plan
    max_lost_attempts: int
    keep_going: bool = False
    cancelled: bool = False
    over: bool = False
    cancel_requested: bool = False
    nodes: list[RunNode] = field(default_factory=list)

    @classmethod
    def admit(cls, plan: Plan, *, max_lost_attempts: int = 3, keep_going: bool = False) -> Run:
        run = cls(plan, max_lost_attempts, keep_going)
        run.nodes = [RunNode(state) for state in propagate_skips(plan, [node.state for node in plan.nodes])]
        run._advance()
        return run

    @property
    def states(self) -> list[State]:
        return [node.state for node in self.nodes]

    @property
    def halted(self) -> bool:
        """Whether nothing new may start."""
        return self.cancelled or self.over or (failing(self.plan, self.states) and not self.keep_going)

    @property
    def progress(self) -> float:
        return progress(self.plan, [node.fraction for node in self.nodes])

    @property
    def verdict(self) -> Verdict:
        return verdict(self.plan, self.states, cancelled=self.cancelled)

    def claim(self, index: int, token: int, now: int, lease: int, worker: str = "") -> str:
        """Start a node: ``ok``, or why not. ``token`` is the number the start would get."""
        node = self.nodes[index]
        if self.cancel_requested:
            self.cancel()
        if self.cancelled:
            return "cancelled"
        if self.halted:
            return "halted"
        if node.state is State.RUNNING:
            if node.lease_until > now:
                return "leased"
            if not node.spared:
                if node.lost_attempts + 1 >= self.max_lost_attempts:
                    return "lost"
                node.lost_attempts += 1
        elif node.state is not State.READY:
            return "finished"
        elif token != node.token + 1:
            return "stale"
        elif worker and worker == node.exhausted and now < node.elsewhere_until:
            return "elsewhere"
        node.state = State.RUNNING
        node.token += 1
        node.lease_until = now + lease
        node.elsewhere_until = 0
        return "ok"

    def renew(
        self,
        index: int,
        token: int,
        now: int,
        lease: int,
        fraction: float | None = None,
        *,
        kept: bool = False,
    ) -> str:
        node = self.nodes[index]
        if node.state is not State.RUNNING or node.token != token:
            return "lost"
        node.lease_until = now + lease
        if fraction is not None:
            node.fraction = max(node.fraction, fraction)
        if kept:
            node.kept_by = token
        if self.cancel_requested:
            self.cancel()
        return "cancelled" if self.cancelled else "ok"

    def settle(
        self,
        index: int,
        token: int,
        outcome: State,
        charge: Charge = Charge.ATTEMPT,
        exhausted: str = "",
        elsewhere_until: int = 0,
    ) -> tuple[str, list[int]]:
        """Record how a start ended: completed, failed, or ready (to be tried again).

        Args:
            charge: What a start that did not complete costs its node.
            exhausted: A worker whose memory the node did not fit into.
            elsewhere_until: Until when (ms) it is left to others.

        Returns:
            ``ok``, ``already`` (this very result was recorded before) or ``fenced``; and the nodes that
            became ready.
        """
        node = self.nodes[index]
        if node.token != token:
            return "fenced", []
        if node.state is not State.RUNNING:
            return ("already" if node.state in (State.COMPLETED, State.FAILED) else "fenced"), []
        if outcome is not State.COMPLETED:
            node.failed_attempts += charge is Charge.ATTEMPT
            node.lost_attempts += charge is Charge.LOST_WORKER and not node.spared
        if exhausted:
            node.exhausted, node.elsewhere_until = exhausted, elsewhere_until
        node.state = outcome
        return "ok", self._advance()

    def expire(self, now: int, lease: int) -> tuple[list[int], list[int]]:
        """Take nodes whose lease ran out from their holders.

        Returns:
            Nodes made ready again, and nodes lost too often: those are now held by the caller, who
            settles them as failed.
        """
        again: list[int] = []
        lost: list[int] = []
        for index, node in enumerate(self.nodes):
            if node.state is not State.RUNNING or node.lease_until > now:
                continue
            if not node.spared and node.lost_attempts + 1 >= self.max_lost_attempts:
                node.token += 1
                node.lease_until = now + lease
                lost.append(index)
            else:
                node.lost_attempts += not node.spared
                node.state = State.READY
                again.append(index)
        self._advance()
        return again, lost

    def cancel(self) -> None:
        if not self.over:
            self.cancelled = True
            self._advance()

    def _advance(self) -> list[int]:
        """Skips, newly ready nodes, and whether the visit is over; returns the newly ready nodes."""
        for node, state in zip(self.nodes, propagate_skips(self.plan, self.states), strict=True):
            node.state = state
            if state in (State.COMPLETED, State.FAILED, State.SKIPPED):
                node.fraction = 1.0
        ready = startable(self.plan, self.states)
        for index in ready:
            self.nodes[index].state = State.READY
        running = State.RUNNING in self.states
        self.over = self.over or (not running and (self.halted or State.READY not in self.states))
        return [] if self.halted else ready
