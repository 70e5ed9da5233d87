"""``explain`` on a real server: the facts behind the paragraph are read rightly, phase by phase."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.functional.command_line import Run, one_line, run_in
from tests.functional.command_line import cli as cli
from tests.functional.command_line import on_farm as on_farm
from tests.functional.harness import Farm, graph, node, wait_until


def told(env: dict[str, str], job: str) -> str:
    result = run_in(env, "explain", job)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    return result.stdout


def test_a_job_from_its_queue_to_its_end(farm: Farm) -> None:
    ingestor = farm.start_ingestor()
    first = farm.submit(graph([node("a", "test.gate")]))
    wait_until(lambda: farm.client.llen("farm:dramatiq:gpu") == 1, "the first is queued")
    job = farm.submit(graph([node("b", "test.gate", params={"progress": 0.5}), node("c")], [("b", "c")]))
    wait_until(lambda: farm.client.llen("farm:dramatiq:gpu") == 2, "the second is queued")
    queued = told(farm.env, job)
    assert (
        "0 of 2 nodes done, 0 %. Node 'b' (test.gate) is ready and waits in the queue gpu behind 1 other."
        in queued
    )
    assert "No worker has given a sign of life" in queued
    assert "1 more node of ours waits for nodes before." in queued
    assert "waits in the queue gpu and is the next." in told(farm.env, first)

    worker = farm.start_worker(threads=1, FARM_GPU_DEVICES="none")
    farm.wait_started(first, "a")
    assert "Node 'a' (test.gate) has been running on " in told(farm.env, first)
    farm.open_gate(first, "a")
    farm.wait_started(job, "b")
    wait_until(lambda: "50 % done" in told(farm.env, job), "its progress is seen")

    ingestor.signal(signal.SIGSTOP)
    worker.kill()
    wait_until(lambda: "its lease ran out" in told(farm.env, job), "the lease ran out")
    ingestor.signal(signal.SIGCONT)
    farm.start_worker()
    farm.wait_started(job, "b")
    assert farm_cancel(farm, job) == 1
    cancelled = told(farm.env, job)
    if "open" in cancelled:
        assert "It was cancelled: nothing new starts." in cancelled
    farm.wait_status(job, "failed")
    farm.wait_idle()
    assert f"`retry {job}` sends it on from where it stopped." in told(farm.env, job)
    assert f"Job {first} was completed" in told(farm.env, first)
    farm.progress.pop(job)


def farm_cancel(farm: Farm, job: str) -> int:
    return int(json.loads(run_in(farm.env, "cancel", job, "--json").stdout)["running"])


def test_a_retry_that_is_due_later(on_farm: Run, running: Farm) -> None:
    job = running.submit(graph([node("a", "test.fail", params={"retryable": True}), node("b", "test.gate")]))
    running.wait_started(job, "b")
    running.wait_status(job, "running")
    wait_until(
        lambda: "storage_unavailable: told to fail" in on_farm("explain", job).stdout,
        "the failed attempt is seen",
    )
    running.open_gate(job, "b")
    running.wait_status(job, "failed")
    running.wait_idle()
    record = json.loads(on_farm("explain", job, "--json").stdout)
    assert (record["jobId"], record["phase"]) == (job, "ended")
    assert "failed" in record["text"]


def test_at_the_control_plane(on_farm: Run, running: Farm) -> None:
    job = running.submit(graph([node("a"), node("script", "s", "node")], [("a", "script")]))
    running.wait_back(job)
    assert "Nodes of its own are open there: 'script';" in on_farm("explain", job).stdout


def add(client: Any, job: str) -> str:
    return str(client.xadd("process:data", {"jobId": job, "created": "1", "graph": "{}"}))


def test_on_the_stream(cli: Run, text_client: Any) -> None:
    for number in range(3):
        add(text_client, f"before-{number}")
    entry = add(text_client, "j")
    alone = cli("explain", "j").stdout
    assert f"its entry {entry}, written 0 s ago, was not read yet; 3 entries before it." in alone
    assert "No ingestor is running" in alone
    text_client.xgroup_create("process:data", "workers", id="0")
    text_client.xreadgroup("workers", "c", {"process:data": ">"}, count=3)
    assert "it is the next. 1 ingestor is running" in cli("explain", "j").stdout
    text_client.xreadgroup("workers", "c", {"process:data": ">"})
    assert "was taken up once, last 0 s ago." in cli("explain", "j").stdout


def test_over_and_not_concluded(cli: Run, text_client: Any) -> None:
    text = json.dumps(graph([node("a")], job="j"))
    text_client.hset(
        "farm:run:j",
        mapping={
            "entry": "1-1",
            "size": 1,
            "s:0": "C",
            "admitted": 5,
            "progress": 1,
            "over": 1,
            "running": 0,
        },
    )
    text_client.set("farm:run:j:graph", text)
    text_client.zadd("farm:over", {"j": text_client.time()[0] * 1000})
    assert "its conclusion is due. No ingestor is running" in cli("explain", "j").stdout


def test_what_the_control_plane_alone_knows(cli: Run, text_client: Any) -> None:
    text_client.set("job:j:status", "queued")
    assert "is known to the control plane (the status it keeps is 'queued')" in cli("explain", "j").stdout
    assert one_line(cli("explain", "nowhere"), 3) == "nothing is known of job nowhere"
