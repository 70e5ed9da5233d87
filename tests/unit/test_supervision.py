"""What a supervisor makes of what a lane says; the lane is a script, the clock is real and nothing waits on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from myspinbot_worker.attempt import Outcome
from myspinbot_worker.capability import Capability, Payload, Registry, capability
from myspinbot_worker.graph.transitions import Claim
from myspinbot_worker.runner_messages import (
    NOTHING_KNOWN,
    Data,
    Finished,
    FromRunner,
    FromWorker,
    Interrupt,
    Kept,
    Known,
    Moved,
    NodeTimes,
    Progress,
    Start,
    Stop,
    Uploads,
    UsesDevice,
)
from myspinbot_worker.runner_pool import Lane, RunnerDied
from myspinbot_worker.supervision import Patience, Supervisor, Wire
from tests.unit.attempts import claim

DONE = Outcome("completed", "{}")


class Any_(Payload):
    """Whatever it is given."""


def service(timeout_seconds: float = -1) -> Capability:
    registry = Registry()

    @capability("test.service", kind="cpu", timeout_seconds=timeout_seconds, into=registry)
    def function(task: Any, params: Any_, given: Any_) -> Any_:
        raise AssertionError("the lane is a script")

    found = registry.get("test.service")
    assert found is not None
    return found


class ScriptedLane:
    """Says what it is told to; after that it waits in silence until it is killed."""

    def __init__(self, says: list[FromRunner | RunnerDied], *, answers: bool = True) -> None:
        self._says = says
        self.heard: list[FromWorker | str] = []
        self._answers = answers
        self.runner = self
        self._killed = False

    def send(self, message: FromWorker) -> None:
        self.heard.append(message)

    def receive(self, timeout: float) -> FromRunner | None:
        if self._killed:
            raise RunnerDied("was killed by SIGKILL")
        if not self._says:
            return None
        said = self._says.pop(0)
        if isinstance(said, RunnerDied):
            raise said
        return said

    def kill(self, culprit: Any = None) -> None:
        self._killed = True
        self.heard.append("kill")

    def answers_for_death(self, lane: Any) -> bool:
        return self._answers


class Told:
    """A wire that writes down what it is told."""

    def __init__(self, answer: str = "ok") -> None:
        self.answer = answer
        self.said: list[Any] = []

    def wire(self) -> Wire:
        return Wire(
            renew=self._renew,
            kept=self._kept,
            publish=self.said.append,
            uploads=lambda: self.said.append("uploads"),
            moved=lambda direction, size: self.said.append((direction, size)),
            node_times=self.said.append,
            looked_up=self.said.append,
            known=lambda digest: None,
        )

    def _kept(self) -> str:
        self.said.append("kept")
        return self.answer

    def _renew(self, fraction: float | None) -> str:
        if fraction is not None:
            self.said.append(fraction)
        return self.answer


def run(
    supervisor: Supervisor,
    lane: ScriptedLane,
    given: Claim,
    what: Capability,
    wire: Wire,
    known: Known = NOTHING_KNOWN,
) -> Outcome:
    supervisor.start(cast(Lane, lane), given, Path("scratch"), known)
    return supervisor.watch(cast(Lane, lane), given, what, wire)


def supervise(
    lane: ScriptedLane, told: Told | None = None, *, limit: float = -1, lost_attempts: int = 0
) -> Outcome:
    # A lease of no length: renewed at every turn. Times of no length: every step is due at once.
    patience = Patience(lease_seconds=0, notice_seconds=0, interrupt_seconds=0, most_lost=3)
    supervisor = Supervisor(patience, "worker-1", "cpu")
    given = claim(lost_attempts=lost_attempts)
    return run(supervisor, lane, given, service(limit), (told or Told()).wire())


def code_of(outcome: Outcome) -> str:
    assert outcome.code == json.loads(outcome.text)["code"]
    return outcome.code


def test_what_the_attempt_tells_is_passed_on_in_order() -> None:
    told = Told()
    lane = ScriptedLane(
        [
            Progress(0.5),
            Data("x"),
            Uploads(),
            Moved("out", 3),
            UsesDevice("held"),
            NodeTimes({"KSampler": 2.5}),
            Finished(DONE),
        ]
    )
    assert supervise(lane, told) is DONE
    assert told.said == [0.5, "x", "uploads", ("out", 3), {"KSampler": 2.5}]
    (start,) = lane.heard
    assert isinstance(start, Start)
    assert (start.worker, start.device) == ("worker-1", "cpu")


@pytest.mark.parametrize(("answer", "code"), [("cancelled", "cancelled"), ("lost", "lease_lost")])
def test_an_attempt_that_does_not_listen_is_killed(answer: str, code: str) -> None:
    lane = ScriptedLane([])
    outcome = supervise(lane, Told(answer))
    assert (outcome.kind, code_of(outcome)) == ("failed", code)
    assert json.loads(outcome.text)["details"]["stopped"] == "killed"
    assert lane.heard[1:] == [Stop(claim().attempt, answer), Interrupt(claim().attempt), "kill"]  # type: ignore[arg-type]


def test_one_that_runs_for_too_long_too() -> None:
    lane = ScriptedLane([])
    assert code_of(supervise(lane, limit=1e-9)) == "timeout"
    assert lane.heard[1:] == [Stop(claim().attempt, "timeout"), Interrupt(claim().attempt), "kill"]


def test_waiting_for_the_device_is_not_its_time() -> None:
    lane = ScriptedLane([UsesDevice("waiting"), Progress(0.1), UsesDevice("held"), Finished(DONE)])
    assert supervise(lane, limit=0.05) is DONE


def test_whatever_a_task_makes_of_being_told() -> None:
    failed = Outcome("retry", '{"code": "internal"}', code="internal")
    assert (
        code_of(supervise(ScriptedLane([Progress(0.1), Finished(failed)]), Told("cancelled"))) == "cancelled"
    )


def test_work_that_was_done_all_the_same_counts() -> None:
    assert supervise(ScriptedLane([Progress(0.1), Finished(DONE)]), Told("cancelled")) is DONE


def test_a_process_that_died_costs_its_node_an_attempt_until_it_was_too_many() -> None:
    died = RunnerDied("was killed by SIGSEGV")
    assert supervise(ScriptedLane([died])).kind == "lost"
    assert supervise(ScriptedLane([died]), lost_attempts=1).kind == "lost"
    last = supervise(ScriptedLane([died]), lost_attempts=2)
    assert (last.kind, code_of(last)) == ("failed", "worker_lost")
    assert "SIGSEGV" in json.loads(last.text)["message"]


def test_one_that_kept_a_step_costs_nothing() -> None:
    told = Told()
    lane = ScriptedLane([Uploads(), Kept(), RunnerDied("was killed by SIGSEGV")])
    assert supervise(lane, told, lost_attempts=2).kind == "lost"
    assert told.said == ["uploads", "kept"]


def test_times_of_earlier_runs_come_with_the_start() -> None:
    lane, times = ScriptedLane([Finished(DONE)]), {"KSampler": 2.5}
    supervisor = Supervisor(Patience(1, 1, 1, 3), "worker-1", "cpu")
    run(supervisor, lane, claim(), service(), Told().wire(), Known(node_times=times))
    (start,) = lane.heard
    assert isinstance(start, Start)
    assert start.known.node_times == times


def test_one_that_died_of_a_neighbour_costs_nothing() -> None:
    assert supervise(ScriptedLane([RunnerDied("was killed by SIGKILL")], answers=False)).kind == "returned"


def test_a_worker_that_stops_gives_back() -> None:
    lane = ScriptedLane([])
    supervisor = Supervisor(Patience(1, 1, 1, 3), "worker-1", "cpu")
    supervisor.return_all()
    outcome = run(supervisor, lane, claim(), service(), Told().wire())
    assert outcome.kind == "returned"
    assert lane.heard[1:] == ["kill"]
