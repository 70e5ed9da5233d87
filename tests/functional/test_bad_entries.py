"""Garbage on the data stream: each entry answered once, nothing published for another job, good work unharmed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from .harness import Farm, graph, node, wait_until

Fields = dict[bytes, bytes]


def garbage(job: str, chance: random.Random) -> Fields:
    """One bad entry of a random kind, carrying the job id wherever the kind allows."""
    good = graph([node("a"), node("b")], [("a", "b")], job)

    def with_graph(change: Callable[[dict[str, Any]], Any]) -> Fields:
        document = json.loads(json.dumps(good))
        changed = change(document)
        return entry(json.dumps(document if changed is None else changed).encode())

    def entry(text: bytes) -> Fields:
        return {b"jobId": job.encode(), b"created": b"1700000000000", b"graph": text}

    text = json.dumps(good).encode()
    kinds: list[Callable[[], Fields]] = [
        lambda: {b"jobId": job.encode()},
        lambda: entry(b""),
        lambda: entry(b"not json"),
        lambda: entry(text[: chance.randint(1, len(text) - 1)]),
        lambda: entry(text + b"}"),
        lambda: entry(b"\xff\xfe" + text),
        lambda: entry(text.replace(b'"pending"', b"NaN", 1)),
        lambda: entry(text.replace(b'"edges"', b'"context": {"x": 1e999}, "edges"')),
        lambda: entry(b"[" * 100_000),
        lambda: entry(b"[]"),
        lambda: entry(b"null"),
        lambda: with_graph(lambda d: d.pop("nodes") and None),
        lambda: with_graph(lambda d: d.update(nodes=[])),
        lambda: with_graph(lambda d: d.update(schema="langgraph.v2")),
        lambda: with_graph(lambda d: d.update(extra=1)),
        lambda: with_graph(lambda d: d.update(workflowId="another-job")),
        lambda: with_graph(lambda d: d["nodes"][0].update(status="done")),
        lambda: with_graph(lambda d: d["nodes"][0].update(plane="gpu")),
        lambda: with_graph(lambda d: d["nodes"][0].update(surprise=True)),
        lambda: with_graph(lambda d: d["nodes"][0].update(params=[1])),
        lambda: with_graph(lambda d: d["nodes"][0].update(name=None)),
        lambda: with_graph(lambda d: d["nodes"][0].update(progressWeight=-1)),
        lambda: with_graph(lambda d: d["nodes"][0].update(retries={"attempt": "1"})),
        lambda: with_graph(lambda d: d["nodes"][0].pop("service") and None),
        lambda: with_graph(lambda d: d["nodes"][1].update(id="a")),
        lambda: with_graph(lambda d: d["edges"][0].update(to="nowhere")),
        lambda: with_graph(lambda d: d["edges"][0].update(kind="maybe")),
        lambda: with_graph(lambda d: d["edges"].append({"from": "b", "to": "a"})),
        lambda: with_graph(lambda d: d["edges"].append({"from": "a", "to": "a"})),
    ]
    return chance.choice(kinds)()


def test_garbage_between_good_jobs(running: Farm) -> None:
    chance = random.Random(11)
    letters_before = len(running.dead_letters())
    client = running.client
    good, bad = [], []
    for i in range(200):
        bad.append(f"garbage-{i}")
        client.xadd("process:data", garbage(bad[-1], chance))
        good.append(running.submit(graph([node("a")])))
    for job in good:
        assert running.wait_back(job)["nodes"][0]["status"] == "completed"
    running.wait_idle()
    assert {len(running.handed_back[job]) for job in good} == {1}
    letters = running.dead_letters()[letters_before:]
    assert [letter["jobId"] for letter in letters] == bad
    assert all(letter["code"] == "bad_entry" and letter["reason"] for letter in letters)
    assert {tuple(running.statuses[job]) for job in bad} == {("failed",)}
    assert "another-job" not in running.statuses
    assert running.processes[0].returncode is None


def test_entries_without_a_usable_job_id(running: Farm) -> None:
    """Dead letters without a status: there is no job to publish it for."""
    heard = set(running.statuses)
    letters_before = len(running.dead_letters())
    text = json.dumps(graph([node("a")], job="a:b"))
    entries: list[dict[Any, Any]] = [
        {"graph": text},
        {"jobId": "", "graph": text},
        {"jobId": "a:b", "graph": text},
        {b"jobId": b"\xff\xff", "graph": text},
        {"jobId": "x" * 5000, "graph": text},
        {"hello": "world"},
    ]
    for fields in entries:
        running.client.xadd("process:data", fields)
    running.wait_idle()
    assert running.client.xlen(running.keys.dead) == letters_before + len(entries)
    assert set(running.statuses) == heard


def test_a_stray_entry_does_not_fail_an_open_job(running: Farm) -> None:
    job = running.submit(graph([node("a", "test.gate")]))
    running.wait_started(job, "a")
    letters_before = running.client.xlen(running.keys.dead)
    running.client.xadd("process:data", {"jobId": job, "created": "1", "graph": "{"})
    wait_until(lambda: running.client.xlen(running.keys.dead) > letters_before, "the entry was rejected")
    running.open_gate(job, "a")
    running.wait_back(job)
    assert running.statuses[job] == ["queued", "running", "completed"]


def test_a_graph_of_10000_nodes(running: Farm) -> None:
    """Nodes of the control plane, so that the farm's own bookkeeping is what is tested."""
    size = 10_000
    nodes = [node("start"), *(node(f"n{i}", "script", "node") for i in range(size - 2)), node("never")]
    edges = [("start", "n0")] + [(f"n{i}", f"n{i + 1}") for i in range(size - 3)]
    edges.append(("start", "never", "on_failure"))  # type: ignore[arg-type]
    sent = graph(nodes, edges)
    back = running.wait_back(running.submit(sent))
    assert back["nodes"][0]["status"] == "completed"
    assert back["nodes"][-1]["status"] == "skipped"
    assert back["nodes"][1:-1] == sent["nodes"][1:-1]


def test_a_graph_that_is_too_large(running: Farm) -> None:
    job = running.submit(graph([node(f"n{i}", "script", "node") for i in range(10_001)]))
    running.wait_status(job, "failed")
    running.wait_idle()
    reasons = [letter["reason"] for letter in running.dead_letters() if letter.get("jobId") == job]
    assert reasons == ["graph.nodes has 10001 nodes; at most 10000 are taken"]
