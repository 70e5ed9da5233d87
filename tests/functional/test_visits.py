"""Whole visits through real processes: what comes back on ``process:control``, once and complete."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from myspinbot_worker.graph.payload import merge_input

from .harness import Farm, graph, node, wait_until


def inputs_seen(farm: Farm, job: str, node_id: str) -> list[Any]:
    return [json.loads(text) for text in farm.client.lrange(f"test:inputs:{job}:{node_id}", 0, -1)]


def check_complete(farm: Farm, sent: dict[str, Any], back: dict[str, Any]) -> None:
    """The graph came back once, complete, every input the merge of its sources' outputs in edge order."""
    job = sent["workflowId"]
    assert farm.statuses[job] == ["queued", "running", "completed"]
    assert farm.progress[job][-1] == 1
    assert [n["id"] for n in back["nodes"]] == [n["id"] for n in sent["nodes"]]
    assert back["edges"] == sent["edges"]
    outputs = {n["id"]: json.dumps(n["output"]) for n in back["nodes"]}
    for n in back["nodes"]:
        assert n["status"] == "completed"
        merged = merge_input(None, [outputs[e["from"]] for e in sent["edges"] if e["to"] == n["id"]])
        expected = json.loads(merged) if merged else {}
        assert n.get("input", {}) == expected
        if n["service"] == "test.echo":
            assert inputs_seen(farm, job, n["id"]) == [expected], "started once, with the right input"
    assert farm.snapshot(job) == back


def test_single_node(running: Farm) -> None:
    sent = graph([node("only", "dummy.dummy_task")])
    back = running.wait_back(running.submit(sent))
    expected = {**sent["nodes"][0], "status": "completed", "output": {"currentProgress": 1.0}}
    assert back == {**sent, "nodes": [expected]}
    assert running.statuses[sent["workflowId"]] == ["queued", "running", "completed"]


def test_chain_of_20(running: Farm) -> None:
    nodes = [node(f"n{i}", params={"output": {f"k{i}": i, "last": i}}) for i in range(20)]
    sent = graph(nodes, [(f"n{i}", f"n{i + 1}") for i in range(19)])
    check_complete(running, sent, running.wait_back(running.submit(sent)))


def test_fan_of_50_into_a_join(running: Farm) -> None:
    nodes = [
        node("source"),
        *(node(f"n{i}", params={"output": {f"k{i}": i, "last": i}}) for i in range(50)),
        node("join"),
    ]
    order = list(range(50))
    random.Random(7).shuffle(order)
    edges = [("source", f"n{i}") for i in range(50)] + [(f"n{i}", "join") for i in order]
    sent = graph(nodes, edges)
    back = running.wait_back(running.submit(sent))
    check_complete(running, sent, back)
    assert back["nodes"][-1]["input"]["last"] == order[-1], "later edges win"


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs(running: Farm, seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randint(5, 25)
    nodes = [
        node(
            f"n{i}",
            params={"output": {chance.choice("abc"): i, f"o{i}": [], "x": 1.0}},
            progressWeight=chance.random(),
        )
        for i in range(count)
    ]
    edges = [(f"n{a}", f"n{b}") for a in range(count) for b in range(a + 1, count) if chance.random() < 0.2]
    chance.shuffle(edges)
    shuffled = list(nodes)
    chance.shuffle(shuffled)
    sent = graph(shuffled, edges)
    check_complete(running, sent, running.wait_back(running.submit(sent)))


def test_a_job_visits_twice(running: Farm) -> None:
    """python → node → python: handed back when only the control plane can go on, and taken again."""
    sent = graph(
        [node("a"), node("b", "script", "node"), node("c", params={"output": {"c": 3}})],
        [("a", "b"), ("b", "c")],
    )
    first = running.wait_back(running.submit(sent))
    assert [n["status"] for n in first["nodes"]] == ["completed", "pending", "pending"]
    assert running.statuses[sent["workflowId"]] == ["queued", "running"]
    first["nodes"][1] |= {"status": "completed", "output": {"text": "hello"}}
    running.submit(first)
    second = running.wait_back(sent["workflowId"], 2)
    assert [n["status"] for n in second["nodes"]] == ["completed"] * 3
    assert second["nodes"][2]["input"] == {"text": "hello"}
    assert running.progress[sent["workflowId"]] == sorted(running.progress[sent["workflowId"]])


def test_only_the_control_plane_can_go_on(running: Farm) -> None:
    sent = graph([node("a", "script", "node"), node("b")], [("a", "b")])
    assert running.wait_back(running.submit(sent)) == sent
    assert sent["workflowId"] not in running.statuses, "nothing was queued, nothing ran"


def test_everything_was_done_already(running: Farm) -> None:
    sent = graph([node("a", output={"x": 1}) | {"status": "completed"}])
    assert running.wait_back(running.submit(sent)) == sent
    assert running.statuses[sent["workflowId"]] == ["completed"]


def test_running_and_ready_nodes_are_ours_to_run(running: Farm) -> None:
    sent = graph([node("a") | {"status": "running"}, node("b") | {"status": "ready"}])
    back = running.wait_back(running.submit(sent))
    assert [n["status"] for n in back["nodes"]] == ["completed", "completed"]


def test_untouched_parts_come_back_byte_for_byte(running: Farm) -> None:
    context = (
        '{"big": 12345678901234567890123, "e": 1E2, "zero": -0.0, "empty": [], "t": "\\ud83d", "n": null}'
    )
    text = (
        '{ "schema":"langgraph.v1","workflowId":"JOB", "context": ' + context + ',\n"metadata":{"a":[ ]},'
        '"nodes":[ {"id":"ours","service":"test.echo","plane":"python","status":"pending","tags":null,'
        '"params":{"output":{"list":[],"one":1.0}},"progressWeight":1.5},'
        ' {"id":"theirs" , "service":"x","plane":"node","status":"pending","telemetry":{"q":[ 1,2 ]}} ],'
        '"edges":[{"from":"ours","to":"theirs","metadata":null}]}'
    ).replace("JOB", "bytes-1")
    running.wait_back(running.submit(text, "bytes-1"))
    expected = text.replace('"status":"pending","tags"', '"status":"completed","tags"').replace(
        '"progressWeight":1.5}', '"progressWeight":1.5,"output":{"list": [], "one": 1.0}}'
    )
    assert running.raw_hand_backs["bytes-1"] == [expected]


def test_failure_without_a_handler_fails_the_job(running: Farm) -> None:
    sent = graph([node("a", "test.fail"), node("b")], [("a", "b")])
    job = running.submit(sent)
    running.wait_status(job, "failed")
    running.wait_idle()
    assert job not in running.handed_back
    first, second = running.snapshot(job)["nodes"]
    assert first["status"] == "failed"
    assert first["error"]["code"] == "internal"
    assert first["error"]["message"] == "told to fail"
    assert first["error"]["details"]["type"] == "ValueError"
    assert second["status"] == "skipped"


def test_failure_is_taken_up(running: Farm) -> None:
    sent = graph(
        [
            node("a", "test.fail"),
            node("ok"),
            node("rescue", params={"output": {"saved": True}}),
            node("after"),
        ],
        [("a", "ok", "on_success"), ("a", "rescue", "on_failure"), ("rescue", "after")],
    )
    job = running.submit(sent)
    running.wait_status(job, "completed")
    running.wait_idle()
    assert job not in running.handed_back, "the deployed control plane would send it round for ever"
    assert [n["status"] for n in running.snapshot(job)["nodes"]] == [
        "failed",
        "skipped",
        "completed",
        "completed",
    ]
    assert running.progress[job][-1] == 1


def test_a_failing_job_lets_what_runs_finish_and_starts_nothing_new(running: Farm) -> None:
    sent = graph([node("bad", "test.fail"), node("slow", "test.gate"), node("next")], [("slow", "next")])
    job = running.submit(sent)
    running.wait_started(job, "slow")
    wait_until(
        lambda: running.client.hget(running.keys.run(job), "failing") == "1", "the failure was recorded"
    )
    running.open_gate(job, "slow")
    running.wait_status(job, "failed")
    running.wait_idle()
    states = {n["id"]: n["status"] for n in running.snapshot(job)["nodes"]}
    assert states == {"bad": "failed", "slow": "completed", "next": "pending"}


def test_retries_until_it_works(running: Farm) -> None:
    sent = graph([node("a", "test.fail", params={"times": 2, "retryable": True})])
    back = running.wait_back(running.submit(sent))
    assert back["nodes"][0]["status"] == "completed"
    assert back["nodes"][0]["output"] == {"attempts": 3}
    assert back["nodes"][0]["retries"] == {"attempt": 3}
    assert "error" not in back["nodes"][0]


def test_retries_run_out(running: Farm) -> None:
    sent = graph(
        [node("a", "test.fail", params={"retryable": True}, retries={"attempt": 0, "maxAttempts": 2})]
    )
    job = running.submit(sent)
    running.wait_status(job, "failed")
    running.wait_idle()
    failed = running.snapshot(job)["nodes"][0]
    assert failed["retries"] == {"attempt": 2, "maxAttempts": 2}
    assert failed["error"]["code"] == "storage_unavailable"


def test_unknown_service(running: Farm) -> None:
    sent = graph([node("a", "no.such_service"), node("rescue")], [("a", "rescue", "on_failure")])
    job = running.submit(sent)
    running.wait_status(job, "completed")
    running.wait_idle()
    error = running.snapshot(job)["nodes"][0]["error"]
    assert error["code"] == "unknown_service"
    assert "no.such_service" in error["message"]


@pytest.mark.parametrize(
    ("service", "params", "given", "code", "named"),
    [
        ("generate.f5_to_tts", {}, {"narration": "hi"}, "bad_params", "params.audioPath"),
        ("generate.f5_to_tts", {"audioPath": 7}, {"narration": "hi"}, "bad_params", "params.audioPath"),
        ("generate.f5_to_tts", {"audioPath": "input/x.wav"}, {}, "bad_input", "input.narration"),
        ("generate.f5_to_tts", {"audioPath": "input/x.wav"}, {"narration": "  "}, "bad_input", "narration"),
        (
            "generate.f5_to_tts",
            {"audioPath": "other/x.wav"},
            {"narration": "hi"},
            "bucket_not_allowed",
            "other",
        ),
        (
            "generate.f5_to_tts",
            {"audioPath": "input/none.wav"},
            {"narration": "hi"},
            "artifact_missing",
            "none.wav",
        ),
        (
            "generate.upscale_video",
            None,
            {"videoArtifact": {"bucket": "staged"}},
            "bad_input",
            "videoArtifact.key",
        ),
        ("generate.upscale_video", None, "text", "bad_input", "input"),
    ],
)
def test_bad_params_and_input_name_the_field(
    running: Farm, service: str, params: Any, given: Any, code: str, named: str
) -> None:
    job = running.submit(graph([node("a", service, params=params, input=given)]))
    running.wait_status(job, "failed")
    running.wait_idle()
    error = running.snapshot(job)["nodes"][0]["error"]
    assert error["code"] == code
    assert named in error["message"]


def test_capabilities(running: Farm) -> None:
    sent = graph([node("a", "info.get_capabilities", params={"includeSchema": False})])
    manifest = json.loads(running.wait_back(running.submit(sent))["nodes"][0]["output"]["workerCaps"])
    services = {item["id"] for item in manifest["capabilities"]}
    assert {
        "dummy.dummy_task",
        "generate.f5_to_tts",
        "generate.infinite_talk",
        "generate.upscale_video",
    } <= services


def test_data_is_published_as_a_string(running: Farm) -> None:
    job = running.submit(
        graph([node("a", "test.publish", params={"items": ["text", {"frame": 1}, [1.5, None]]})])
    )
    running.wait_back(job)
    assert running.data[job] == ["text", '{"frame": 1}', "[1.5, null]"]


def test_weights_past_one_are_normalised(running: Farm) -> None:
    sent = graph([node("a", progressWeight=1.0), node("b", progressWeight=0.5)], [("a", "b")])
    job = running.submit(sent)
    running.wait_back(job)
    assert running.progress[job] == pytest.approx([2 / 3, 1, 1], abs=1e-5)


def test_attempts_leave_no_orphaned_objects(running: Farm) -> None:
    from myspinbot_worker.storage import Storage, StorageConfig

    env = running.env
    storage = Storage(
        StorageConfig(
            env["MINIO_ENDPOINT"],
            env["MINIO_ACCESS_KEY"],
            env["MINIO_SECRET_KEY"],
            False,
            ("input", "staged", "output"),
        )
    )
    job = running.submit(graph([node("a", "test.artifact", params={"fail_first": 1})]))
    output = running.wait_back(job)["nodes"][0]["output"]
    assert output["text"] == "attempt 2"
    wait_until(
        lambda: storage.list_keys("staged", f"{job}/") == [output["kept"]["key"]], "one object is left"
    )


def test_doubled_entries_run_once(running: Farm) -> None:
    sent = graph([node("a", "test.gate")])
    text = json.dumps(sent)
    fields = {"jobId": sent["workflowId"], "created": "1700000000000", "graph": text}
    for _ in range(3):
        running.client.xadd("process:data", fields)
    running.wait_started(sent["workflowId"], "a")
    running.open_gate(sent["workflowId"], "a")
    running.wait_back(sent["workflowId"])
    running.client.xadd("process:data", fields)
    running.wait_idle()
    assert len(running.handed_back[sent["workflowId"]]) == 1
    duplicates = [letter for letter in running.dead_letters() if letter.get("jobId") == sent["workflowId"]]
    assert [letter["code"] for letter in duplicates] == ["duplicate"] * 3
    assert running.statuses[sent["workflowId"]] == ["queued", "running", "completed"]


def test_another_graph_of_an_open_job_waits_its_turn(running: Farm) -> None:
    first = graph([node("a", "test.gate")])
    job = running.submit(first)
    running.wait_started(job, "a")
    running.submit(graph([node("b")], job=job))
    running.open_gate(job, "a")
    assert [n["id"] for n in running.wait_back(job, 1)["nodes"]] == ["a"]
    assert [n["id"] for n in running.wait_back(job, 2)["nodes"]] == ["b"]


def test_nothing_is_published_after_the_hand_back(running: Farm) -> None:
    """In the order Redis executed them: all messages of the visit, then XADD, then nothing."""
    sent = graph([node(f"n{i}", "dummy.dummy_task", params={"steps": 3}) for i in range(10)])
    job = sent["workflowId"]
    events: list[str] = []
    with running.client.monitor() as monitor:
        running.submit(sent)
        for command in monitor.listen():
            words = command["command"].split()
            if words[0] == "PUBLISH" and words[1].endswith(job):
                events.append(words[1].split(":")[1])
            elif words[0] == "XADD" and words[1] == "process:control" and job in command["command"]:
                events.append("hand-back")
            elif words[0] == "XACK":
                break
    running.wait_back(job)
    running.wait_idle()
    assert events[0] == "status"
    assert events[-2:] == ["status", "hand-back"]
    published = len(running.progress[job]) + len(running.statuses[job])
    assert published == len(events) - 1, "no message came later"
