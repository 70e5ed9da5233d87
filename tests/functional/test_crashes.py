"""Processes killed at bad moments: nothing lost, nothing twice. Every test has processes of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from myspinbot_worker.broker import FarmBroker
from myspinbot_worker.dispatcher import node_message
from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3
from myspinbot_worker.graph.transitions import ReadyNode
from myspinbot_worker.keys import NodeRef

from .conftest import farm_environment
from .harness import Farm, graph, node, wait_until


def test_a_killed_worker_loses_its_node_to_another(farm: Farm) -> None:
    farm.start_ingestor()
    first = farm.start_worker()
    sent = graph([node("a", "test.gate", params={"progress": 0.7}), node("b")], [("a", "b")])
    job = farm.submit(sent)
    assert farm.wait_started(job, "a")["attempt"] == 1
    first.kill()
    farm.start_worker()
    assert farm.wait_started(job, "a")["attempt"] == 2
    farm.open_gate(job, "a")
    back = farm.wait_back(job)
    assert back["nodes"][0]["output"] == {"attempt": 2}
    farm.wait_idle()
    assert len(farm.handed_back[job]) == 1
    assert farm.statuses[job] == ["queued", "running", "completed"]


def test_a_worker_killed_with_a_message_in_hand_returns_it(farm: Farm) -> None:
    """A message fetched but never claimed belongs to a dead process: maintenance gives it back."""
    farm.start_ingestor()
    job = farm.submit(graph([node("a")]))
    queue = f"{farm.keys.broker}:cpu"
    wait_until(lambda: farm.client.llen(queue), "the message is queued")
    message_id = farm.client.lpop(queue)
    farm.client.sadd(f"{farm.keys.broker}:__acks__.dead-process.cpu", message_id)
    farm.client.zadd(f"{farm.keys.broker}:__heartbeats__", {"dead-process": 1})
    farm.start_worker()
    farm.wait_back(job)


def test_a_message_that_vanished_is_sent_again(farm: Farm) -> None:
    farm.start_ingestor()
    job = farm.submit(graph([node("a")]))
    queue = f"{farm.keys.broker}:cpu"
    wait_until(lambda: farm.client.llen(queue), "the message is queued")
    farm.client.delete(queue, f"{queue}.msgs")
    farm.start_worker()
    farm.wait_back(job)


def test_poison_work_fails_after_a_few_workers(farm: Farm) -> None:
    """A node that takes its process along is not redelivered for ever, and its neighbours are not charged."""
    farm.start_ingestor()
    worker = farm.start_worker(threads=2, FARM_MAX_LOST_ATTEMPTS="2")
    neighbour = farm.submit(graph([node("n", "test.wait_for_gate")]))
    farm.wait_started(neighbour, "n")
    job = farm.submit(
        graph([node("poison", "test.die"), node("rescue")], [("poison", "rescue", "on_failure")])
    )
    farm.wait_status(job, "completed")
    error = farm.snapshot(job)["nodes"][0]["error"]
    assert error["code"] == "worker_lost"
    assert "killed by SIGKILL" in error["message"]
    assert farm.client.get(f"test:deaths:{job}:poison") == "2"
    farm.open_gate(neighbour, "n")
    assert farm.wait_back(neighbour)["nodes"][0]["output"] == {"attempt": 1}
    assert worker.returncode is None


def test_work_that_takes_whole_workers_along_fails_too(farm: Farm) -> None:
    """As a machine that crashes would: nobody is left to tell, the leases run out."""
    farm.start_ingestor(FARM_MAX_LOST_ATTEMPTS="2")
    job = farm.submit(graph([node("a", "test.gate"), node("b")], [("a", "b", "on_failure")]))
    for attempt in (1, 2):
        worker = farm.start_worker(FARM_MAX_LOST_ATTEMPTS="2")
        assert farm.wait_started(job, "a")["attempt"] == attempt
        worker.kill()
    farm.start_worker()
    farm.wait_status(job, "completed")
    assert farm.snapshot(job)["nodes"][0]["error"]["code"] == "worker_lost"


def test_a_stopped_worker_is_fenced_off_when_it_wakes(farm: Farm) -> None:
    """SIGSTOP for longer than the lease: the node runs elsewhere, and the sleeper's result is dropped."""
    farm.start_ingestor()
    sleeper = farm.start_worker()
    job = farm.submit(graph([node("a", "test.gate")]))
    first = farm.wait_started(job, "a")
    os.kill(first["worker"], signal.SIGSTOP)
    farm.start_worker()
    second = farm.wait_started(job, "a")
    assert second["attempt"] == 2
    for _ in range(2):  # the sleeper's task is awake, only nobody hears of it
        farm.open_gate(job, "a")
    assert farm.wait_back(job)["nodes"][0]["output"] == {"attempt": 2}
    os.kill(first["worker"], signal.SIGCONT)
    sleeper.wait_for("result (fenced|gone), dropped")
    assert len(farm.handed_back[job]) == 1


def test_the_lease_is_kept_while_a_task_holds_the_gil(farm: Farm) -> None:
    """Three leases long in C code, no other thread of the worker running: still one start."""
    farm.start_ingestor()
    farm.start_worker(count=2)
    job = farm.submit(graph([node("a", "test.hold_gil", params={"seconds": 6})]))
    assert farm.wait_back(job)["nodes"][0]["output"] == {"attempt": 1}
    assert farm.client.llen(f"test:started:{job}:a") == 1


def test_no_hoarding_whatever_the_environment_says(farm: Farm) -> None:
    """Six short tasks do not wait behind a long one while another worker is idle."""
    farm.start_ingestor()
    farm.start_worker(count=2, dramatiq_queue_prefetch="100")
    long = farm.submit(graph([node("a", "test.gate")]))
    farm.wait_started(long, "a")
    short = [farm.submit(graph([node("a", "test.echo")])) for _ in range(6)]
    for job in short:
        farm.wait_back(job)
    assert long not in farm.handed_back
    pattern = f"{farm.keys.broker}:__acks__*"
    wait_until(
        lambda: [farm.client.scard(key) for key in farm.client.scan_iter(pattern)] == [1],
        "the idle worker holds nothing",
    )
    farm.open_gate(long, "a")
    farm.wait_back(long)


def test_queues_can_be_split(farm: Farm) -> None:
    farm.start_ingestor()
    farm.start_worker("-Q", "cpu")
    job = farm.submit(graph([node("a", "test.echo"), node("b", "test.gate")], [("a", "b")]))
    wait_until(lambda: farm.client.llen(f"{farm.keys.broker}:gpu"), "the gpu node is queued")
    farm.start_worker("-Q", "gpu")
    farm.wait_started(job, "b")
    farm.open_gate(job, "b")
    farm.wait_back(job)


@pytest.mark.parametrize("seed", range(4))
def test_ingestors_killed_at_any_moment(farm: Farm, seed: int) -> None:
    """kill -9 of an ingestor at random moments under load, replicas coming and going."""
    chance = random.Random(seed)
    farm.start_worker("-Q", "cpu", count=2)
    jobs = []
    for _ in range(4):
        ingestor = farm.start_ingestor()
        jobs += [farm.submit(graph([node("a"), node("b")], [("a", "b")])) for _ in range(25)]
        done_before = chance.randint(0, len(jobs))
        wait_until(lambda n=done_before: len(farm.handed_back) >= n, "some jobs came back")  # type: ignore[misc]
        ingestor.kill()
    farm.start_ingestor()
    for job in jobs:
        farm.wait_back(job)
    farm.wait_idle()
    assert {len(farm.handed_back[job]) for job in jobs} == {1}
    for job in jobs:
        assert farm.client.llen(f"test:inputs:{job}:a") == 1
        assert farm.statuses[job] == ["queued", "running", "completed"]


def test_an_entry_read_but_never_admitted_is_adopted(farm: Farm) -> None:
    farm.client.xgroup_create("process:data", "workers", id="0", mkstream=True)
    job = farm.submit(graph([node("a")]))
    assert farm.client.xreadgroup("workers", "died-before-admission", {"process:data": ">"})
    farm.start_worker()
    farm.start_ingestor()
    farm.wait_back(job)


def test_a_run_admitted_but_not_dispatched_is_sent(farm: Farm) -> None:
    """The ingestor died between admission and the first message."""
    from myspinbot_worker.admission import read_entry
    from myspinbot_worker.graph.store import RunStore

    farm.client.xgroup_create("process:data", "workers", id="0", mkstream=True)
    job = farm.submit(graph([node("a")]))
    ((_, ((entry, fields),)),) = farm.client.xreadgroup("workers", "died", {"process:data": ">"})
    admission = read_entry(entry, {k.encode(): v.encode() for k, v in fields.items()})
    outcome, ready = RunStore(farm.client).admit(
        entry, admission.document, admission.plan, admission.created, admission.fingerprint, keep_going=False
    )
    assert (outcome, len(ready)) == ("ok", 1)
    farm.start_worker()
    farm.start_ingestor()
    farm.wait_back(job)


def test_a_graceful_stop_loses_nothing(farm: Farm) -> None:
    ingestor = farm.start_ingestor()
    worker = farm.start_worker(count=1)
    job = farm.submit(graph([node("a", "test.gate"), node("b")], [("a", "b")]))
    farm.wait_started(job, "a")
    worker.signal(signal.SIGTERM)
    worker.wait_for("Stopping worker process")
    farm.open_gate(job, "a")
    assert worker.stop() == 0, "\n".join(worker.lines)
    assert ingestor.stop() == 0, ingestor.lines
    farm.start_worker()
    farm.start_ingestor()
    back = farm.wait_back(job)
    assert back["nodes"][0]["output"] == {"attempt": 1}


def test_redis_restarts_under_load(
    own_redis: Callable[..., EmbeddedRedis], s3_server: EmbeddedS3, tmp_path: Path
) -> None:
    """With an append-only file that is synced always, a restart costs nothing but time."""
    server = own_redis(config=("--appendfsync", "always"))
    with Farm(farm_environment(server.url, s3_server, tmp_path)) as farm:
        farm.start_ingestor()
        farm.start_worker("-Q", "cpu", count=2)
        jobs: list[str] = []
        stop = threading.Event()

        def submit() -> None:
            while not stop.is_set() and len(jobs) < 400:
                document = graph([node("a"), node("b"), node("c")], [("a", "b"), ("b", "c")])
                try:
                    farm.submit(document)
                except redis.ConnectionError:
                    # Whether it was taken is not known; the same entry is not sent again, as the platform does.
                    stop.wait(0.05)
                    continue
                jobs.append(document["workflowId"])

        submitter = threading.Thread(target=submit, name="log-submitter")
        submitter.start()
        for restart in (server.kill, server.stop):
            reached = len(farm.handed_back) + 20
            wait_until(lambda n=reached: len(farm.handed_back) >= n, "load is on")  # type: ignore[misc]
            restart()
            server.start()
        reached = len(farm.handed_back) + 20
        wait_until(lambda: len(farm.handed_back) >= reached, "work goes on by itself")
        stop.set()
        submitter.join()
        for job in jobs:
            farm.wait_back(job)
        farm.wait_idle()
        assert {len(farm.handed_back[job]) for job in jobs} == {1}
        for job in jobs:
            assert json.loads(farm.raw_hand_backs[job][0])["nodes"][2]["status"] == "completed"


def test_a_worker_comes_back_after_the_lease_on_its_own(farm: Farm) -> None:
    """It finds the node leased; the holder never returns; no ingestor is there to notice."""
    ingestor = farm.start_ingestor()
    holder = farm.start_worker()
    job = farm.submit(graph([node("a", "test.gate")]))
    frozen = farm.wait_started(job, "a")["worker"]
    ingestor.stop()
    other = farm.start_worker()
    entry = farm.client.hget(farm.keys.run(job), "entry")
    again = node_message(ReadyNode(NodeRef(entry, 0, job), 1, "test.gate", "a"), "gpu")
    # Frozen, not killed: a holder that is alive might take the message itself.
    os.kill(frozen, signal.SIGSTOP)
    with redis.Redis.from_url(farm.env["REDIS_URL"]) as client:
        FarmBroker(client, farm.keys.broker, 60_000, []).enqueue(again)
        other.wait_for("leased")
        assert farm.wait_started(job, "a")["attempt"] == 2
    holder.kill()
    farm.open_gate(job, "a")
    farm.wait_back(job)
    farm.start_ingestor()


def test_connections_cut_under_load(farm: Farm) -> None:
    """Replies get lost at any command of any process; every job still comes back once."""
    farm.start_ingestor()
    farm.start_worker("-Q", "cpu", count=2)
    jobs = [
        farm.submit(graph([node(f"n{i}") for i in range(4)], [(f"n{i}", f"n{i + 1}") for i in range(3)]))
        for _ in range(60)
    ]
    with redis.Redis.from_url(farm.env["REDIS_URL"]) as client:
        for cut in range(12):
            wait_until(lambda n=cut * 4: len(farm.handed_back) >= n, "work goes on")  # type: ignore[misc]
            client.client_kill_filter(_type="normal", skipme=True)
    for job in jobs:
        farm.wait_back(job)
    farm.wait_idle()
    assert {len(farm.handed_back[job]) for job in jobs} == {1}
    for job in jobs:
        states = [n["status"] for n in farm.handed_back[job][0]["nodes"]]
        assert states == ["completed"] * 4
