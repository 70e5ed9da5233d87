"""The final graph of a visit, and what the control plane is told, for every end that a run can reach."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.ending import Ending, Handoff, end_visit
from myspinbot_worker.graph.plan import State, Verdict
from tests.unit import rules
from tests.unit.examples import many, some
from tests.unit.graphs import graphs, text_of
from tests.unit.json_texts import (
    SpelledGraph,
    filled_graphs,
    outside,
    payload,
    randoms,
    spelled,
    spelled_graphs,
)
from tests.unit.test_schemas import VALIDATORS
from tests.unit.walks import Step, Visit, simple_graph, some_steps

MAY_CHANGE = {"status", "input", "output", "error", "retries"}
FAILED_BY_ITSELF = '{"message":"no \\u00e9","code":"internal","details":{"attempt":1.0}}'
RESULTS = (State.COMPLETED, State.COMPLETED, State.COMPLETED, State.FAILED, State.READY)


def drive(visit: Visit, random: Random) -> None:
    """Let random things happen until the visit is over, with an output or an error for every start."""
    for step in some_steps(random, random.randrange(25)):
        take(visit, step, random)
    while not visit.run.over:
        index = random.randrange(len(visit.run.nodes))
        for what in ("claim", "settle", "pass_time", "expire"):
            take(visit, Step(what, index, 0, random.choice(RESULTS), None), random)


def take(visit: Visit, step: Step, random: Random) -> None:
    completes = step.outcome is State.COMPLETED
    visit.step(step, spelled(payload(random), random) if completes else FAILED_BY_ITSELF)


def end(text: str, visit: Visit, handoff: Handoff | None = None) -> Ending:
    return end_visit(text, visit.hash, visit.payloads, handoff or Handoff())


def ended(graph: dict[str, Any], *outcomes: State, keep_going: bool = False, text: str = "{}") -> Ending:
    """A visit of a graph, each start ending as given (and in completion after that)."""
    document = text_of(graph)
    visit = Visit.of(Document.parse(document), keep_going=keep_going)
    visit.finish(outcomes, text)
    return end(document, visit)


def nodes_of(ending: Ending) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = json.loads(ending.graph)["nodes"]
    return nodes


class TestAnyVisit:
    @many
    @given(given=spelled_graphs, random=randoms, keep_going=st.booleans())
    def test_the_final_graph(self, given: SpelledGraph, random: Random, keep_going: bool) -> None:
        document = Document.parse(given.text)
        visit = Visit.of(document, keep_going=keep_going)
        drive(visit, random)
        ending = end(given.text, visit)
        graph = json.loads(ending.graph)
        VALIDATORS["langgraph.v1"].validate(graph)
        final = Document.parse(ending.graph)
        assert outside(final) == given.outside
        for index, (before, after) in enumerate(zip(given.nodes, final.nodes, strict=True)):
            changed = {name for name in {*before, *after.raw} if before.get(name) != after.raw.get(name)}
            assert changed <= MAY_CHANGE
            self.check_node(visit, index, before, dict(after.raw), ending.verdict)
        assert ending.queued == tuple(
            index for index, state in enumerate(visit.run.states) if state is State.READY
        )

    def check_node(
        self, visit: Visit, index: int, before: dict[str, str], after: dict[str, str], row: Verdict
    ) -> None:
        """What became of one node."""
        node, planned = visit.run.nodes[index], visit.plan.nodes[index]
        ended = node.state in (State.COMPLETED, State.FAILED, State.SKIPPED)
        if not ended and row is Verdict.CANCELLED and self.may_run(visit, index):
            assert json.loads(after["status"]) == "failed"
            assert json.loads(after["error"])["code"] == "cancelled"
            assert {**after, "status": "", "error": ""} == {**before, "status": "", "error": ""}
            return
        if not ended:
            assert after == before
            return
        assert json.loads(after["status"]) == rules.WORDS[node.state]
        if node.token == 0:
            assert {**after, "status": ""} == {**before, "status": ""}
            return
        sources = [visit.payloads.get(f"o:{source}") for source, _ in planned.incoming]
        if any(text is not None and json.loads(text) and text.strip().startswith("{") for text in sources):
            assert json.loads(after["input"]) == rules.merged(before.get("input"), sources)
        else:
            assert after.get("input") == before.get("input")
        if node.state is State.COMPLETED:
            assert after["output"] == visit.payloads[f"o:{index}"]
            assert ("error" in after) == ("error" in before)
            assert json.loads(after.get("error", "null")) is None
        else:
            assert after["error"] == visit.payloads[f"e:{index}"]
            assert after.get("output") == before.get("output")
        self.check_retries(visit, index, before, after)

    def check_retries(self, visit: Visit, index: int, before: dict[str, str], after: dict[str, str]) -> None:
        node = visit.run.nodes[index]
        attempts = node.failed_attempts + (node.state is State.COMPLETED)
        old = json.loads(before.get("retries", "null"))
        if old is None and attempts <= 1:
            assert after.get("retries") == before.get("retries")
            return
        old = old or {}
        assert json.loads(after["retries"]) == {**old, "attempt": old.get("attempt", 0) + attempts}

    def may_run(self, visit: Visit, index: int) -> bool:
        states = visit.run.states
        return all(
            states[source] is (State.FAILED if kind == "on_failure" else State.COMPLETED)
            for source, kind in visit.plan.nodes[index].incoming
        )

    @some
    @given(graph=graphs(), random=randoms)
    def test_the_final_graph_of_any_valid_graph_is_valid(self, graph: dict[str, Any], random: Random) -> None:
        text = text_of(graph)
        visit = Visit.of(Document.parse(text))
        drive(visit, random)
        VALIDATORS["langgraph.v1"].validate(json.loads(end(text, visit).graph))

    @many
    @given(graph=filled_graphs, random=randoms, completed=st.booleans(), failed=st.booleans())
    def test_what_is_told(self, graph: dict[str, Any], random: Random, completed: bool, failed: bool) -> None:
        text = text_of(graph)
        visit = Visit.of(Document.parse(text))
        drive(visit, random)
        ending = end(text, visit, Handoff(completed, failed))
        assert ending.verdict is visit.run.verdict
        hand_back, progress, status = {
            Verdict.HAND_BACK: (True, None, None),
            Verdict.COMPLETED: (completed, 1.0, "completed"),
            Verdict.COMPLETED_WITH_SKIPS: (False, 1.0, "completed"),
            Verdict.FAILED: (failed, None, "failed"),
            Verdict.CANCELLED: (failed, None, "failed"),
        }[ending.verdict]
        assert (ending.hand_back, ending.last_progress, ending.last_status) == (hand_back, progress, status)
        assert bool(ending.reason) == (status == "failed")
        assert len(ending.reason) <= 500

    @many
    @given(graph=graphs(max_nodes=5, plain=True), random=randoms)
    def test_no_graph_travels_for_ever(self, graph: dict[str, Any], random: Random) -> None:
        """Both planes at work: each hand-back leaves the other something to do, till the end."""
        text = text_of(graph)
        for _ in range(len(graph["nodes"]) + 1):
            visit = Visit.of(Document.parse(text))
            drive(visit, random)
            ending = end(text, visit)
            if ending.verdict is not Verdict.HAND_BACK:
                return
            graph = json.loads(ending.graph)
            todo = [
                node
                for node in graph["nodes"]
                if node["plane"] == "node"
                and node["status"] not in ("completed", "failed", "skipped")
                and rules.may_run(graph, {each["id"]: each["status"] for each in graph["nodes"]}, node)
            ]
            assert todo, "the control plane can do nothing with this graph"
            for node in todo:
                node["status"] = random.choice(["completed", "completed", "failed"])
            text = json.dumps(graph)
        pytest.fail("the job travels for ever")

    @some
    @given(graph=graphs(max_nodes=4, plain=True))
    def test_a_visit_that_did_nothing_gives_the_graph_back_as_it_came(self, graph: dict[str, Any]) -> None:
        for node in graph["nodes"]:
            node["plane"] = "node"
            node["status"] = "pending"
        document = Document.parse(text_of(graph))
        visit = Visit.of(document)
        assert visit.run.over
        ending = end(document.text, visit)
        assert (ending.verdict, ending.graph) == (Verdict.HAND_BACK, document.text)


class TestRetries:
    @pytest.mark.parametrize(
        ("before", "failures", "after"),
        [
            ("absent", 0, "absent"),
            (None, 0, None),
            ({}, 0, {"attempt": 1}),
            ({"attempt": 0}, 0, {"attempt": 1}),
            ({"attempt": 2, "maxAttempts": 5}, 0, {"attempt": 3, "maxAttempts": 5}),
            ({"maxAttempts": 5}, 0, {"attempt": 1, "maxAttempts": 5}),
            ("absent", 1, {"attempt": 2}),
            (None, 2, {"attempt": 3}),
            ({"attempt": 1}, 2, {"attempt": 4}),
        ],
    )
    def test_written_if_they_were_there_or_say_something(
        self, before: Any, failures: int, after: Any
    ) -> None:
        graph = simple_graph("W")
        if before != "absent":
            graph["nodes"][0]["retries"] = before
        (node,) = nodes_of(ended(graph, *[State.READY] * failures))
        assert node["status"] == "completed"
        assert node.get("retries", "absent") == after

    def test_lost_workers_are_not_the_nodes_attempts(self) -> None:
        document = Document.parse(text_of(simple_graph("W")))
        visit = Visit.of(document, max_lost_attempts=3)
        assert visit.abandon() == 3
        (node,) = nodes_of(end(document.text, visit))
        assert (node["status"], node["error"]["code"]) == ("failed", "worker_lost")
        assert "retries" not in node

    def test_a_count_of_attempts_that_was_admitted_can_be_raised(self) -> None:
        graph = text_of(simple_graph("W")).replace('"pending"', '"pending","retries":{"attempt":%s}')
        text = graph % ("9" * 4300)
        visit = Visit.of(Document.parse(text))
        visit.finish([])
        assert end(text, visit).verdict is Verdict.COMPLETED


class TestErrors:
    @pytest.mark.parametrize("error", [{"message": "old", "code": "x"}, {}])
    def test_an_old_error_is_cleared_by_success(self, error: Any) -> None:
        graph = simple_graph("W")
        graph["nodes"][0]["error"] = error
        assert nodes_of(ended(graph))[0]["error"] is None

    def test_null_stays_null_and_absent_stays_absent(self) -> None:
        graph = simple_graph("WW")
        graph["nodes"][0]["error"] = None
        first, second = nodes_of(ended(graph))
        assert first["error"] is None
        assert "error" not in second

    def test_the_last_error_of_several_attempts_counts(self) -> None:
        document = Document.parse(text_of(simple_graph("W")))
        visit = Visit.of(document)
        for token, outcome, code in ((1, State.READY, "first"), (2, State.FAILED, "second")):
            assert visit.run.claim(0, token, 0, 100) == "ok"
            visit.settle(0, token, outcome, json.dumps({"message": "m", "code": code}))
        (node,) = nodes_of(end(document.text, visit))
        assert node["error"] == {"message": "m", "code": "second"}
        assert node["retries"] == {"attempt": 2}


class TestReasons:
    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            ({"message": "no face", "code": "no_face"}, "node 'a' failed: no_face: no face"),
            ({"message": "no code"}, "node 'a' failed: unknown: no code"),
            ({}, "node 'a' failed: unknown: "),
            (None, "node 'a' failed: unknown: "),
        ],
    )
    def test_the_failed_node_is_named(self, error: Any, reason: str) -> None:
        graph = simple_graph("F")
        graph["nodes"][0]["error"] = error
        assert ended(graph).reason == reason

    def test_what_a_node_of_this_visit_failed_of(self) -> None:
        assert ended(simple_graph("CW"), State.FAILED).reason == "node 'b' failed: worker_lost: went away"

    def test_a_long_message_is_cut(self) -> None:
        graph = simple_graph("F")
        graph["nodes"][0]["error"] = {"message": "x" * 10_000, "code": "c"}
        assert len(ended(graph).reason) == 500

    def test_a_cancelled_job(self) -> None:
        graph = simple_graph("WWW", "a-b")
        document = Document.parse(text_of(graph))
        visit = Visit.of(document)
        visit.run.cancel()
        ending = end(document.text, visit)
        assert (ending.verdict, ending.reason, ending.queued) == (Verdict.CANCELLED, "cancelled", (0, 2))
        assert [node["status"] for node in nodes_of(ending)] == ["failed", "pending", "failed"]

    def test_a_failure_that_was_taken_up_is_not_the_reason(self) -> None:
        assert "node 'c'" in ended(simple_graph("FCF", "a!b")).reason

    @pytest.mark.parametrize(
        "error", ['{"message":"\\ud800","code":"c"}', '{"message":"m","code":"\\udfff"}']
    )
    def test_a_reason_can_be_written_down(self, error: str) -> None:
        document = Document.parse(text_of(simple_graph("W")))
        visit = Visit.of(document)
        visit.run.claim(0, 1, 0, 100)
        visit.settle(0, 1, State.FAILED, error)
        assert end(document.text, visit).reason.encode()


class TestDeepGraphs:
    def test_what_was_admitted_can_be_ended_from_anywhere(self) -> None:
        text = text_of(simple_graph("C")).replace('"completed"', '"completed","input":%s')

        def deep(depth: int) -> str:
            return text % ("[" * depth + "]" * depth)

        def ends(graph: str, frames: int) -> Ending:
            return ends(graph, frames - 1) if frames else end_visit(graph, {"s:0": "C"}, {}, Handoff())

        def admitted(depth: int) -> bool:
            try:
                Document.parse(deep(depth))
            except ValueError:
                return False
            return True

        # The deepest graph that can be read here, ended from a little further down the stack.
        deepest = max(depth for depth in range(100, 1000, 10) if admitted(depth))
        assert ends(deep(deepest), 40).verdict is Verdict.COMPLETED
