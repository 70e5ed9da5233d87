"""Tasks that hang, crash and eat: each ends by itself alone, and its worker goes on."""

from __future__ import annotations

from typing import Any, Final

import psutil
import pytest

from .harness import Farm, graph, node, wait_until

QUICK: Final[dict[str, Any]] = {"FARM_NOTICE_SECONDS": "0.3", "FARM_INTERRUPT_SECONDS": "0.3"}
HANGS = {
    "checking": "told",
    "computing": "interrupted",
    "deaf": "interrupted",
    "sleeping": "killed",
    "holding the GIL": "killed",
    "in a subprocess": "killed",
}
"""How a task hangs, and what it takes to end it."""


def failed_node(farm: Farm, job: str) -> dict[str, Any]:
    farm.wait_status(job, "failed")
    found: dict[str, Any] = farm.snapshot(job)["nodes"][0]
    assert found["status"] == "failed"
    return found


@pytest.fixture
def quick(farm: Farm) -> Farm:
    farm.start_ingestor()
    farm.start_worker(**QUICK)
    return farm


def test_a_task_that_hangs_is_ended_by_its_time_limit(quick: Farm) -> None:
    jobs = {
        how: quick.submit(graph([node("a", "test.hang", params={"how": how}), node("b")], [("a", "b")]))
        for how in HANGS
    }
    for how, job in jobs.items():
        error = failed_node(quick, job)["error"]
        assert (error["code"], error["details"]["stopped"]) == ("timeout", HANGS[how]), how
        assert quick.client.llen(f"test:started:{job}:a") == 1, "it is not tried again"
    quick.wait_back(quick.submit(graph([node("after")])))
    (worker,) = [process for process in quick.processes if process.name == "worker"]
    left = [p for p in worker.children() if p.status() != psutil.STATUS_ZOMBIE]
    assert all("1 << 20" not in p.cmdline() for p in left), "what the task started is gone with it"


@pytest.mark.parametrize("how", HANGS)
def test_a_cancelled_task_is_told_interrupted_and_killed(quick: Farm, how: str) -> None:
    job = quick.submit(graph([node("a", "test.hang_for_ever", params={"how": how}), node("b")], [("a", "b")]))
    quick.wait_started(job, "a")
    quick.client.zadd(quick.keys.cancels, {job: 0})
    assert failed_node(quick, job)["error"]["code"] == "cancelled"
    assert quick.snapshot(job)["nodes"][1]["status"] in ("pending", "skipped")
    quick.wait_idle()
    assert not quick.client.exists(quick.keys.cancels), "the request is done with"


@pytest.mark.parametrize("how", ["os._exit", "a segmentation fault"])
def test_a_task_that_ends_its_process_is_tried_again_at_once(quick: Farm, how: str) -> None:
    job = quick.submit(graph([node("a", "test.exit", params={"how": how})]))
    error = failed_node(quick, job)["error"]
    assert error["code"] == "worker_lost"
    assert ("exited with code 3" if how == "os._exit" else "SIGSEGV") in error["message"]
    assert quick.client.get(f"test:deaths:{job}:a") == "3"


def test_sys_exit_is_an_error_of_the_task(quick: Farm) -> None:
    job = quick.submit(graph([node("a", "test.exit", params={"how": "sys.exit"})]))
    error = failed_node(quick, job)["error"]
    assert error["code"] == "internal"
    assert "SystemExit: 3" in error["message"]
    assert quick.client.get(f"test:deaths:{job}:a") == "1"


def test_memory_is_freed_and_the_task_tries_again_on_the_spot(quick: Farm) -> None:
    job = quick.submit(graph([node("a", "test.eat", params={"times": 1})]))
    back = quick.wait_back(job)["nodes"][0]
    assert back["output"] == {"meals": 2}
    assert "retries" not in back, "that was one attempt"
    assert len(set(quick.client.lrange(f"test:eaters:{job}:a", 0, -1))) == 1


def test_then_another_worker_gets_it(quick: Farm) -> None:
    quick.start_worker(**QUICK)
    job = quick.submit(graph([node("a", "test.eat", params={"times": 2})]))
    assert quick.wait_back(job)["nodes"][0]["output"] == {"meals": 3}
    first, second, third = quick.client.lrange(f"test:eaters:{job}:a", 0, -1)
    assert first == second != third


def test_then_it_fails_with_the_sizes(quick: Farm) -> None:
    quick.start_worker(**QUICK)
    job = quick.submit(graph([node("a", "test.eat", params={"times": 99})]))
    error = failed_node(quick, job)["error"]
    assert error["code"] == "out_of_memory"
    assert set(error["details"]["sizes"]) == {"first", "second"}
    assert error["details"]["sizes"]["second"]["processBytes"] > 0
    assert quick.client.get(f"test:meals:{job}:a") == "4"


def test_runners_die_with_their_worker_also_while_the_gil_is_held(quick: Farm) -> None:
    job = quick.submit(graph([node("a", "test.hang_for_ever", params={"how": "holding the GIL"})]))
    runner = psutil.Process(quick.wait_started(job, "a")["pid"])
    (worker,) = [process for process in quick.processes if process.name == "worker"]
    worker.kill()
    wait_until(lambda: not runner.is_running(), "the runner is gone")
    quick.client.zadd(quick.keys.cancels, {job: 0})
    quick.start_worker(**QUICK)
    quick.wait_status(job, "failed")


def test_who_holds_the_device_answers_for_the_runner_they_share(farm: Farm) -> None:
    """Two GPU nodes in one process: the one that dies of its work is charged, its neighbour starts again for free."""
    farm.start_ingestor()
    farm.start_worker("-Q", "gpu", threads=2, FARM_MAX_LOST_ATTEMPTS="2")
    neighbour = farm.submit(graph([node("n", "test.gate")]))
    first = farm.wait_started(neighbour, "n")
    killer = farm.submit(graph([node("k", "test.die_on_device")]))
    assert failed_node(farm, killer)["error"]["code"] == "worker_lost"
    assert "x:0" not in farm.client.hgetall(farm.keys.run(neighbour)), "the neighbour is not charged"
    farm.open_gate(neighbour, "n")
    attempt = farm.wait_back(neighbour)["nodes"][0]["output"]["attempt"]
    assert attempt in (2, 3), (
        "whether it had started again when the killer died once more is for the scheduler to say"
    )
    again = farm.wait_started(neighbour, "n")
    if again["attempt"] != attempt:
        again = farm.wait_started(neighbour, "n")
    assert again["attempt"] == attempt
    assert again["pid"] != first["pid"]
