"""What a graph allows, held against the rules written down once more."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.plan import (
    CycleError,
    Plan,
    State,
    Verdict,
    failing,
    handlers,
    impossible,
    make_plan,
    normalise,
    progress,
    propagate_skips,
    satisfied,
    startable,
    unsatisfied,
    verdict,
)
from tests.unit import rules
from tests.unit.examples import many, some
from tests.unit.graphs import graphs, text_of
from tests.unit.json_texts import randoms
from tests.unit.walks import simple_graph

LETTERS = {
    "W": State.WAITING, "Q": State.READY, "R": State.RUNNING, "C": State.COMPLETED, "F": State.FAILED,
    "S": State.SKIPPED,
}  # fmt: skip
plain_graphs = graphs(max_nodes=8, plain=True)


def plan_of(graph: dict[str, Any]) -> Plan:
    return make_plan(Document.parse(text_of(graph)))


def states_of(letters: str) -> list[State]:
    return [LETTERS[letter.upper()] for letter in letters]


def any_states(plan: Plan, random: Random) -> list[State]:
    return [random.choice(list(State)) for _ in plan.nodes]


class TestEdges:
    @pytest.mark.parametrize("kind", ["normal", "on_success", "on_failure"])
    @pytest.mark.parametrize("state", list(State))
    def test_an_edge_waits_or_is_satisfied_or_impossible(self, kind: str, state: State) -> None:
        wanted = State.FAILED if kind == "on_failure" else State.COMPLETED
        ended = state in (State.COMPLETED, State.FAILED, State.SKIPPED)
        assert satisfied(kind, state) == (state is wanted)
        assert impossible(kind, state) == (ended and state is not wanted)

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ("pending", State.WAITING),
            ("ready", State.WAITING),
            ("running", State.WAITING),
            ("completed", State.COMPLETED),
            ("failed", State.FAILED),
            ("skipped", State.SKIPPED),
        ],
    )
    @pytest.mark.parametrize("plane", ["python", "node"])
    def test_what_arrives_running_or_ready_is_to_be_run(self, status: str, state: State, plane: str) -> None:
        graph = simple_graph("W")
        graph["nodes"][0] |= {"status": status, "plane": plane}
        assert plan_of(graph).nodes[0].state is state

    @some
    @given(plain_graphs)
    def test_edges_keep_their_order(self, graph: dict[str, Any]) -> None:
        plan = plan_of(graph)
        name = [node.id for node in plan.nodes]
        assert name == [node["id"] for node in graph["nodes"]]
        for node in plan.nodes:
            assert [(name[source], kind) for source, kind in node.incoming] == [
                (edge["from"], edge.get("kind", "normal")) for edge in graph["edges"] if edge["to"] == node.id
            ]
            assert [(name[target], kind) for target, kind in node.outgoing] == [
                (edge["to"], edge.get("kind", "normal")) for edge in graph["edges"] if edge["from"] == node.id
            ]


class TestSkips:
    @pytest.mark.parametrize(
        ("states", "edges", "after"),
        [
            ("CW", ["a-b"], "CW"),
            ("CW", ["a!b"], "CS"),
            ("FW", ["a-b"], "FS"),
            ("FW", ["a+b"], "FS"),
            ("FW", ["a!b"], "FW"),
            ("SW", ["a-b"], "SS"),
            ("SW", ["a!b"], "SS"),
            ("WW", ["a!b"], "WW"),
            ("FWWW", ["a-b", "b-c", "c!d"], "FSSS"),
            ("FCW", ["a-c", "b-c"], "FCS"),
            ("FCW", ["a!c", "b-c"], "FCW"),
            ("FWW", ["a-b", "a!c", "b-c"], "FSS"),
            ("CWW", ["a-b", "a!b", "b-c"], "CSS"),
            ("FRQW", ["a-b", "a-c", "a-d"], "FRQS"),
            ("fw", ["a-b"], "fs"),
            ("WWF", ["c-b", "b-a"], "SSF"),
        ],
    )
    def test_by_example(self, states: str, edges: list[str], after: str) -> None:
        plan = plan_of(simple_graph(states, *edges))
        assert propagate_skips(plan, states_of(states)) == states_of(after)

    @many
    @given(plain_graphs, randoms)
    def test_as_the_rules_say(self, graph: dict[str, Any], random: Random) -> None:
        plan = plan_of(graph)
        for states in ([node.state for node in plan.nodes], *(any_states(plan, random) for _ in range(5))):
            before = list(states)
            once = propagate_skips(plan, states)
            assert once == rules.skipped(graph, states)
            assert propagate_skips(plan, once) == once
            assert states == before, "the argument stays as it was"

    def test_a_chain_of_thousands(self) -> None:
        size = 3000
        graph = simple_graph("F" + "W" * 9)
        graph["nodes"] = [{**graph["nodes"][min(i, 1)], "id": f"n{i}"} for i in range(size)]
        graph["edges"] = [{"from": f"n{i}", "to": f"n{i + 1}"} for i in reversed(range(size - 1))]
        plan = plan_of(graph)
        assert propagate_skips(plan, [node.state for node in plan.nodes]) == states_of("F" + "S" * (size - 1))


class TestStarting:
    @pytest.mark.parametrize(
        ("states", "edges", "start"),
        [
            ("W", [], [0]),
            ("w", [], []),
            ("QRCFS", [], []),
            ("WW", ["a-b"], [0]),
            ("CW", ["a-b"], [1]),
            ("cW", ["a-b"], [1]),
            ("CWW", ["a-b", "b-c"], [1]),
            ("FW", ["a!b"], [1]),
            ("FCW", ["a!c", "b+c"], [2]),
            ("CRW", ["a-c", "b-c"], []),
            ("CW", ["a-b", "a-b", "a+b"], [1]),
            ("WWC", ["c-b", "c-a"], [0, 1]),
        ],
    )
    def test_by_example(self, states: str, edges: list[str], start: list[int]) -> None:
        assert startable(plan_of(simple_graph(states, *edges)), states_of(states)) == start

    @many
    @given(plain_graphs, randoms)
    def test_as_the_rules_say(self, graph: dict[str, Any], random: Random) -> None:
        plan = plan_of(graph)
        for _ in range(5):
            states = any_states(plan, random)
            state = rules.words(graph, states)
            assert startable(plan, states) == [
                index
                for index, node in enumerate(graph["nodes"])
                if node["plane"] == "python"
                and states[index] is State.WAITING
                and rules.may_run(graph, state, node)
            ]
            for index, node in enumerate(graph["nodes"]):
                assert (unsatisfied(plan, states, index) == 0) == rules.may_run(graph, state, node)


class TestFailing:
    @pytest.mark.parametrize(
        ("states", "edges", "count", "fails"),
        [
            ("F", [], 0, True),
            ("FW", [], 0, True),
            ("FW", ["a-b"], 0, True),
            ("FW", ["a!b"], 1, False),
            ("Fw", ["a!b"], 1, False),
            ("FQ", ["a!b"], 1, False),
            ("FR", ["a!b"], 1, False),
            ("FC", ["a!b"], 1, False),
            ("FF", ["a!b"], 0, True),
            ("FS", ["a!b"], 0, True),
            ("FSC", ["a!b", "a!c"], 1, False),
            ("FFC", ["a!b", "a!c"], 1, True),
            ("FFC", ["a!b", "a!c", "b!c"], 1, False),
            ("FSF", ["a!b", "a!c"], 0, True),
            ("FWW", ["a!b", "a!c"], 2, False),
            ("FCF", ["a!b"], 1, True),
            ("CW", ["a!b"], 1, False),
            ("FC", ["a-b"], 0, True),
        ],
    )
    def test_by_example(self, states: str, edges: list[str], count: int, fails: bool) -> None:
        plan = plan_of(simple_graph(states, *edges))
        assert handlers(plan, states_of(states), 0) == count
        assert failing(plan, states_of(states)) == fails

    @many
    @given(plain_graphs, randoms)
    def test_as_the_rules_say(self, graph: dict[str, Any], random: Random) -> None:
        plan = plan_of(graph)
        for _ in range(5):
            states = any_states(plan, random)
            assert failing(plan, states) == bool(rules.untaken(graph, states))


class TestVerdict:
    @pytest.mark.parametrize(
        ("states", "edges", "row"),
        [
            ("C", [], Verdict.COMPLETED),
            ("Cc", ["a-b"], Verdict.COMPLETED),
            ("CS", ["a!b"], Verdict.COMPLETED_WITH_SKIPS),
            ("S", [], Verdict.COMPLETED_WITH_SKIPS),
            ("FCS", ["a!b", "a-c"], Verdict.COMPLETED_WITH_SKIPS),
            ("F", [], Verdict.FAILED),
            ("FS", ["a-b"], Verdict.FAILED),
            ("FF", ["a!b"], Verdict.FAILED),
            ("fC", [], Verdict.FAILED),
            ("Fw", [], Verdict.FAILED),
            ("w", [], Verdict.HAND_BACK),
            ("Cw", ["a-b"], Verdict.HAND_BACK),
            ("CwW", ["a-b", "b-c"], Verdict.HAND_BACK),
            ("Fw", ["a!b"], Verdict.HAND_BACK),
            ("FSw", ["a-b", "a!c"], Verdict.HAND_BACK),
            # A node of ours that nobody will start, and nothing the other plane could do about it.
            ("W", [], Verdict.FAILED),
            ("Ww", ["a-b"], Verdict.FAILED),
        ],
    )
    def test_by_example(self, states: str, edges: list[str], row: Verdict) -> None:
        assert verdict(plan_of(simple_graph(states, *edges)), states_of(states)) is row

    @pytest.mark.parametrize(
        ("states", "edges", "row"),
        [
            ("W", [], Verdict.CANCELLED),
            ("w", [], Verdict.CANCELLED),
            ("CQ", ["a-b"], Verdict.CANCELLED),
            ("F", [], Verdict.CANCELLED),
            # It was too late to cancel these.
            ("CC", ["a-b"], Verdict.COMPLETED),
            ("CS", ["a!b"], Verdict.COMPLETED_WITH_SKIPS),
        ],
    )
    def test_of_a_cancelled_job(self, states: str, edges: list[str], row: Verdict) -> None:
        assert verdict(plan_of(simple_graph(states, *edges)), states_of(states), cancelled=True) is row

    def test_it_was_too_late_to_cancel_a_job_whose_failure_was_taken_up(self) -> None:
        plan = plan_of(simple_graph("FC", "a!b"))
        done = verdict(plan, states_of("FC"))
        assert verdict(plan, states_of("FC"), cancelled=True) is done

    @many
    @given(plain_graphs, randoms)
    def test_as_the_rules_say(self, graph: dict[str, Any], random: Random) -> None:
        plan = plan_of(graph)
        quiet = [State.WAITING, State.COMPLETED, State.FAILED, State.SKIPPED]
        for _ in range(5):
            states = rules.skipped(graph, [random.choice(quiet) for _ in plan.nodes])
            assert verdict(plan, states).value == rules.ending(graph, states)


weights = st.lists(st.floats(0, allow_infinity=False) | st.integers(0, 10**300), max_size=12)


class TestWeights:
    @pytest.mark.parametrize(
        ("given", "shares"),
        [
            ([], []),
            ([0], [0]),
            ([0.25, 0.5], [0.25, 0.5]),
            ([1], [1]),
            ([2], [1]),
            ([0, 0, 5], [0, 0, 1]),
            ([1, 1], [0.5, 0.5]),
            ([0.75, 0.5, 0.25], [0.5, 1 / 3, 1 / 6]),
            ([1e308, 1e308], [0.5, 0.5]),
            ([1.7e308, 1.7e308, 1.7e308, 1.7e308], [0.25] * 4),
            ([1e308, 0], [1, 0]),
            ([5e-324], [5e-324]),
            ([-0.0], [0]),
            ([10**300, 10**300], [0.5, 0.5]),
        ],
    )
    def test_by_example(self, given: list[float], shares: list[float]) -> None:
        assert normalise(given) == pytest.approx(shares, rel=1e-12, abs=0)

    @many
    @given(weights)
    @example([0.1] * 10)
    @example([1 / 3] * 3)
    @example([1e308, 1, 5e-324])
    def test_shares_sum_to_at_most_one_and_keep_their_proportions(self, given: list[float]) -> None:
        shares = normalise(given)
        assert len(shares) == len(given)
        assert all(0 <= share <= weight for share, weight in zip(shares, given, strict=True))
        assert math.fsum(shares) <= 1 + 1e-12
        exact = sum(map(Fraction, given))
        assert math.fsum(shares) == pytest.approx(float(min(Fraction(1), exact)))
        largest = max(given, default=0)
        for share, weight in zip(shares, given, strict=True):
            if largest:
                assert share / max(shares) == pytest.approx(weight / largest, rel=1e-9, abs=1e-300)

    def test_a_node_without_a_weight_weighs_one(self) -> None:
        graph = simple_graph("WW")
        graph["nodes"][0]["progressWeight"] = 3
        assert [node.weight for node in plan_of(graph).nodes] == [0.75, 0.25]

    @some
    @given(plain_graphs, randoms)
    def test_progress_grows_with_every_fraction(self, graph: dict[str, Any], random: Random) -> None:
        plan = plan_of(graph)
        fractions = [0.0] * len(plan.nodes)
        last = progress(plan, fractions)
        assert last == 0
        for index in random.sample(range(len(fractions)), len(fractions)):
            for fraction in sorted(random.random() for _ in range(3)):
                fractions[index] = fraction
                now = progress(plan, fractions)
                assert last <= now <= 1
                last = now
        ended = progress(plan, [1.0] * len(fractions))
        assert last <= ended <= 1
        assert ended == pytest.approx(min(1.0, math.fsum(node.weight for node in plan.nodes)))


class TestOrder:
    @many
    @given(plain_graphs)
    def test_every_source_comes_before_its_targets(self, graph: dict[str, Any]) -> None:
        plan = plan_of(graph)
        assert sorted(plan.order) == list(range(len(graph["nodes"])))
        place = {plan.nodes[index].id: at for at, index in enumerate(plan.order)}
        assert all(place[edge["from"]] < place[edge["to"]] for edge in graph["edges"])

    @pytest.mark.parametrize(
        ("states", "edges", "cycle"),
        [
            ("W", ["a-a"], "a → a"),
            ("WW", ["a-b", "b-a"], "a → b → a"),
            ("CC", ["a!b", "b-a"], "a → b → a"),
            # Nodes before and after the cycle are not on it.
            ("WWWW", ["a-b", "b-c", "c-b", "c-d"], "b → c → b"),
            ("WWW", ["b-a", "b-c", "c-b"], "b → c → b"),
        ],
    )
    def test_a_cycle_is_named(self, states: str, edges: list[str], cycle: str) -> None:
        with pytest.raises(CycleError) as error:
            plan_of(simple_graph(states, *edges))
        head, _, named = str(error.value).partition(": ")
        assert head == "the edges form a cycle"
        turns = cycle.split(" → ")[:-1]
        same = [" → ".join([*turns[at:], *turns[:at], turns[at]]) for at in range(len(turns))]
        assert named in same

    @many
    @given(plain_graphs, st.integers(0, 7), st.integers(0, 7))
    def test_what_is_named_is_a_cycle(self, graph: dict[str, Any], first: int, second: int) -> None:
        names = [node["id"] for node in graph["nodes"]]
        graph["edges"] += [
            {"from": names[first % len(names)], "to": names[second % len(names)]},
            {"from": names[second % len(names)], "to": names[first % len(names)]},
        ]
        with pytest.raises(CycleError) as error:
            plan_of(graph)
        named = str(error.value).partition(": ")[2].split(" → ")
        assert named[0] == named[-1]
        assert len(set(named)) == len(named) - 1
        edges = {(edge["from"], edge["to"]) for edge in graph["edges"]}
        if "…" not in named:
            assert set(pairwise(named)) <= edges

    def test_a_long_cycle_is_shortened(self) -> None:
        size = 1000
        node = simple_graph("W")["nodes"][0]
        graph = simple_graph("W") | {
            "nodes": [{**node, "id": str(i)} for i in range(size)],
            "edges": [{"from": str(i), "to": str((i + 1) % size)} for i in range(size)],
        }
        with pytest.raises(CycleError) as error:
            plan_of(graph)
        named = str(error.value).partition(": ")[2].split(" → ")
        assert len(named) == 8
        assert named[0] == named[-1]
        assert named[4] == "…"
