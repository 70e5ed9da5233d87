"""Looking at jobs: ``jobs``, ``show`` and ``cancel``, wherever a job is."""

from __future__ import annotations

import json
import uuid

import pytest
import redis

from myspinbot_worker.cli.setup import Setup
from myspinbot_worker.inspection import Inspector
from tests.functional.command_line import Run, one_line
from tests.functional.command_line import cli as cli
from tests.functional.command_line import on_farm as on_farm
from tests.functional.harness import Farm, graph, node, wait_until


def test_jobs_show_and_cancel(on_farm: Run, running: Farm) -> None:
    edges = [("a", "b"), ("b", "c")]
    job = running.submit(graph([node("a"), node("b", "test.gate"), node("c")], edges))
    started = running.wait_started(job, "b")

    (listed,) = [run for run in json.loads(on_farm("jobs", "--json").stdout)["open"] if run["jobId"] == job]
    assert (listed["done"], listed["nodes"], listed["running"], listed["ready"]) == (1, 3, 1, 0)
    assert listed["progress"] == pytest.approx(1 / 3)
    assert listed["admittedAt"] <= listed["startedAt"]
    assert f"{job}\t" in on_farm("jobs").stdout

    shown = json.loads(on_farm("show", job, "--json").stdout)
    assert (shown["phase"], shown["entry"]) == ("open", listed["entry"])
    states = {item["id"]: item for item in shown["nodes"]}
    assert [states[name]["state"] for name in "abc"] == ["completed", "running", "waiting"]
    assert states["b"]["worker"].endswith(f":{started['worker']}")
    assert states["b"]["attempts"] == 1
    assert states["b"]["startedAt"] >= listed["admittedAt"]
    plain = on_farm("show", job).stdout
    assert "phase\topen\n" in plain
    assert "\nb\ttest.gate\tpython\trunning\t" in plain

    cancelled = on_farm("cancel", job, "--json")
    assert json.loads(cancelled.stdout) == {"jobId": job, "cancelled": True, "running": 1}
    watched = on_farm("watch", job)
    assert watched.exit_code == 1
    assert watched.stdout.splitlines()[-1].endswith("cancelled")
    assert "no open run" in one_line(on_farm("cancel", job), 3)

    ended = json.loads(on_farm("jobs", "--json", "--limit", "1").stdout)["concluded"]
    assert [(item["jobId"], item["verdict"], item["nodes"]) for item in ended] == [(job, "cancelled", 3)]
    assert f"{job}\tcancelled\t" in on_farm("jobs").stdout
    shown = json.loads(on_farm("show", job, "--json").stdout)
    assert (shown["phase"], shown["last"]["reason"], shown["run"]) == ("ended", "cancelled", None)
    assert "phase\tended" in on_farm("show", job).stdout


def test_a_failing_node_is_shown_with_its_error(on_farm: Run, running: Farm) -> None:
    failing = node("a", "test.fail", params={"message": "out of\npaint"})
    job = running.submit(graph([failing, node("b", "test.gate")]))
    running.wait_started(job, "b")
    wait_until(lambda: running.client.hget(f"farm:run:{job}", "failing") == "1", "the node's failure")
    (run,) = [run for run in json.loads(on_farm("jobs", "--json").stdout)["open"] if run["jobId"] == job]
    assert run["failing"] is True
    shown = json.loads(on_farm("show", job, "--json").stdout)["nodes"][0]
    assert (shown["state"], shown["error"]["message"]) == ("failed", "out of\npaint")
    assert shown["worker"] == shown["error"]["details"]["worker"]
    assert "internal: out of paint" in on_farm("show", job).stdout
    running.open_gate(job, "b")
    running.wait_status(job, "failed")


def test_a_rejected_job_says_why(on_farm: Run, running: Farm) -> None:
    job = running.submit("{}", job=str(uuid.uuid4()))
    running.wait_status(job, "failed")
    watched = on_farm("watch", job)
    assert watched.exit_code == 1
    assert "rejected: graph.schema: Field required" in watched.stdout
    assert json.loads(on_farm("show", job, "--json").stdout)["last"]["verdict"] == "rejected"


def test_a_job_nobody_has_taken_up(cli: Run) -> None:
    assert cli("submit", "-", "--job-id", "j", given=json.dumps(graph([node("a")]))).exit_code == 0
    assert json.loads(cli("show", "j", "--json").stdout)["phase"] == "waiting"
    result = cli("watch", "j", "--timeout", "0.2")
    assert result.exit_code == 4
    assert "not taken up by the farm yet" in result.stdout


def test_a_job_of_the_control_plane_alone(cli: Run, text_client: redis.Redis) -> None:
    text_client.hset("job:j", mapping={"graph": "not a graph", "created": "x"})
    text_client.set("job:j:status", "queued")
    text_client.set("job:j:progress", "0.125")
    shown = json.loads(cli("show", "j", "--json").stdout)
    assert (shown["phase"], shown["status"], shown["progress"]) == ("elsewhere", "queued", 0.125)
    assert "status kept by the control plane\tqueued" in cli("show", "j").stdout


def test_entries_that_others_left_on_the_stream_do_not_count(
    redis_url: str, text_client: redis.Redis
) -> None:
    inspector: Inspector = Setup(redis_url).inspector
    entry = text_client.xadd("process:data", {"jobId": "j", "created": "1", "graph": "{}"})
    assert inspector.job("j").phase == "waiting"
    text_client.xgroup_create("process:data", "workers", id="0")
    assert inspector.job("j").phase == "waiting"
    text_client.xreadgroup("workers", "someone", {"process:data": ">"})
    assert inspector.job("j").phase == "waiting"
    text_client.xack("process:data", "workers", entry)
    assert inspector.job("j").phase == "unknown"


def test_an_empty_farm(cli: Run) -> None:
    assert json.loads(cli("jobs", "--json").stdout) == {"openTotal": 0, "open": [], "concluded": []}
    assert cli("jobs").exit_code == 0
