"""A whole farm on the embedded engine: the real processes, and the stand-in for ComfyUI or the checkout that
``COMFYUI_ROOT_DIR`` names."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.comfy.harness import BOOT_SECONDS, PACKS, Checkout
from tests.comfy.prompts import node as prompt_node

from .harness import Farm, graph, node, wait_until
from .processes import ROOT
from .test_error_codes import storage_of
from .test_http import address

COMFYUI = Checkout.from_environment()


def start(farm: Farm, **more: str) -> str:
    """Start it; the ingestor's address."""
    env: dict[str, Any] = {
        "FARM_ACTOR_MODULES": "tests.functional.extra_capabilities",
        "COMFYUI_ROOT_DIR": str(COMFYUI.root),
        "COMFYUI_PYTHON": str(COMFYUI.python),
        "COMFYUI_CUSTOM_NODE_DIRS": str(PACKS),
        "COMFYUI_WORKFLOWS_DIR": str(ROOT / "examples" / "workflows"),
        "COMFYUI_RENDER_CLASSES": "core,Farm*",
        "FARM_GPU_DEVICES": "none",
        **more,
    }
    url = address(farm.start_ingestor(**env))
    worker = farm.begin_worker(count=1, **env)
    worker.wait_for("Worker process is ready for action", patience=BOOT_SECONDS)
    return url


def offer(farm: Farm) -> dict[str, Any]:
    (worker,) = farm.client.smembers(farm.keys.offers)
    found: dict[str, Any] = json.loads(farm.client.get(farm.keys.offer(worker)))
    return found


def upload(farm: Farm, folder: Path) -> dict[str, Any]:
    Image.new("RGB", (8, 4), "red").save(folder / "red.png")
    storage = storage_of(farm.env)
    found: dict[str, Any] = storage.upload(folder / "red.png", "input", "farm/red.png").model_dump()
    storage.close()
    return found


def slow(steps: int, kind: str = "FarmSlow") -> dict[str, Any]:
    return {
        "workflow": {
            "1": prompt_node("EmptyImage", width=8, height=8, batch_size=1, color=255),
            "2": prompt_node(kind, steps=steps, seconds=0.05),
            "3": prompt_node("SaveImage", images=["1", 0], filename_prefix="x"),
        }
    }


def test_a_workflow_dropped_in_makes_a_picture_and_a_running_sampler_is_cancelled(
    farm: Farm, tmp_path: Path
) -> None:
    start(farm)
    job = farm.submit(
        graph(
            [
                node("larger", "image.enlarge", params={"width": 32, "height": 16},
                     input={"imageArtifact": upload(farm, tmp_path)}),
                node("inverted", "image.invert", params={"imagePath": "input/farm/red.png"}),
            ],
            [],
        )
    )  # fmt: skip
    farm.wait_status(job, "completed")
    larger, inverted = (one["output"]["imageArtifact"] for one in farm.snapshot(job)["nodes"])
    storage = storage_of(farm.env)
    for artifact, size, colour in ((larger, (32, 16), (255, 0, 0)), (inverted, (8, 4), (0, 255, 255))):
        path = storage.download(artifact["bucket"], artifact["key"], tmp_path / "found.png")
        with Image.open(path) as found:
            assert found.size == size
            assert found.convert("RGB").getpixel((2, 2)) == colour
    storage.close()

    job = farm.submit(graph([node("a", "render.video", params=slow(4000))]))
    wait_until(lambda: farm.progress.get(job, []) != [], "the sampler works")
    began = time.monotonic()
    farm.client.zadd(farm.keys.cancels, {job: 0})
    farm.wait_status(job, "failed")
    # Two seconds for the task; the worker hears of a cancel with its lease, once a second.
    assert time.monotonic() - began < 4.0
    error = farm.snapshot(job)["nodes"][0]["error"]
    assert (error["code"], error["details"]["stopped"]) == ("cancelled", "told")

    # The same ComfyUI goes on; a node that kills it costs its job alone.
    dies = farm.submit(
        graph([node("a", "render.video", params=slow(1, "FarmKills"), retries={"maxAttempts": 1})])
    )
    farm.wait_status(dies, "failed")
    assert farm.snapshot(dies)["nodes"][0]["error"]["code"] == "engine_lost"
    after = farm.submit(graph([node("a", "image.invert", params={"imagePath": "input/farm/red.png"})]))
    farm.wait_status(after, "completed")


def test_what_cannot_run_is_withheld_and_said(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "lacks.workflow.json").write_text(
        json.dumps({"1": prompt_node("NoSuchLoader"), "2": prompt_node("SaveImage", images=["1", 0])})
    )
    (tmp_path / "lacks.capability.yaml").write_text(
        "id: a.lacks\npacks: [{name: Fancy, url: 'https://x.y', classes: [NoSuch*]}]\noutputs: {x: {node: 2}}"
    )
    url = start(farm, COMFYUI_WORKFLOWS_DIR=str(tmp_path))
    missing = offer(farm)["missing"]
    assert "NoSuchLoader" in missing["a.lacks"]
    assert "Fancy" in missing["a.lacks"]
    assert "render.video" in offer(farm)["serves"]
    assert httpx.get(f"{url}/ready").json()["withheld"] == missing
    job = farm.submit(graph([node("caps", "info.get_capabilities"), node("a", "a.lacks")]))
    farm.wait_status(job, "failed")
    told, failed = farm.snapshot(job)["nodes"]
    listed = {one["id"] for one in json.loads(told["output"]["workerCaps"])["capabilities"]}
    assert "render.video" in listed
    assert listed.isdisjoint(missing)
    assert failed["error"]["code"] == "engine_unavailable"
    assert "NoSuchLoader" in failed["error"]["message"]
