"""Workflows as services, in this process: real storage, a FAKE ComfyUI (tests/comfy/fake_engine.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from myspinbot_worker.attempt import run_attempt
from myspinbot_worker.capability import Capability, Registry
from myspinbot_worker.comfy import running
from myspinbot_worker.comfy.capabilities import register_workflows
from myspinbot_worker.comfy.engine import InvalidPrompt, NodeFailed
from myspinbot_worker.comfy.rendering import render_capability
from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.errors import (
    BadInput,
    BadOutput,
    BadParams,
    Cancelled,
    EngineUnavailable,
    FarmError,
    UntrueOutput,
)
from myspinbot_worker.settings import ComfySettings
from myspinbot_worker.storage import Storage, StorageConfig
from myspinbot_worker.task import StopReason, Task
from tests.comfy.fake_engine import FakeComfy
from tests.comfy.prompts import node, scaled
from tests.unit.attempts import claim

from .processes import ROOT


def _none() -> Any:
    raise AssertionError("a workflow asks for none of the other engines")


class Bench:
    """One attempt after another, and everything they tell: a task's channel."""

    def __init__(self, storage: Storage, folder: Path) -> None:
        self.storage, self.folder, self.engine = storage, folder, FakeComfy()
        self.times: dict[str, float] = {}
        self.fractions: list[float] = []
        self.data: list[Any] = []
        self.device: list[str] = []
        self.stop_reason: StopReason | None = None
        self._count = 0

    def run(
        self, capability: Capability, params: Any = None, given: Any = None, *, comfy: bool = True
    ) -> dict[str, Any]:
        self._count += 1
        scratch = self.folder / f"attempt-{self._count}"
        scratch.mkdir()
        what = claim(
            job="workflows",
            token=self._count,
            params=json.dumps(params or {}),
            input=json.dumps(given or {}),
            progress=0.25,
        )
        task = Task(
            what,
            scratch,
            self.storage,
            self,
            engines=_none,
            comfy=(lambda: self.engine) if comfy else None,
            node_times=self.times,
        )
        found: dict[str, Any] = json.loads(run_attempt(capability, task, what))
        return found

    def picture(self, artifact: Mapping[str, Any]) -> Image.Image:
        path = self.storage.download(artifact["bucket"], artifact["key"], self.folder / "found.png")
        with Image.open(path) as picture:
            return picture.convert("RGB")

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)

    def publish(self, text: str) -> None:
        self.data.append(json.loads(text))

    def uploads(self) -> None:
        pass

    def kept(self) -> None:
        pass

    def moved(self, direction: str, size: int) -> None:
        pass

    def looked_up(self, fetched: Any) -> None:
        pass

    def uses_device(self, use: str) -> None:
        self.device.append(use)

    def node_times(self, seconds: Mapping[str, float]) -> None:
        self.times |= seconds


@pytest.fixture
def storage(s3_server: EmbeddedS3) -> Iterator[Storage]:
    found = Storage(
        StorageConfig(
            s3_server.endpoint,
            s3_server.access_key,
            s3_server.secret_key,
            False,
            ("input", "staged", "output"),
        )
    )
    yield found
    for bucket in found.config.buckets:
        found.remove_prefix(bucket, "workflows")
    found.close()


@pytest.fixture
def bench(storage: Storage, tmp_path: Path) -> Bench:
    return Bench(storage, tmp_path)


@pytest.fixture
def picture(storage: Storage, tmp_path: Path) -> dict[str, Any]:
    Image.new("RGB", (8, 4), (255, 0, 10)).save(tmp_path / "picture.png")
    return storage.upload(tmp_path / "picture.png", "input", "workflows/picture.png").model_dump()


def services(folder: Path) -> dict[str, Capability]:
    registry = Registry()
    assert (
        register_workflows(ComfySettings(workflows_dir=folder), ("input", "staged", "output"), registry) == []
    )
    return {item.id: item for item in registry}


def example(name: str) -> Capability:
    return services(ROOT / "examples" / "workflows")[name]


def made(folder: Path, binding: str, prompt: Any = None) -> Capability:
    (folder / "x.workflow.json").write_text(json.dumps(prompt or scaled()))
    (folder / "x.capability.yaml").write_text(binding)
    (found,) = services(folder).values()
    return found


def test_an_artifact_goes_in_and_one_comes_out(bench: Bench, picture: dict[str, Any]) -> None:
    output = bench.run(
        example("image.enlarge"),
        {"width": 32, "height": 16},
        {"imageArtifact": picture, "currentProgress": 0.5},
    )
    assert set(output) == {"imageArtifact", "currentProgress"}
    artifact = output["imageArtifact"]
    assert (artifact["bucket"], artifact["content_type"]) == ("output", "image/png")
    assert artifact["key"].endswith("/1/imageArtifact.png")
    assert bench.picture(artifact).size == (32, 16)
    assert output["currentProgress"] == 1.0
    assert bench.device == ["held", "free"]
    ((prompt, owner),) = bench.engine.ran
    assert owner == "test.service"
    assert prompt["2"]["inputs"]["upscale_method"] == "lanczos"


def test_a_path_in_params_serves_too(bench: Bench, picture: dict[str, Any]) -> None:
    output = bench.run(example("image.invert"), {"imagePath": "input/workflows/picture.png"})
    assert bench.picture(output["imageArtifact"]).getpixel((1, 1)) == (0, 255, 245)
    assert output["currentProgress"] == 0.75


def test_times_of_one_run_weigh_the_progress_of_the_next(
    bench: Bench, picture: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "ETA_EVERY_SECONDS", 0.02)
    slow = {**scaled(), "4": node("Wait", images=["2", 0], steps=40)}
    slow["3"]["inputs"]["images"] = ["4", 0]
    service = made(
        tmp_path,
        "id: a.slow\ninputs: {imageArtifact: {node: 1, input: image}}\noutputs: {x: {node: 3}}",
        slow,
    )
    bench.run(service, {}, {"imageArtifact": picture})
    assert set(bench.times) == {"LoadImage", "ImageScale", "Wait", "SaveImage"}
    assert bench.times["Wait"] >= 0.4
    assert bench.data == []
    bench.fractions.clear()
    bench.run(service, {}, {"imageArtifact": picture})
    assert bench.fractions == sorted(bench.fractions)
    # The slow node is nearly all of it, and its own bar counts.
    assert any(0.2 < fraction < 0.8 for fraction in bench.fractions)
    left = [one["eta"] for one in bench.data]
    assert len(left) >= 3
    assert left[0] >= 0.4
    assert left[-1] < left[0]


@pytest.mark.parametrize(
    ("params", "given", "error", "said"),
    [
        ({"width": 0}, {}, BadParams, "params.width"),
        ({"method": "magic"}, {}, BadParams, "params.method"),
        ({}, {"imageArtifact": None}, BadInput, "input.imageArtifact"),
        ({}, {"imageArtifact": "input/workflows/none.png"}, FarmError, "none.png"),
        (
            {},
            {"imageArtifact": "input/workflows/voice.wav"},
            BadInput,
            "expected an image, but 'input/workflows/voice.wav' is a sound",
        ),
        ({}, {"imageArtifact": "secret/x.png"}, FarmError, "bucket"),
    ],
)
def test_bad_params_and_input(
    params: Any, given: Any, error: type[FarmError], said: str, bench: Bench, picture: dict[str, Any]
) -> None:
    with pytest.raises(error, match=said):
        bench.run(example("image.enlarge"), params, {"imageArtifact": picture, **given})
    assert bench.engine.ran == []


def test_what_a_run_can_end_with(bench: Bench, picture: dict[str, Any]) -> None:
    enlarge, given = example("image.enlarge"), {"imageArtifact": picture}
    bench.engine.fails_with = NodeFailed("node 3 raised")
    with pytest.raises(NodeFailed):
        bench.run(enlarge, {}, given)
    bench.engine.fails_with = None
    for count, said in (
        (0, "node 3 wrote no file of kind 'images'"),
        (2, "wrote 2 files of kind 'images'; the binding has no 'many"),
    ):
        bench.engine.pictures = count
        with pytest.raises(BadOutput, match=said):
            bench.run(enlarge, {}, given)
    with pytest.raises(EngineUnavailable):
        bench.run(enlarge, {}, given, comfy=False)
    bench.stop_reason = "cancelled"
    with pytest.raises(Cancelled):
        bench.run(enlarge, {}, given)
    assert bench.storage.list_keys("output", "workflows") == []


def test_many_files_and_seeds(bench: Bench, picture: dict[str, Any], tmp_path: Path) -> None:
    service = made(
        tmp_path,
        "id: a.many\nkind: cpu\ninputs: {imageArtifact: {node: 1, input: image}}\n"
        "params: {seed: {node: 2, input: width, type: seed, minimum: 1, maximum: 9}}\n"
        "outputs: {pictures: {node: 3, many: true, bucket: staged}}",
    )
    bench.engine.pictures = 3
    output = bench.run(service, {}, {"imageArtifact": picture})
    assert [one["key"].rpartition("/")[2] for one in output["pictures"]] == [
        "pictures-0001.png",
        "pictures-0002.png",
        "pictures-0003.png",
    ]
    assert bench.picture(output["pictures"][2]).size[0] == output["seeds"]["seed"] in range(1, 10)
    assert bench.device == []


def test_what_breaks_its_promise_is_not_kept(bench: Bench, picture: dict[str, Any], tmp_path: Path) -> None:
    service = made(
        tmp_path,
        "id: a.b\ninputs: {imageArtifact: {node: 1, input: image}}\n"
        "outputs: {x: {node: 3, promise: {image: {width: 65}}}}",
    )
    with pytest.raises(UntrueOutput, match="64") as caught:
        bench.run(service, {}, {"imageArtifact": picture})
    assert any("65" in problem for problem in caught.value.details["problems"])
    assert bench.storage.list_keys("output", "workflows") == []


class TestRenderVideo:
    def render(
        self, bench: Bench, prompt: Any, allowed: tuple[str, ...] = (), given: Any = None, **params: Any
    ) -> dict[str, Any]:
        settings = ComfySettings(render_classes=allowed, max_workflow_nodes=10)
        return bench.run(render_capability(settings), {"workflow": prompt, **params}, given)

    def test_a_workflow_that_comes_with_the_job(self, bench: Bench, picture: dict[str, Any]) -> None:
        prompt = {**scaled(), "9": node("SaveImage", images=["1", 0], filename_prefix="other")}
        output = self.render(
            bench,
            prompt,
            inputs={"1.image": {"input": "imageArtifact"}},
            given={"imageArtifact": picture, "currentProgress": 0.1},
        )
        assert [(one["node"], one["kind"]) for one in output["files"]] == [("3", "images"), ("9", "images")]
        assert output["files"][0]["artifact"]["key"].endswith("/node-3.png")
        assert bench.picture(output["files"][0]["artifact"]).size == (64, 64)
        assert output["currentProgress"] == 0.6
        assert "videoArtifact" not in output

    def test_only_what_is_wanted_runs(self, bench: Bench, picture: dict[str, Any]) -> None:
        prompt = {**scaled(), "9": node("SaveImage", images=["1", 0], filename_prefix="other")}
        output = self.render(
            bench, prompt, inputs={"1.image": "input/workflows/picture.png"}, outputs=["9"], bucket="staged"
        )
        assert [one["artifact"]["bucket"] for one in output["files"]] == ["staged"]
        assert set(bench.engine.ran[0][0]) == {"1", "9"}

    @pytest.mark.parametrize(
        ("prompt", "params", "error", "said"),
        [
            ({"nodes": [], "links": []}, {}, InvalidPrompt, "export it with 'Export"),
            ({}, {}, InvalidPrompt, "it has no nodes"),
            (
                {**scaled(), **{str(n): node("LoadImage") for n in range(10, 20)}},
                {},
                InvalidPrompt,
                "max_workflow_nodes",
            ),
            (scaled(), {}, InvalidPrompt, r"it reads a file: give it an artifact \(params.inputs, 1.image\)"),
            (scaled(), {"inputs": {"image": "a/b"}}, InvalidPrompt, "expected <node>.<input>"),
            (scaled(), {"inputs": {"7.image": "a/b"}}, InvalidPrompt, "no such node"),
            (scaled(), {"inputs": {"1.picture": "a/b"}}, InvalidPrompt, "no such input"),
            (scaled(), {"inputs": {"2.image": "a/b"}}, InvalidPrompt, "linked to another node"),
            (scaled(), {"inputs": {"1.image": {"input": "none"}}}, BadInput, "input.none is missing"),
            (
                scaled(),
                {"inputs": {"1.image": {"input": "number"}}},
                BadInput,
                "input.number: expected an artifact",
            ),
            (
                scaled(),
                {"inputs": {"1.image": "ok"}, "outputs": ["2"]},
                BadParams,
                "'2' is none of the output nodes: 3",
            ),
            (scaled(), {"inputs": {"1.image": "ok"}, "outputs": []}, BadParams, "nothing would run"),
            (scaled(), {"bucket": "input"}, BadParams, "params.bucket"),
            (scaled(width=-1), {"inputs": {"1.image": "ok"}}, InvalidPrompt, "less than 0"),
            (
                {**scaled(), "4": node("VHS_LoadImagesPath", directory="x")},
                {"inputs": {"1.image": "ok"}},
                InvalidPrompt,
                "comfyui.render_classes does not allow this class",
            ),
            (
                {**scaled(), "4": node("SaveImage", images=["1", 0], filename_prefix="../../evil")},
                {"inputs": {"1.image": "ok"}},
                InvalidPrompt,
                "a path with '..'",
            ),
        ],
    )
    def test_what_a_stranger_may_not(
        self,
        prompt: Any,
        params: Any,
        error: type[FarmError],
        said: str,
        bench: Bench,
        picture: dict[str, Any],
    ) -> None:
        if params.get("inputs", {}).get("1.image") == "ok":
            params = {**params, "inputs": {"1.image": "input/workflows/picture.png"}}
        with pytest.raises(error, match=said):
            self.render(bench, prompt, given={"number": 3}, **params)
        assert bench.engine.ran == []

    def test_classes_that_the_operator_allows(self, bench: Bench, picture: dict[str, Any]) -> None:
        waits = {**scaled(), "4": node("Wait", images=["1", 0], steps=1)}
        inputs = {"1.image": "input/workflows/picture.png"}
        for allowed in (("core",), ("LoadImage", "Save*", "Wait"), ("VHS_*",)):
            before = len(bench.engine.ran)
            if allowed == ("core",):
                assert self.render(bench, waits, allowed, inputs=inputs)["files"]
                assert len(bench.engine.ran) == before + 1
            else:
                with pytest.raises(InvalidPrompt, match=r"node 2 \(ImageScale\)|node 1"):
                    self.render(bench, waits, allowed, inputs=inputs)
                assert len(bench.engine.ran) == before
