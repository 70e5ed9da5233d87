"""More than the farm can do at once: floods, a Redis that is full or a replica, clocks that disagree."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3

from .conftest import farm_environment
from .harness import Farm, graph, node, wait_until
from .test_http import address

FLOOD = 20_000


def test_a_flood_is_absorbed_in_order_with_flat_memory(farm: Farm) -> None:
    """Five runs may be open, and five are; the flood waits in the stream until there is room."""
    ingestor = farm.start_ingestor(FARM_MAX_OPEN_RUNS="5")
    gated = [farm.submit(graph([node("a", "test.gate")])) for _ in range(5)]
    wait_until(lambda: farm.client.hlen(farm.keys.runs) == 5, "as many runs are open as may be")
    process = psutil.Process(ingestor.pid)
    before = process.memory_info().rss
    jobs = [f"flood-{number}" for number in range(FLOOD)]
    # Nothing is left to run in these: what is measured is admission, not workers.
    text = json.dumps(graph([node("a") | {"status": "completed", "output": {"pad": "x" * 500}}], job="JOB"))
    with farm.client.pipeline(transaction=False) as pipe:
        for job in jobs:
            fields = {"jobId": job, "created": str(time.time_ns()), "graph": text.replace("JOB", job)}
            pipe.xadd("process:data", fields)
        pipe.execute()
    (group,) = farm.client.xinfo_groups("process:data")
    assert group["pending"] <= 5 + 16, "what is in hand, and a batch"
    assert farm.client.hlen(farm.keys.runs) == 5
    farm.start_worker("-Q", "gpu")
    for job in gated:
        farm.open_gate(job, "a")
        farm.wait_back(job)
    most = before
    while farm.client.xlen("process:data"):
        most = max(most, process.memory_info().rss)
        assert farm.client.hlen(farm.keys.runs) <= 5
        time.sleep(0.05)  # a look now and then, not an event
    farm.wait_back(jobs[-1])
    assert [job for job in farm.handed_back if job.startswith("flood")] == jobs, (
        "in order, none dropped, none twice"
    )
    assert {len(found) for found in farm.handed_back.values()} == {1}
    assert most - before < 16 << 20, "memory is flat"


def test_several_ingestors_keep_one_limit(farm: Farm) -> None:
    for _ in range(2):
        farm.start_ingestor(FARM_MAX_OPEN_RUNS="3")
    jobs = [farm.submit(graph([node("a", "test.gate")])) for _ in range(12)]
    farm.start_worker("-Q", "gpu", threads=2)
    for count in range(12):
        wait_until(lambda: farm.client.hlen(farm.keys.runs) >= min(3, 12 - count), "there is work")  # noqa: B023
        assert farm.client.hlen(farm.keys.runs) <= 3
        said = farm.client.blpop([f"test:started:{job}:a" for job in jobs], timeout=30)
        farm.open_gate(said[0].split(":")[2], "a")
    for job in jobs:
        farm.wait_back(job)


def full(client: Any) -> None:
    client.config_set("maxmemory", "1")


def room_again(client: Any) -> None:
    client.config_set("maxmemory", "0")


def replica(client: Any) -> None:
    client.replicaof("127.0.0.1", 1)


def primary_again(client: Any) -> None:
    client.replicaof("no", "one")


@pytest.mark.parametrize(
    ("refuse", "relent", "said"),
    [
        pytest.param(full, room_again, "maxmemory", id="out of memory"),
        pytest.param(replica, primary_again, "read only replica", id="read-only replica"),
    ],
)
def test_redis_refuses_to_write(
    own_redis: Callable[..., EmbeddedRedis],
    s3_server: EmbeddedS3,
    tmp_path: Path,
    refuse: Callable[[Any], None],
    relent: Callable[[Any], None],
    said: str,
) -> None:
    """Results in hand wait, nothing is lost, and health says what is wrong."""
    server = own_redis(config=("--maxmemory-policy", "noeviction"))
    with Farm(farm_environment(server.url, s3_server, tmp_path)) as farm:
        url = address(farm.start_ingestor())
        farm.start_worker(count=2)
        long = farm.submit(graph([node("a", "test.nap", params={"seconds": 1.0}), node("b")], [("a", "b")]))
        farm.wait_started(long, "a")
        jobs = [farm.submit(graph([node("a"), node("b")], [("a", "b")])) for _ in range(50)]
        wait_until(lambda: len(farm.handed_back) >= 5, "work is on")
        refuse(farm.client)
        wait_until(lambda: httpx.get(f"{url}/ready", timeout=30).status_code == 503, "it says so")
        assert said in httpx.get(f"{url}/ready", timeout=30).json()["checks"]["redis"]
        assert httpx.get(f"{url}/health", timeout=30).status_code == 200, "the process is well"
        for process in farm.processes:
            assert process.returncode is None
        relent(farm.client)
        for job in (long, *jobs):
            farm.wait_back(job)
        farm.wait_idle()
        assert {len(farm.handed_back[job]) for job in (long, *jobs)} == {1}
        states = {n["status"] for job in (long, *jobs) for n in farm.handed_back[job][0]["nodes"]}
        assert states == {"completed"}
        assert httpx.get(f"{url}/ready", timeout=30).status_code == 200


def test_clocks_that_are_minutes_apart_change_nothing(farm: Farm) -> None:
    """A worker five minutes ahead and one five minutes behind: nothing is taken from a living holder."""
    farm.start_ingestor()
    modules = f"{farm.env['FARM_ACTOR_MODULES']},tests.functional.skewed_clock"
    ahead, behind = (
        farm.start_worker("-Q", "gpu", FARM_ACTOR_MODULES=modules, TEST_CLOCK_AHEAD_SECONDS=seconds)
        for seconds in ("300", "-300")
    )
    jobs = [farm.submit(graph([node("a", "test.gate")])) for _ in range(2)]
    workers = {farm.wait_started(job, "a")["worker"] for job in jobs}
    assert workers == {*ahead.worker_pids(), *behind.worker_pids()}
    # Long enough for three leases and a heartbeat; other jobs go on meanwhile.
    farm.start_worker("-Q", "cpu")
    for _ in range(3):
        farm.wait_back(farm.submit(graph([node("a", "test.nap", params={"seconds": 2.0})])))
    now = farm.client.time()[0] * 1000
    beats = farm.client.zrange(f"{farm.keys.broker}:__heartbeats__", 0, -1, withscores=True)
    assert all(abs(beat - now) < 60_000 for _, beat in beats), "everybody's heart beats by Redis' clock"
    for job in jobs:
        farm.open_gate(job, "a")
        assert farm.wait_back(job)["nodes"][0]["output"] == {"attempt": 1}
        assert farm.client.llen(f"test:started:{job}:a") == 0, "started once"
    assert farm.client.hget(farm.keys.counters, "redeliveries") is None
