"""Workflows on a whole farm: real processes, Redis and storage, a FAKE ComfyUI in the runners."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from myspinbot_worker.comfy.node_times import SHARE, RecordedTimes
from myspinbot_worker.keys import Keys
from tests.comfy.prompts import node as prompt_node
from tests.comfy.prompts import scaled

from .harness import Farm, graph, node, wait_until
from .processes import ROOT
from .test_error_codes import storage_of

MODULES = "tests.functional.extra_capabilities,tests.functional.fake_comfy"


def start(farm: Farm, folder: Path | None = None) -> None:
    env: dict[str, Any] = {
        "FARM_ACTOR_MODULES": MODULES,
        "COMFYUI_WORKFLOWS_DIR": str(folder or ROOT / "examples" / "workflows"),
    }
    farm.start_ingestor(**env)
    farm.start_worker(count=1, FARM_GPU_DEVICES="0", **env)


def upload(farm: Farm, tmp_path: Path) -> dict[str, Any]:
    Image.new("RGB", (8, 4), "red").save(tmp_path / "red.png")
    storage = storage_of(farm.env)
    found: dict[str, Any] = storage.upload(tmp_path / "red.png", "input", "farm/red.png").model_dump()
    storage.close()
    return found


def test_a_folder_of_workflows_is_served_and_their_times_are_kept(farm: Farm, tmp_path: Path) -> None:
    start(farm)
    picture = upload(farm, tmp_path)
    job = farm.submit(
        graph(
            [
                node(
                    "larger",
                    "image.enlarge",
                    params={"width": 32, "height": 16},
                    input={"imageArtifact": picture},
                ),
                node("inverted", "image.invert", params={"imagePath": "input/farm/red.png"}),
                node(
                    "mine",
                    "render.video",
                    params={"workflow": scaled(), "inputs": {"1.image": {"input": "imageArtifact"}}},
                ),
                node("wrong", "image.enlarge", params={"width": 0}, input={"imageArtifact": picture}),
                node("rescue", "dummy.dummy_task"),
            ],
            [("larger", "mine"), ("wrong", "rescue", "on_failure")],
        )
    )
    farm.wait_status(job, "completed")
    farm.wait_idle()
    larger, inverted, mine, wrong, _ = farm.snapshot(job)["nodes"]
    storage = storage_of(farm.env)
    for artifact, size in (
        (larger["output"]["imageArtifact"], (32, 16)),
        (inverted["output"]["imageArtifact"], (8, 4)),
        (mine["output"]["files"][0]["artifact"], (64, 64)),
    ):
        with Image.open(
            storage.download(artifact["bucket"], artifact["key"], tmp_path / "found.png")
        ) as found:
            assert found.size == size
    storage.close()
    assert wrong["error"]["code"] == "bad_params"
    assert "params.width" in wrong["error"]["message"]
    times = farm.client.hgetall(farm.keys.node_times)
    assert set(times) == {"LoadImage", "ImageScale", "ImageInvert", "SaveImage"}
    assert all(0 <= float(value) < 10 for value in times.values())


def test_the_time_that_is_left_is_told_and_a_cancel_is_heard(farm: Farm, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    folder.mkdir()
    prompt = {**scaled(), "4": prompt_node("Wait", images=["2", 0], steps=6000)}
    prompt["3"]["inputs"]["images"] = ["4", 0]
    (folder / "slow.workflow.json").write_text(json.dumps(prompt))
    (folder / "slow.capability.yaml").write_text(
        "id: a.slow\ninputs: {imageArtifact: {node: 1, input: image}}\noutputs: {imageArtifact: {node: 3}}"
    )
    (folder / "broken.workflow.json").write_text("{}")
    farm.client.hset(farm.keys.node_times, mapping={"Wait": 60, "LoadImage": 1, "junk": "x"})
    start(farm, folder)
    job = farm.submit(graph([node("a", "a.slow", input={"imageArtifact": upload(farm, tmp_path)})]))

    def told() -> list[float]:
        return [json.loads(text)["eta"] for text in farm.data.get(job, [])]

    wait_until(lambda: told() != [], "the time left was told")
    # Two of the classes are known; the others count as their median.
    assert told()[0] == 122
    farm.client.zadd(farm.keys.cancels, {job: 0})
    farm.wait_status(job, "failed")
    error = farm.snapshot(job)["nodes"][0]["error"]
    assert (error["code"], error["details"]["stopped"]) == ("cancelled", "told")


def test_times_flow_into_an_average_that_forgets(text_client: Any) -> None:
    times = RecordedTimes(text_client, Keys("farm"))
    assert times.read() == {}
    times.record({"A": 10, "bad": float("nan")})
    times.record({"A": 20, "B": 1})
    assert times.read() == {"A": 10 + SHARE * 10, "B": 1}
    for _ in range(20):
        times.record({"A": 100})
    assert 99 < times.read()["A"] <= 100
    times.record({})
    text_client.hset("farm:comfy:times", mapping={"C": "nonsense", "D": "inf"})
    assert set(times.read()) == {"A", "B"}
    times.record({"C": 3})
    assert times.read()["C"] == 3


def test_as_many_classes_as_there_may_be(text_client: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("myspinbot_worker.comfy.node_times.MOST_CLASSES", 2)
    times = RecordedTimes(text_client, Keys("farm"))
    times.record({"A": 1, "B": 2, "C": 3})
    times.record({"A": 1})
    assert set(times.read()) == {"A", "B"}
