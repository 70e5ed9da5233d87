"""Workers and ingestors that are told to stop, at any moment; queues that are paused; jobs that are cancelled."""

from __future__ import annotations

import random
import re
import signal
import time
from typing import Any, Final

from .harness import Farm, graph, node, wait_until
from .processes import Process
from .test_http import address, free_port, samples

LONG_LEASE: Final[dict[str, Any]] = {"FARM_LEASE_SECONDS": "60"}
"""What happens within a test does not happen because a lease ran out."""


def test_a_stopping_worker_gives_back_what_it_cannot_finish(farm: Farm) -> None:
    """At once and uncharged: not after the lease, and not as an attempt."""
    farm.start_ingestor(**LONG_LEASE)
    worker = farm.start_worker(**LONG_LEASE, FARM_DRAIN_SECONDS="0.5")
    job = farm.submit(graph([node("a", "test.gate")]))
    assert farm.wait_started(job, "a")["attempt"] == 1
    worker.signal(signal.SIGTERM)
    farm.start_worker(**LONG_LEASE)
    assert farm.wait_started(job, "a")["attempt"] == 2
    run = farm.client.hgetall(farm.keys.run(job))
    assert ("a:0" in run, "x:0" in run) == (False, False)
    farm.open_gate(job, "a")
    assert "retries" not in farm.wait_back(job)["nodes"][0]
    assert worker.stop() == 0, "\n".join(worker.lines)


def test_a_stopping_worker_takes_nothing_more(farm: Farm) -> None:
    farm.start_ingestor()
    worker = farm.start_worker(threads=2)
    running = farm.submit(graph([node("a", "test.wait_for_gate")]))
    farm.wait_started(running, "a")
    worker.signal(signal.SIGTERM)
    worker.wait_for(r"Shutting down\.\.\.")
    waiting = farm.submit(graph([node("b", "test.wait_for_gate")]))
    farm.start_worker()
    assert farm.wait_started(waiting, "b")["worker"] not in worker.worker_pids()
    for job, name in ((running, "a"), (waiting, "b")):
        farm.open_gate(job, name)
        farm.wait_back(job)
    assert worker.stop() == 0


def test_what_a_stopping_worker_finishes_counts(farm: Farm) -> None:
    farm.start_ingestor()
    worker = farm.start_worker(FARM_DRAIN_SECONDS="20")
    job = farm.submit(graph([node("a", "test.gate"), node("b")], [("a", "b")]))
    farm.wait_started(job, "a")
    worker.signal(signal.SIGTERM)
    farm.open_gate(job, "a")
    assert worker.stop() == 0
    farm.start_worker()
    assert farm.wait_back(job)["nodes"][0]["output"] == {"attempt": 1}


def test_two_hundred_signals_at_random_moments(farm: Farm) -> None:
    """Under load, while starting and while stopping; whoever ends is started again, as an orchestrator would."""
    chance = random.Random(200)
    crew = [_begin(farm, kind) for kind in ("ingestor", "ingestor", "worker", "worker")]
    jobs: list[str] = []
    stops = 0
    for number in range(200):
        if len(jobs) - len(farm.handed_back) < 20:
            jobs += [farm.submit(graph([node("a"), node("b")], [("a", "b")])) for _ in range(3)]
        place = chance.randrange(len(crew))
        process = crew[place]
        if number % 8 == 0 and not process.told_to_stop:
            process.signal(signal.SIGTERM)
            stops += 1
        else:
            process.signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0, 0.1))  # how long it is away
            process.signal(signal.SIGCONT)
        for place, one in enumerate(crew):
            if one.returncode is not None:
                # Before it is up nobody listens to signals yet.
                assert one.returncode == 0 or not _is_up(one), "\n".join(one.lines[-20:])
                crew[place] = _begin(farm, one.name)
    for one in crew:
        if one.told_to_stop:
            assert one.stop_when_done() == 0 or not _is_up(one), "\n".join(one.lines[-20:])
            _begin(farm, one.name)
    for job in jobs:
        farm.wait_back(job)
    farm.wait_idle()
    assert stops >= 10
    assert {len(farm.handed_back[job]) for job in jobs} == {1}
    for job in jobs:
        states = [(n["status"], n.get("retries")) for n in farm.handed_back[job][0]["nodes"]]
        assert states == [("completed", None)] * 2, "no attempt was charged"


def _begin(farm: Farm, kind: str) -> Process:
    if kind == "ingestor":
        return farm.begin_ingestor()
    return farm.begin_worker("-Q", "cpu", threads=2, FARM_DRAIN_SECONDS="1")


def _is_up(process: Process) -> bool:
    return any(re.search("ready for action|ingestor .* reads", line) for line in process.lines)


def test_a_paused_queue_rests_and_goes_on(farm: Farm) -> None:
    farm.start_ingestor()
    farm.start_worker()
    farm.wait_back(farm.submit(graph([node("a")])))
    farm.client.sadd(farm.keys.paused, "cpu")
    # Whoever waits in Redis when the queue is paused takes one more look at it.
    time.sleep(0.6)
    resting = farm.submit(graph([node("a")]))
    other = farm.submit(graph([node("a", "test.gate")]))
    farm.wait_started(other, "a")
    farm.start_worker("-Q", "cpu")
    assert resting not in farm.handed_back
    assert farm.client.llen(f"{farm.keys.broker}:cpu") == 1
    farm.open_gate(other, "a")
    farm.wait_back(other)
    farm.client.srem(farm.keys.paused, "cpu")
    farm.wait_back(resting)


def test_a_cooperative_task_is_cancelled_within_two_seconds_and_it_is_measured(farm: Farm) -> None:
    url, port = address(farm.start_ingestor()), free_port()
    farm.start_worker(FARM_METRICS_PORT=str(port))
    job = farm.submit(graph([node("a", "test.gate"), node("b")], [("a", "b")]))
    pid = farm.wait_started(job, "a")["pid"]
    farm.client.zadd(farm.keys.cancels, {job: 0})
    farm.wait_status(job, "failed")
    farm.wait_idle()
    assert farm.snapshot(job)["nodes"][0]["error"]["code"] == "cancelled"
    counts = [samples(page) for page in (url, f"http://127.0.0.1:{port}")]
    assert sum(page["farm_cancel_seconds_count"] for page in counts) == 1
    assert not list(farm.scratch_folder.glob("scratch/worker-*/task-*")), "scratch is gone"
    after = farm.submit(graph([node("a", "test.gate")]))
    assert farm.wait_started(after, "a")["pid"] == pid, "nothing had to be killed"
    farm.open_gate(after, "a")
    farm.wait_back(after)


def test_a_job_that_was_not_admitted_yet_is_cancelled_as_it_comes(farm: Farm) -> None:
    job = graph([node("a")])["workflowId"]
    farm.client.zadd(farm.keys.cancels, {job: 0})
    farm.submit(graph([node("a"), node("b")], [("a", "b")], job))
    farm.start_ingestor()
    farm.wait_status(job, "failed")
    assert farm.statuses[job] == ["failed"]
    farm.wait_idle()
    assert farm.snapshot(job)["nodes"][0]["error"]["code"] == "cancelled"
    assert not farm.client.exists(farm.keys.cancels)


def test_a_cancel_between_two_visits_holds_for_the_next(farm: Farm) -> None:
    farm.start_ingestor()
    farm.start_worker()
    sent = graph([node("a"), node("n", "script", "node"), node("b")], [("a", "n"), ("n", "b")])
    job = farm.submit(sent)
    back = farm.wait_back(job)
    farm.client.zadd(farm.keys.cancels, {job: 0})
    back["nodes"][1] |= {"status": "completed", "output": {}}
    farm.submit(back)
    farm.wait_status(job, "failed")
    assert farm.client.llen(f"test:inputs:{job}:b") == 0


def test_a_cancelled_job_that_waits_for_a_worker_ends_without_one(farm: Farm) -> None:
    farm.start_ingestor()
    job = farm.submit(graph([node("a")]))
    wait_until(lambda: farm.client.exists(farm.keys.run(job)), "the job is admitted")
    farm.client.zadd(farm.keys.cancels, {job: 0})
    farm.wait_status(job, "failed")
    farm.start_worker()


def test_a_request_that_meets_no_job_is_dropped_in_time(farm: Farm) -> None:
    farm.start_ingestor()
    farm.client.zadd(farm.keys.cancels, {"nobody": 1, "younger": 0})
    wait_until(lambda: farm.client.zscore(farm.keys.cancels, "nobody") is None, "the old request is dropped")
    wait_until(
        lambda: float(farm.client.zscore(farm.keys.cancels, "younger")) > 1, "the new one has its time"
    )
    farm.client.delete(farm.keys.cancels)
