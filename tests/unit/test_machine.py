"""Random walks through a run: what must hold after every step, and that every visit can end."""

from __future__ import annotations

import copy
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.graph.plan import State, Verdict
from myspinbot_worker.graph.transitions import Charge
from tests.unit import rules
from tests.unit.examples import many, some
from tests.unit.graphs import graphs
from tests.unit.json_texts import randoms
from tests.unit.walks import LEASE, Step, Visit, simple_graph, some_steps, visit_of, walks

plain_graphs = graphs(plain=True)
ENDED = (State.COMPLETED, State.FAILED, State.SKIPPED)
RESULTS = (State.COMPLETED, State.FAILED)


def check(graph: dict[str, Any], visit: Visit) -> None:
    """What must hold in any state."""
    run = visit.run
    state = rules.words(graph, run.states)
    for node, planned, now in zip(graph["nodes"], run.plan.nodes, run.nodes, strict=True):
        if now.state in (State.READY, State.RUNNING):
            assert planned.ours
            assert rules.may_run(graph, state, node)
        if now.state is State.WAITING:
            assert not rules.never_runs(graph, state, node), "it should have been skipped"
            assert not (planned.ours and rules.may_run(graph, state, node)), "it should be ready"
        if now.state in ENDED:
            assert now.fraction == 1
        assert now.lost_attempts < run.max_lost_attempts
        assert 0 <= now.fraction <= 1
        assert now.failed_attempts + now.lost_attempts <= now.token
    assert 0 <= run.progress <= 1
    assert run.progress == pytest.approx(
        min(1, math.fsum(p.weight * n.fraction for p, n in zip(run.plan.nodes, run.nodes, strict=True)))
    )
    may_start = not run.cancelled and (run.keep_going or not rules.untaken(graph, run.states))
    idle = State.RUNNING not in run.states
    if run.over:
        assert idle
    elif idle:
        assert may_start, "nothing runs and nothing may start"
        assert State.READY in run.states, "nothing runs and nothing can start"


def check_step(graph: dict[str, Any], before: Visit, after: Visit, step: Step, answer: Any) -> None:
    """What must hold between two states."""
    assert after.run.progress >= before.run.progress
    for index, (old, new) in enumerate(zip(before.run.nodes, after.run.nodes, strict=True)):
        assert old.token <= new.token <= old.token + 1
        assert old.fraction <= new.fraction
        assert old.failed_attempts <= new.failed_attempts
        assert old.lost_attempts <= new.lost_attempts
        if old.state in ENDED:
            assert new == old, "what has ended stays as it is"
        if new.state is State.RUNNING and old.state is not State.RUNNING:
            assert step.what == "claim"
            assert new.token == old.token + 1
        if old.state is not new.state and new.state in RESULTS:
            assert step.what in ("settle", "expire")
            assert old.state is State.RUNNING
            if step.what == "settle":
                assert index == step.node % len(before.run.nodes)
                assert step.newer == 0, "only the newest start may record a result"
                assert answer == "ok"
            assert f"{'o' if new.state is State.COMPLETED else 'e'}:{index}" in after.payloads
    if before.run.over:
        assert after.run == before.run, "nothing changes once the visit is over"
        if step.what == "claim":
            assert answer in ("halted", "cancelled")
    doomed = rules.untaken(graph, before.run.states) and not before.run.keep_going
    if before.run.cancelled or doomed:
        assert not (step.what == "claim" and answer == "ok"), "nothing new may start"
    if step.what == "claim" and answer != "ok":
        assert after.run == before.run, "a refused claim changes nothing"
    if step.what == "settle" and answer != "ok":
        assert (after.run, after.payloads) == (before.run, before.payloads)
    if step.what == "renew" and answer == "lost":
        assert after.run == before.run


@many
@given(graph=plain_graphs, steps=walks, keep_going=st.booleans())
def test_whatever_happens_a_run_keeps_its_promises(
    graph: dict[str, Any], steps: list[Step], keep_going: bool
) -> None:
    visit = visit_of(graph, keep_going=keep_going)
    check(graph, visit)
    for step in steps:
        before = copy.deepcopy(visit)
        answer = visit.step(step)
        check(graph, visit)
        check_step(graph, before, visit, step, answer)


@many
@given(graph=plain_graphs, random=randoms, keep_going=st.booleans(), abandoned=st.booleans())
def test_from_anywhere_the_end_can_be_reached(
    graph: dict[str, Any], random: Random, keep_going: bool, abandoned: bool
) -> None:
    visit = visit_of(graph, keep_going=keep_going)
    for step in some_steps(random, random.randrange(40)):
        visit.step(step)
    before = visit.run.progress
    if abandoned:
        visit.abandon()
    else:
        visit.finish([random.choice([*RESULTS, State.READY]) for _ in range(20)])
    assert visit.run.over
    assert before <= visit.run.progress <= 1
    check(graph, visit)
    if visit.run.cancelled and not set(visit.run.states) <= {State.COMPLETED, State.SKIPPED}:
        assert visit.run.verdict is Verdict.CANCELLED
    else:
        assert visit.run.verdict.value == rules.ending(graph, visit.run.states)
    if visit.run.verdict in (Verdict.COMPLETED, Verdict.COMPLETED_WITH_SKIPS):
        # Weights that sum to less than 1 are not scaled up.
        whole = math.fsum(node.weight for node in visit.plan.nodes)
        assert visit.run.progress == pytest.approx(whole)


@some
@given(graph=plain_graphs)
def test_work_that_goes_well_completes_what_can_be_completed(graph: dict[str, Any]) -> None:
    for node in graph["nodes"]:
        node |= {"plane": "python", "status": "pending"}
    for edge in graph["edges"]:
        edge.pop("kind", None)
    visit = visit_of(graph)
    assert visit.finish([]) == len(graph["nodes"])
    assert visit.run.verdict is Verdict.COMPLETED
    assert {node.token for node in visit.run.nodes} == {1}


def claimed(*, keep_going: bool = False, states: str = "WWW", edges: tuple[str, ...] = ("a-c",)) -> Visit:
    visit = visit_of(simple_graph(states, *edges), keep_going=keep_going)
    assert visit.run.claim(0, 1, 0, LEASE) == "ok"
    return visit


class TestClaiming:
    @pytest.mark.parametrize("token", [0, 2, 3, -1])
    def test_only_the_next_start_is_let_in(self, token: int) -> None:
        assert visit_of(simple_graph("W")).run.claim(0, token, 0, LEASE) == "stale"

    def test_a_live_lease_keeps_others_out(self) -> None:
        visit = claimed()
        assert visit.run.claim(0, 1, LEASE - 1, LEASE) == "leased"
        assert visit.run.claim(0, 1, LEASE, LEASE) == "ok"
        assert (visit.run.nodes[0].token, visit.run.nodes[0].lost_attempts) == (2, 1)

    def test_a_renewed_lease_keeps_others_out(self) -> None:
        visit = claimed()
        assert visit.run.renew(0, 1, LEASE - 1, LEASE) == "ok"
        assert visit.run.claim(0, 1, LEASE, LEASE) == "leased"

    def test_the_loss_of_a_start_that_kept_a_step_costs_nothing(self) -> None:
        visit = claimed()
        for token in range(1, 9):
            assert visit.run.renew(0, token, LEASE * token - 1, 1, kept=True) == "ok"
            assert visit.run.claim(0, token + 1, LEASE * token, LEASE) == "ok"
        assert visit.run.nodes[0].lost_attempts == 0
        assert visit.run.expire(LEASE * 9, LEASE) == ([0], [])
        assert visit.run.nodes[0].lost_attempts == 1, "the last start kept nothing"

    def test_a_step_spares_only_the_start_that_kept_it(self) -> None:
        visit = claimed()
        visit.run.renew(0, 1, 0, LEASE, kept=True)
        assert visit.run.settle(0, 1, State.READY, Charge.LOST_WORKER)[0] == "ok"
        visit.run.claim(0, 2, 0, LEASE)
        assert visit.run.settle(0, 2, State.READY, Charge.LOST_WORKER)[0] == "ok"
        assert visit.run.nodes[0].lost_attempts == 1

    def test_a_step_kept_by_a_start_that_was_away_too_long_counts_for_nothing(self) -> None:
        visit = claimed()
        assert visit.run.claim(0, 2, LEASE, LEASE) == "ok"
        assert visit.run.renew(0, 1, LEASE, LEASE, kept=True) == "lost"
        assert visit.run.nodes[0].kept_by == 0

    def test_a_node_lost_too_often_is_left_to_the_reconciler(self) -> None:
        visit = claimed()
        assert visit.run.claim(0, 1, LEASE, LEASE) == "ok"
        assert visit.run.claim(0, 1, 2 * LEASE, LEASE) == "lost"
        assert visit.run.expire(2 * LEASE, LEASE) == ([], [0])
        assert visit.run.settle(0, 2, State.COMPLETED)[0] == "fenced"
        assert visit.run.settle(0, 3, State.FAILED)[0] == "ok"

    @pytest.mark.parametrize("letter", "CFSw")
    def test_what_cannot_run_is_finished(self, letter: str) -> None:
        visit = visit_of(simple_graph(letter + "WW", "a!c"))
        assert visit.run.claim(0, 1, 0, LEASE) in ("finished", "halted")
        assert visit.run.nodes[0].token == 0

    def test_a_cancelled_run_says_so(self) -> None:
        visit = claimed()
        visit.run.cancel()
        assert visit.run.claim(1, 1, 0, LEASE) == "cancelled"
        assert visit.run.renew(0, 1, 0, LEASE, 0.5) == "cancelled"
        assert not visit.run.over
        assert visit.run.settle(0, 1, State.COMPLETED) == ("ok", [])
        assert visit.run.over


class TestSettling:
    def test_a_result_is_recorded_once(self) -> None:
        visit = claimed()
        assert visit.run.settle(0, 1, State.COMPLETED) == ("ok", [2])
        assert visit.run.settle(0, 1, State.COMPLETED) == ("already", [])
        assert visit.run.settle(0, 1, State.FAILED) == ("already", [])
        assert visit.run.states == [State.COMPLETED, State.READY, State.READY]

    def test_a_worker_that_was_away_too_long_is_fenced_off(self) -> None:
        visit = claimed()
        assert visit.run.expire(LEASE, LEASE) == ([0], [])
        assert visit.run.renew(0, 1, LEASE, LEASE, 1.0) == "lost"
        assert visit.run.settle(0, 1, State.COMPLETED)[0] == "fenced"
        assert visit.run.claim(0, 2, LEASE, LEASE) == "ok"
        assert visit.run.settle(0, 1, State.COMPLETED)[0] == "fenced"
        assert visit.run.settle(0, 2, State.COMPLETED)[0] == "ok"

    def test_a_second_attempt_does_not_pull_progress_down(self) -> None:
        visit = claimed()
        visit.run.renew(0, 1, 0, LEASE, 0.8)
        before = visit.run.progress
        assert visit.run.settle(0, 1, State.READY) == ("ok", [])
        visit.run.claim(0, 2, 0, LEASE)
        visit.run.renew(0, 2, 0, LEASE, 0.1)
        assert visit.run.progress == before
        assert visit.run.nodes[0].failed_attempts == 1

    def test_after_a_failure_running_work_ends_and_nothing_starts(self) -> None:
        visit = claimed()
        assert visit.run.claim(1, 1, 0, LEASE) == "ok"
        assert visit.run.settle(0, 1, State.FAILED) == ("ok", [])
        assert visit.run.halted
        assert not visit.run.over
        assert visit.run.settle(1, 1, State.COMPLETED) == ("ok", [])
        assert visit.run.over
        assert visit.run.verdict is Verdict.FAILED
        assert visit.run.states == [State.FAILED, State.COMPLETED, State.SKIPPED]

    def test_keep_going_finishes_the_other_branches_and_fails_all_the_same(self) -> None:
        visit = claimed(keep_going=True)
        visit.run.settle(0, 1, State.FAILED)
        assert not visit.run.over
        assert visit.run.claim(1, 1, 0, LEASE) == "ok"
        visit.run.settle(1, 1, State.COMPLETED)
        assert visit.run.over
        assert visit.run.verdict is Verdict.FAILED

    @pytest.mark.parametrize("keep_going", [True, False])
    def test_a_handler_runs_and_the_job_goes_on(self, keep_going: bool) -> None:
        visit = claimed(keep_going=keep_going, states="WWW", edges=("a!b", "a-c"))
        assert visit.run.settle(0, 1, State.FAILED) == ("ok", [1])
        assert visit.run.claim(1, 1, 0, LEASE) == "ok"
        visit.run.settle(1, 1, State.COMPLETED)
        assert visit.run.over
        assert visit.run.verdict is Verdict.COMPLETED_WITH_SKIPS

    def test_a_handler_that_fails_fails_the_job(self) -> None:
        visit = claimed(states="WW", edges=("a!b",))
        visit.run.settle(0, 1, State.FAILED)
        visit.run.claim(1, 1, 0, LEASE)
        visit.run.settle(1, 1, State.FAILED)
        assert visit.run.verdict is Verdict.FAILED


class TestTheEnd:
    @pytest.mark.parametrize(
        ("states", "edges", "row"),
        [
            ("w", [], Verdict.HAND_BACK),
            ("C", [], Verdict.COMPLETED),
            ("CW", ["a!b"], Verdict.COMPLETED_WITH_SKIPS),
            ("F", [], Verdict.FAILED),
            ("FW", [], Verdict.FAILED),
            ("fw", ["a!b"], Verdict.HAND_BACK),
        ],
    )
    def test_a_visit_with_nothing_to_do_is_over_at_once(
        self, states: str, edges: list[str], row: Verdict
    ) -> None:
        visit = visit_of(simple_graph(states, *edges))
        assert visit.run.over
        assert visit.run.verdict is row

    def test_cancelling_what_is_over_changes_nothing(self) -> None:
        visit = visit_of(simple_graph("C"))
        visit.run.cancel()
        assert not visit.run.cancelled
        assert visit.run.verdict is Verdict.COMPLETED

    def test_cancelling_before_the_first_start_ends_the_visit(self) -> None:
        visit = visit_of(simple_graph("WW"))
        visit.run.cancel()
        assert visit.run.over
        assert visit.run.verdict is Verdict.CANCELLED

    def test_a_lost_worker_of_a_cancelled_run_ends_it(self) -> None:
        visit = claimed()
        visit.run.cancel()
        visit.run.expire(LEASE, LEASE)
        assert visit.run.over
