"""Steps that a node keeps in storage, with real processes that die, stop and hang in the middle of its work."""

from __future__ import annotations

import signal

from myspinbot_worker.config import load_settings
from myspinbot_worker.farm import storage_of

from .harness import Farm, graph, node, wait_until


def walked(farm: Farm, job: str) -> list[str]:
    found: list[str] = farm.client.lrange(f"test:walked:{job}:a", 0, -1)
    return found


def objects(farm: Farm, job: str) -> list[str]:
    return storage_of(load_settings(farm.env)).list_keys("staged", f"{job}/")


def test_a_node_that_dies_after_each_step_gets_to_its_end(farm: Farm) -> None:
    """Three processes die where one would be too many: each kept a step, so none is counted or walks it again."""
    farm.start_ingestor()
    farm.start_worker(FARM_MAX_LOST_ATTEMPTS="1")
    job = farm.submit(graph([node("a", "test.walk", params={"steps": 3, "die": "after"})]))
    artifact = farm.wait_back(job)["nodes"][0]["output"]["artifact"]
    assert [line for line in walked(farm, job) if line.startswith("made")] == [f"made {i}" for i in range(3)]
    assert walked(farm, job)[-3:] == [f"found {i}" for i in range(3)]
    # The kept steps go once the visit has ended, and the result stays.
    wait_until(lambda: objects(farm, job) == [artifact["key"]], "the kept steps are removed")


def test_a_node_that_loses_comfyui_after_each_step_gets_to_its_end(farm: Farm) -> None:
    farm.start_ingestor()
    farm.start_worker()
    walk = node("a", "test.walk", params={"steps": 3, "die": "engine"}, retries={"maxAttempts": 1})
    back = farm.wait_back(job := farm.submit(graph([walk])))["nodes"][0]
    assert back["retries"] == {"attempt": 1, "maxAttempts": 1}, "only the last start counts"
    assert [line for line in walked(farm, job) if line.startswith("made")] == [f"made {i}" for i in range(3)]
    wait_until(
        lambda: objects(farm, job) == [back["output"]["artifact"]["key"]], "the kept steps are removed"
    )


def test_a_node_that_dies_without_a_step_fails(farm: Farm) -> None:
    farm.start_ingestor()
    farm.start_worker(FARM_MAX_LOST_ATTEMPTS="2")
    job = farm.submit(graph([node("a", "test.walk", params={"steps": 1, "die": "before"})]))
    farm.wait_status(job, "failed")
    assert farm.snapshot(job)["nodes"][0]["error"]["code"] == "worker_lost"


def test_a_killed_worker_leaves_its_steps_to_the_next(farm: Farm) -> None:
    farm.start_ingestor(FARM_MAX_LOST_ATTEMPTS="1")
    first = farm.start_worker()
    job = farm.submit(graph([node("a", "test.walk", params={"steps": 2, "wait": True})]))
    wait_until(lambda: walked(farm, job) == ["made 0"], "a step is kept")
    wait_until(lambda: farm.client.hget(farm.keys.run(job), "g:0") == "1", "the run knows of it")
    first.kill()
    farm.start_worker()
    wait_until(lambda: walked(farm, job) == ["made 0", "found 0", "made 1"], "the next goes on from there")
    assert "x:0" not in farm.client.hgetall(farm.keys.run(job))
    farm.open_gate(job, "a")
    artifact = farm.wait_back(job)["nodes"][0]["output"]["artifact"]
    wait_until(lambda: objects(farm, job) == [artifact["key"]], "the kept steps are removed")


def test_a_stopping_worker_leaves_its_steps_to_the_next(farm: Farm) -> None:
    farm.start_ingestor()
    first = farm.start_worker(FARM_DRAIN_SECONDS="0.2")
    job = farm.submit(graph([node("a", "test.walk", params={"steps": 1, "wait": True})]))
    wait_until(lambda: walked(farm, job) == ["made 0"], "a step is kept")
    first.signal(signal.SIGTERM)
    farm.start_worker()
    farm.wait_back(job)
    assert walked(farm, job) == ["made 0", "found 0"]


def test_the_steps_of_a_cancelled_job_are_removed(farm: Farm) -> None:
    farm.start_ingestor()
    farm.start_worker()
    job = farm.submit(graph([node("a", "test.walk", params={"steps": 1, "wait": True})]))
    wait_until(lambda: walked(farm, job) == ["made 0"], "a step is kept")
    assert objects(farm, job)
    farm.client.zadd(farm.keys.cancels, {job: 0})
    farm.wait_status(job, "failed")
    wait_until(lambda: not objects(farm, job), "the kept steps are removed")
