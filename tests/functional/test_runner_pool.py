"""Runner processes as a worker sees them: started, lent, broken, replaced."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from myspinbot_worker.attempt import Outcome
from myspinbot_worker.capability import Kind
from myspinbot_worker.runner_messages import Finished, Interrupt, Progress, Start, Stop
from myspinbot_worker.runner_pool import Lane, RunnerDied, RunnerPool, RunnerUnavailable
from tests.unit.attempts import claim

from .processes import PATIENCE

DUMMY = claim()


@pytest.fixture
def pool(farm_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[RunnerPool]:
    for name, value in farm_env.items():
        monkeypatch.setenv(name, value)
    pool = RunnerPool(2)
    yield pool
    pool.close()


@contextmanager
def lent(pool: RunnerPool, kind: Kind) -> Iterator[Lane]:
    lane = pool.lend(kind)
    yield lane
    pool.take_back(lane)


def start(lane: Lane, scratch: Path, service: str = "dummy.dummy_task", **params: Any) -> None:
    given = replace(DUMMY, service=service, params=json.dumps(params))
    lane.send(Start(given, scratch, "cpu", "worker-1"))


def finished(lane: Lane) -> Outcome:
    while not isinstance(message := lane.receive(PATIENCE), Finished):
        assert message is not None, "nothing was said"
    return message.outcome


def test_a_cpu_runner_is_used_again_and_one_that_died_is_not(pool: RunnerPool, tmp_path: Path) -> None:
    with lent(pool, "cpu") as lane:
        first = lane.runner
        start(lane, tmp_path)
        assert finished(lane).kind == "completed"
    with lent(pool, "cpu") as lane, lent(pool, "cpu") as other:
        assert lane.runner is first
        assert other.runner is not first, "one attempt a runner"
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(RunnerDied, match="SIGKILL"):
            lane.receive(PATIENCE)
        assert first.answers_for_death(lane)
    with lent(pool, "cpu") as lane:
        assert lane.runner is other.runner


def test_gpu_attempts_share_a_runner_until_it_is_killed(pool: RunnerPool, tmp_path: Path) -> None:
    pool.start()
    with lent(pool, "gpu") as lane, lent(pool, "gpu") as neighbour:
        assert lane.runner is neighbour.runner
        lane.runner.kill(lane)
        for one in (lane, neighbour):
            with pytest.raises(RunnerDied):
                one.receive(PATIENCE)
        assert lane.runner.answers_for_death(lane)
        assert not lane.runner.answers_for_death(neighbour)
    with lent(pool, "gpu") as again:
        assert again.runner is not lane.runner
        start(again, tmp_path)
        assert finished(again).kind == "completed"


def test_garbage_on_a_lane_ends_its_runner(pool: RunnerPool, tmp_path: Path) -> None:
    with lent(pool, "cpu") as lane:
        start(lane, tmp_path, "test.write_everywhere")
        with pytest.raises(RunnerDied):
            finished(lane)
        assert not lane.runner.alive


def test_what_comes_late_for_one_attempt_does_not_stop_the_next(pool: RunnerPool, tmp_path: Path) -> None:
    """It goes another way than attempts do, so it may arrive after the next one."""
    with lent(pool, "cpu") as lane:
        start(lane, tmp_path, steps=20, seconds=1)
        assert isinstance(lane.receive(PATIENCE), Progress)
        gone = (DUMMY.ref, DUMMY.token - 1)
        lane.send(Stop(gone, "cancelled"))
        lane.send(Interrupt(gone))
        assert finished(lane).kind == "completed"
        start(lane, tmp_path, steps=20, seconds=20)
        assert isinstance(lane.receive(PATIENCE), Progress)
        lane.send(Stop(DUMMY.attempt, "cancelled"))
        assert finished(lane).code == "cancelled"


def test_a_runner_that_cannot_start_is_an_error_that_says_so(
    farm_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (farm_env | {"FARM_LEASE_SECONDS": "soon"}).items():
        monkeypatch.setenv(name, value)
    pool = RunnerPool(0)
    with pytest.raises(RunnerUnavailable, match="exited with code"):
        pool.start()
    pool.close()
