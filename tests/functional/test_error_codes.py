"""Every error code of docs/errors.md, produced; and none that is not there."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import myspinbot_worker.runner_pool
from myspinbot_worker import errors
from myspinbot_worker.attempt import classify
from myspinbot_worker.cli import setup
from myspinbot_worker.comfy.engine import EngineLost, InputFile, InvalidPrompt, NodeFailed
from myspinbot_worker.comfy.running import run_prompt
from myspinbot_worker.config import load_settings
from myspinbot_worker.errors import FarmError
from myspinbot_worker.runner_pool import RunnerPool
from myspinbot_worker.serving import engines_of
from myspinbot_worker.storage import Storage, StorageConfig
from myspinbot_worker.task import Task, stop_error
from tests.comfy.fake_engine import FakeComfy
from tests.comfy.prompts import node as prompt_node
from tests.preview.clips import tone, write_wav
from tests.unit.attempts import Desk, claim

from .command_line import run_in
from .harness import Farm, graph, node, wait_until
from .processes import ROOT

NOT_RAISED = {"duplicate", "network", "internal"}
"""Codes without a class of their own: of a dead letter, and of exceptions that are not ours."""
ONCE: dict[str, Any] = {"retries": {"attempt": 0, "maxAttempts": 1}}
DUMMY, UPSCALE, TALK = "dummy.dummy_task", "generate.upscale_video", "generate.infinite_talk"
ABSENT = {"bucket": "input", "key": "codes/absent", "size_bytes": 1, "created_at": "2026-01-01T00:00:00Z"}

NODES: dict[str, dict[str, Any]] = {
    "bad_params": node("a", TALK, params={}, input={"audioArtifact": ABSENT}),
    "bad_input": node("a", UPSCALE, input={"videoArtifact": "a text"}),
    "no_face": node("a", TALK, params={"imagePath": "input/codes/grey.png"}, input={"audioArtifact": "tone.wav"}),
    "bad_media": node("a", UPSCALE, input={"videoArtifact": "noise.mp4"}),
    "bad_output": node("a", "test.quote_secrets", params={"how": "bad output"}),
    "unknown_service": node("a", "no.such"),
    "artifact_missing": node("a", UPSCALE, input={"videoArtifact": ABSENT}),
    "artifact_corrupt": node("a", UPSCALE, input={"videoArtifact": "short.mp4"}, **ONCE),
    "bucket_not_allowed": node("a", UPSCALE, input={"videoArtifact": {**ABSENT, "bucket": "elsewhere"}}),
    "network": node("a", "test.connect", **ONCE),
    "out_of_memory": node("a", "test.eat", params={"times": 99}, **ONCE),
    "timeout": node("a", "test.hang", params={"how": "checking"}),
    "worker_lost": node("a", "test.exit", params={"how": "os._exit"}),
    "cancelled": node("a", "test.gate"),
    "internal": node("a", "test.fail"),
}  # fmt: skip
"""A node that fails with each code. An artifact that is a text stands for the object of that name."""


def storage_of(env: dict[str, str], **changes: Any) -> Storage:
    given: dict[str, Any] = {
        "endpoint": env["MINIO_ENDPOINT"],
        "access_key": env["MINIO_ACCESS_KEY"],
        "secret_key": env["MINIO_SECRET_KEY"],
        "use_ssl": False,
        "buckets": ("input", "staged", "output"),
    }
    return Storage(StorageConfig(**(given | changes)), retries=0)


@pytest.fixture(scope="module")
def artifacts(shared_farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Objects in storage, and how the planes tell each other about them."""
    folder, storage = tmp_path_factory.mktemp("codes"), storage_of(shared_farm.env)
    Image.new("RGB", (256, 256), "grey").save(folder / "grey.png")
    write_wav(folder / "tone.wav", tone(0.5))
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 16)
    (folder / "short.mp4").write_bytes(b"short")
    found = {
        path.name: storage.upload(path, "input", f"codes/{path.name}").model_dump()
        for path in folder.iterdir()
    }
    found["short.mp4"]["size_bytes"] += 1
    yield found
    storage.remove_prefix("input", "codes/")
    storage.close()


@pytest.mark.parametrize("code", NODES)
def test_a_node_fails_with(code: str, running: Farm, artifacts: dict[str, Any]) -> None:
    given = {name: artifacts.get(str(value), value) for name, value in NODES[code].get("input", {}).items()}
    job = running.submit(graph([NODES[code] | ({"input": given} if given else {})]))
    if code == "cancelled":
        running.wait_started(job, "a")
        running.client.zadd(running.keys.cancels, {job: 0})
    running.wait_status(job, "failed")
    error = running.snapshot(job)["nodes"][0]["error"]
    assert error["code"] == code, error
    assert error["message"]


def test_a_dead_letter_has(running: Farm) -> None:
    broken = running.submit("{", job="no-graph")
    again = graph([node("a")])
    fields = {"jobId": again["workflowId"], "created": "1", "graph": str(again).replace("'", '"')}
    for _ in range(2):
        running.client.xadd("process:data", fields)

    def codes() -> dict[str, str]:
        return {letter.get("jobId", ""): letter["code"] for letter in running.dead_letters()}

    wait_until(lambda: {broken, again["workflowId"]} <= set(codes()), "both are dead letters")
    assert codes()[broken] == "bad_entry"
    assert codes()[again["workflowId"]] == "duplicate"


def test_the_command_line_ends_with(running: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Exception] = []
    explain: Callable[..., Any] = setup._explain

    def record(error: Exception, given: setup.Setup) -> None:
        met.append(error)
        explain(error, given)

    monkeypatch.setattr(setup, "_explain", record)
    done = running.submit(graph([node("a")]))
    running.wait_back(done)
    wrong = {"FARM_LEASE_SECONDS": "soon"}
    for command, changes, code, exit_code in (
        (("retry", "nowhere"), {}, "unknown_job", 3),
        (("retry", done), {}, "retry_refused", 1),
        (("jobs",), wrong, "bad_config", 2),
    ):
        result = run_in(running.env | changes, *command)
        assert result.exit_code == exit_code, result.output
        error = met.pop()
        assert isinstance(error, FarmError)
        assert error.code == code


def test_storage_that_refuses_or_is_away(shared_farm: Farm) -> None:
    """Outside of a farm: the one that all tests share has its keys right and its server up."""
    for changes, code in (
        ({"secret_key": "not-the-key-at-all"}, "storage_refused"),
        ({"buckets": ("input", "never-made")}, "storage_refused"),
        ({"endpoint": "127.0.0.1:1"}, "storage_unavailable"),
    ):
        storage = storage_of(shared_farm.env, **changes)
        with pytest.raises(FarmError) as caught:
            storage.upload_bytes(b"x", storage.config.buckets[-1], "codes/x")
        assert caught.value.code == code, changes
        storage.close()


def test_an_engine_that_is_not_there() -> None:
    """Outside of a farm: no ComfyUI is named, and nothing takes its place."""
    with pytest.raises(FarmError) as caught:
        engines_of(load_settings({"FARM_ENGINE": "comfyui"}))
    assert caught.value.code == "engine_unavailable"


def test_a_runner_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a farm: a worker that cannot start its first one ends."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    pool = RunnerPool(0)
    with pytest.raises(FarmError) as caught:
        pool.start()
    pool.close()
    assert caught.value.code == "runner_unavailable"


def test_a_lease_that_passed_to_another() -> None:
    """Outside of a farm: a result under this code is never recorded."""
    assert stop_error("lost", "a").code == "lease_lost"


@pytest.mark.parametrize(
    ("kind", "code", "again"),
    [
        (NodeFailed, "node_failed", False),
        (EngineLost, "engine_lost", True),
        (InvalidPrompt, "bad_workflow", False),
    ],
)
def test_a_prompt_that_ends_badly(kind: type[FarmError], code: str, again: bool, tmp_path: Path) -> None:
    """Outside of a farm: the shared one has no ComfyUI. FAKE engine, as in tests/comfy."""
    engine = FakeComfy()
    engine.fails_with = kind("node 1 raised")
    task = Task(
        claim(), tmp_path, Storage(StorageConfig("127.0.0.1:1", "", "", False, ("input",))), Desk(),
        engines=lambda: engines_of(load_settings({})), comfy=lambda: engine,
    )  # fmt: skip
    prompt = {
        "1": prompt_node("SaveImage", images=["2", 0], filename_prefix="x"),
        "2": prompt_node("LoadImage"),
    }
    prompt["2"]["inputs"]["image"] = InputFile(tmp_path / "x.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "x.png")
    with pytest.raises(FarmError) as caught:
        run_prompt(task, "cpu", lambda catalog: prompt)
    assert classify(caught.value) == (code, again)


ELSEWHERE = {
    "bad_entry", "duplicate", "unknown_job", "retry_refused", "bad_config", "storage_refused",
    "storage_unavailable", "engine_unavailable", "runner_unavailable", "lease_lost",
    "node_failed", "engine_lost", "bad_workflow",
}  # fmt: skip
"""Codes of the tests that are not of a node on the farm."""


def _classes(of: type[FarmError]) -> Iterator[type[FarmError]]:
    yield of
    for kind in of.__subclasses__():
        yield from _classes(kind)


def test_the_documentation_lists_these_codes_and_no_others() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    raised = {
        kind.code for kind in _classes(FarmError) if kind.__module__.startswith(errors.__package__ or "")
    }
    assert myspinbot_worker.runner_pool.RunnerUnavailable.code in raised
    assert set(listed) == raised | NOT_RAISED
    assert set(listed) == set(NODES) | ELSEWHERE


def test_what_it_says_of_trying_again_is_so() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    again = {
        code
        for code, told in re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE)
        if told in ("yes", "once")
    }
    assert again == {kind.code for kind in _classes(FarmError) if kind.retryable} | {"network"}
