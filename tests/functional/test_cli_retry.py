"""``retry``: a failed or cancelled job goes on from where it stopped, once, and keeps what is finished."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from myspinbot_worker.cli.setup import Setup
from myspinbot_worker.errors import JobUnknown, RetryRefused
from myspinbot_worker.repair.retrying import Retried
from tests.functional.command_line import Run, one_line
from tests.functional.command_line import cli as cli
from tests.functional.command_line import on_farm as on_farm
from tests.functional.harness import Farm, graph, node

ERROR = {"message": "told to fail", "code": "internal"}


def failed_graph(job: str = "j", **fields: Any) -> dict[str, Any]:
    """A snapshot as the farm leaves it: a is done, b has failed, c was skipped because of it."""
    done = node("a", output={"x": 1}) | {"status": "completed"}
    bad = node("b", params={"k": 1}, error=ERROR, retries={"attempt": 2}) | {"status": "failed"} | fields
    return graph([done, bad, node("c") | {"status": "skipped"}], [("a", "b"), ("b", "c")], job)


@pytest.fixture
def snapshot(text_client: Any) -> dict[str, Any]:
    sent = failed_graph()
    text_client.hset("job:j", mapping={"graph": json.dumps(sent), "created": "1"})
    return sent


def sent_graphs(client: Any) -> list[dict[str, Any]]:
    return [json.loads(fields["graph"]) for _, fields in client.xrange("process:data")]


# On a real farm.


def test_a_failed_job_goes_on_with_other_params(on_farm: Run, running: Farm) -> None:
    nodes = [
        node("a", params={"output": {"from": "a", "n": 1}}),
        node("b.1", "test.fail", params={"message": "no paint", "keep": [1.0]}, retries={"maxAttempts": 2}),
        node("c"),
    ]
    job = running.submit(graph(nodes, [("a", "b.1"), ("b.1", "c")]))
    running.wait_status(job, "failed")
    running.wait_idle()
    before = running.snapshot(job)
    assert [item["status"] for item in before["nodes"]] == ["completed", "failed", "skipped"]
    # The failed node counted as done; what is retried is counted anew from what is kept.
    running.progress.pop(job)

    told = json.loads(on_farm("retry", job, "--set", "b.1.times=0", "--json").stdout)
    assert (told["jobId"], told["again"], told["revived"], told["kept"]) == (job, ["b.1"], ["c"], 1)
    after = running.wait_back(job)
    assert [item["status"] for item in after["nodes"]] == ["completed"] * 3
    assert after["nodes"][0] == before["nodes"][0]
    assert after["nodes"][1]["params"] == {"message": "no paint", "keep": [1.0], "times": 0}
    assert after["nodes"][1]["error"] is None
    assert after["nodes"][1]["retries"] == {"attempt": 1, "maxAttempts": 2}
    assert running.client.llen(f"test:inputs:{job}:a") == 1, "a finished node ran again"
    assert running.statuses[job] == ["queued", "running", "failed", "queued", "running", "completed"]
    running.wait_idle()
    assert "no node of it has failed" in one_line(on_farm("retry", job), 1)


def test_a_cancelled_job_goes_on(on_farm: Run, running: Farm) -> None:
    job = running.submit(graph([node("a"), node("b", "test.gate"), node("c")], [("a", "b"), ("b", "c")]))
    running.wait_started(job, "b")
    assert "has an open run" in one_line(on_farm("retry", job), 1)
    assert on_farm("cancel", job).exit_code == 0
    running.wait_status(job, "failed")
    running.wait_idle()
    running.progress.pop(job)
    assert on_farm("retry", job).exit_code == 0
    running.wait_started(job, "b")
    running.open_gate(job, "b")
    assert [item["status"] for item in running.wait_back(job)["nodes"]] == ["completed"] * 3
    assert running.client.llen(f"test:inputs:{job}:a") == 1


# On a Redis alone.


def test_what_is_sent(cli: Run, text_client: Any, snapshot: dict[str, Any]) -> None:
    told = cli("retry", "j", "--params", "b", '{"new": [1.0]}', "--set", "b.k=text", "--set", 'b.l="2"')
    assert told.exit_code == 0
    ((entry, fields),) = text_client.xrange("process:data")
    assert (
        told.stdout
        == f"job j goes on as entry {entry}: again b, skipped ones revived: 1, finished ones kept: 1\n"
    )
    assert fields["jobId"] == "j"
    assert int(fields["created"]) > 1
    assert '"params":{"new":[1.0],"k":"text","l":"2"}' in fields["graph"]
    again = json.loads(fields["graph"])
    assert [item["status"] for item in again["nodes"]] == ["completed", "pending", "pending"]
    assert (again["nodes"][1]["error"], again["nodes"][1]["retries"]) == (None, {"attempt": 0})
    assert again["nodes"][0] == snapshot["nodes"][0]
    assert text_client.hgetall("job:j") == {"graph": fields["graph"], "created": fields["created"]}
    assert 0 < text_client.ttl("job:j") <= 43_200
    assert f"its entry is {entry}" in one_line(cli("retry", "j"), 1)
    assert text_client.xlen("process:data") == 1


def test_params_from_a_file(cli: Run, text_client: Any, snapshot: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text('\n{"from": "file"}\n')
    assert cli("retry", "j", "--params", "b", f"@{tmp_path}/params.json").exit_code == 0
    assert sent_graphs(text_client)[0]["nodes"][1]["params"] == {"from": "file"}


def test_of_several_retries_at_once_one_is_sent(redis_url: str, text_client: Any) -> None:
    text_client.hset("job:j", mapping={"graph": json.dumps(failed_graph()), "created": "1"})
    ready = threading.Barrier(4)
    results: list[object] = []

    def retry() -> None:
        jobs = Setup(redis_url).job_retry
        ready.wait()
        try:
            results.append(jobs.retry("j"))
        except RetryRefused as refusal:
            results.append(refusal)

    threads = [threading.Thread(target=retry) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([result for result in results if isinstance(result, Retried)]) == 1
    assert text_client.xlen("process:data") == 1


def test_a_snapshot_that_changes_meanwhile_is_read_again(
    redis_url: str, text_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Setup(redis_url).job_retry
    text_client.hset("job:j", mapping={"graph": json.dumps(failed_graph()), "created": "1"})
    look, looks = jobs._snapshot, []

    def look_and_be_late(job: str) -> tuple[bytes, bytes]:
        found = look(job)
        looks.append(found)
        if len(looks) == 1:
            text_client.hset("job:j", "graph", json.dumps(failed_graph(name="another")))
        return found

    monkeypatch.setattr(jobs, "_snapshot", look_and_be_late)
    assert jobs.retry("j").resumed.again == ("b",)
    assert len(looks) == 2
    assert sent_graphs(text_client)[0]["nodes"][1]["name"] == "another"


def test_a_snapshot_that_never_rests(
    redis_url: str, text_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Setup(redis_url).job_retry
    text_client.hset("job:j", mapping={"graph": json.dumps(failed_graph()), "created": "1"})
    stale = json.dumps(failed_graph(name="stale")).encode()
    monkeypatch.setattr(jobs, "_snapshot", lambda job: (stale, b"1"))
    with pytest.raises(RetryRefused, match="changes all the time"):
        jobs.retry("j")
    assert not text_client.exists("process:data")


def test_a_run_that_opens_meanwhile(
    redis_url: str, text_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Setup(redis_url).job_retry
    text = json.dumps(failed_graph())
    monkeypatch.setattr(jobs, "_snapshot", lambda job: (text.encode(), b"1"))
    text_client.hset("farm:run:j", "entry", "1-1")
    with pytest.raises(RetryRefused, match="has an open run"):
        jobs.retry("j")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "b.k"], "is not NODE.KEY=VALUE"),
        (["--set", "b=1"], "is not NODE.KEY=VALUE"),
        (["--set", "=1"], "is not NODE.KEY=VALUE"),
        (["--set", ".k=1"], "is not NODE.KEY=VALUE"),
        (["--params", "b", "{"], "not JSON: Expecting property name"),
        (["--params", "b", "@/no/such/file"], "/no/such/file: No such file"),
        (["--params", "b", "@/"], "Is a directory"),
        (["--params", "b"], "requires 2 arguments"),
        (["--params", "b", '{"x": NaN}'], "NaN is not JSON"),
    ],
)
def test_wrong_edits(
    cli: Run, text_client: Any, snapshot: dict[str, Any], arguments: list[str], words: str
) -> None:
    result = cli("retry", "j", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not text_client.exists("process:data")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "nope.k=1"], "job j: there is no node 'nope'"),
        (["--params", "a", "{}"], "node 'a' is completed and will not run again"),
        (["--params", "b", "[1]"], "params of node 'b': an object or null is wanted"),
    ],
)
def test_edits_that_do_not_fit(
    cli: Run, text_client: Any, snapshot: dict[str, Any], arguments: list[str], words: str
) -> None:
    assert words in one_line(cli("retry", "j", *arguments), 1)
    assert not text_client.exists("process:data")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nodes": 1}', "\udcff"])
def test_a_snapshot_that_is_no_graph(cli: Run, text_client: Any, text: str) -> None:
    text_client.hset("job:j", "graph", text.encode(errors="surrogateescape"))
    assert "its snapshot is no usable graph" in one_line(cli("retry", "j"), 1)


def test_a_snapshot_of_another_job(cli: Run, text_client: Any) -> None:
    text_client.hset("job:j", "graph", json.dumps(failed_graph("k")))
    assert "the farm would refuse the graph: graph.workflowId 'k'" in one_line(cli("retry", "j"), 1)


def test_a_job_whose_snapshot_is_gone(cli: Run, text_client: Any, redis_url: str) -> None:
    text_client.set("job:j:status", "failed")
    assert "has no snapshot any more" in one_line(cli("retry", "j"), 1)
    assert one_line(cli("retry", "nowhere"), 3) == "nothing is known of job nowhere"
    with pytest.raises(JobUnknown):
        Setup(redis_url).job_retry.retry("nowhere")
