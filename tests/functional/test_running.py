"""Attempts begun before anybody watches over them: whose the lane is, and what is left of one that is given up."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from myspinbot_worker.capability import Payload, Registry, capability
from myspinbot_worker.config import load_settings
from myspinbot_worker.farm import Farm
from myspinbot_worker.graph.transitions import Claim
from myspinbot_worker.metrics import WorkerMetrics, new_registry
from myspinbot_worker.runner_messages import Finished
from myspinbot_worker.runner_pool import RunnerPool
from myspinbot_worker.running import Attempts, Running
from myspinbot_worker.scratch import ScratchRoot
from myspinbot_worker.supervision import Patience, Supervisor
from tests.unit.attempts import claim

from .processes import PATIENCE

tasks = Registry()


@capability("dummy.dummy_task", kind="cpu", into=tasks)
def dummy(task: Any, params: Payload, given: Payload) -> Payload:
    """The runner has its own."""
    raise AssertionError


class Bench:
    """One runner, and nobody who watches."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.pool = RunnerPool(0)
        self.pool.start()
        self.scratch = ScratchRoot(folder)
        offering: Any = SimpleNamespace(withheld={})
        supervisor = Supervisor(Patience(30, 1, 1, 3), "worker-1", "cpu")
        metrics = WorkerMetrics(new_registry())
        self.attempts = Attempts(
            Farm(load_settings(env), registry=tasks), metrics, self.pool, self.scratch, offering, supervisor
        )

    def begin(self, **params: Any) -> Running:
        return self.attempts.begin(given(**params), self.pool.lend("cpu"))

    @property
    def free(self) -> int:
        return self.pool.free("cpu")


def given(**params: Any) -> Claim:
    return replace(claim(), service="dummy.dummy_task", params=json.dumps(params))


def wait_for(running: Running) -> None:
    assert running.lane is not None
    while not isinstance(message := running.lane.receive(PATIENCE), Finished):
        assert message is not None, "nothing was said"
    assert message.outcome.kind == "completed"


@pytest.fixture
def bench(farm_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name, value in farm_env.items():
        monkeypatch.setenv(name, value)
    made = Bench(farm_env, tmp_path / "scratch")
    yield made
    made.pool.close()
    made.scratch.close()


def test_the_lane_of_the_one_before_goes_on_to_the_next(bench: Bench) -> None:
    first = bench.begin()
    lane = first.lane
    wait_for(first)
    second = bench.attempts.begin_ahead(given(), "cpu", first)
    assert second is not None
    assert (first.lane, second.lane) == (None, lane)
    assert second.scratch != first.scratch
    bench.attempts.end(first)
    assert not first.scratch.exists()
    assert bench.free == 0, "the second has it"
    wait_for(second)
    bench.attempts.end(second)
    assert bench.free == 1


def test_without_one_before_only_a_free_lane_is_taken(bench: Bench) -> None:
    first = bench.attempts.begin_ahead(given(), "cpu", None)
    assert first is not None
    assert bench.attempts.begin_ahead(given(), "cpu", None) is None, "nobody waits for a runner to start"
    wait_for(first)
    bench.attempts.end(first)
    assert bench.free == 1


def test_not_in_a_lane_whose_runner_is_to_be_replaced(bench: Bench) -> None:
    first = bench.begin()
    assert first.lane is not None
    wait_for(first)
    first.lane.runner.kill(first.lane)
    assert bench.attempts.begin_ahead(given(), "cpu", first) is None
    bench.attempts.end(first)
    assert bench.free == 0
    assert bench.attempts.begin_ahead(given(), "cpu", None) is None


def test_one_that_nobody_watches_is_ended(bench: Bench) -> None:
    running = bench.begin(steps=10, seconds=3600)
    assert running.lane is not None
    pid = running.lane.runner.pid
    bench.attempts.abandon(running)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not running.scratch.exists()
    other = bench.begin()
    wait_for(other)
    bench.attempts.end(other)


def test_no_room_for_a_folder_is_no_reason_to_lose_a_lane(bench: Bench) -> None:
    first = bench.begin()
    lane = first.lane
    wait_for(first)
    bench.attempts.end(first)
    again = bench.begin()
    assert again.lane is lane
    wait_for(again)
    shutil.rmtree(bench.folder)
    assert bench.attempts.begin_ahead(given(), "cpu", again) is None
    assert again.lane is lane
    bench.attempts.end(again)
    assert bench.attempts.begin_ahead(given(), "cpu", None) is None
    assert bench.free == 1
    with pytest.raises(OSError, match="scratch"):
        bench.begin()


def test_what_cannot_run_here_is_not_told_to_the_runner(bench: Bench) -> None:
    unknown = bench.attempts.begin(replace(given(), service="of.another_version"), bench.pool.lend("cpu"))
    assert unknown.why_not == "this worker does not know it"
    bench.attempts.end(unknown)
    assert bench.free == 1
