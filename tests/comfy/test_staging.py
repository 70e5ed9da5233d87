"""A prompt made ready for one run; pure."""

from __future__ import annotations

from pathlib import Path

from myspinbot_worker.comfy.engine import InputFile
from myspinbot_worker.comfy.staging import RUN_INPUT, staged

from .harness import node


def test_files_get_the_names_that_comfyui_knows_them_by() -> None:
    given = InputFile(Path("/a/b.png"))
    placed: list[Path] = []

    def place(path: Path) -> str:
        placed.append(path)
        return f"{len(placed)}{path.suffix}"

    prompt = {"1": node("LoadImage", image=given), "2": node("LoadMask", image=given, channel="red")}
    made = staged(prompt, "run", place)
    assert made["1"]["inputs"] == {"image": "1.png"}
    assert made["2"]["inputs"] == {"image": "1.png", "channel": "red"}
    assert placed == [given.path]
    assert prompt["1"]["inputs"] == {"image": given}


def test_outputs_are_of_this_run() -> None:
    prompt = {
        "save": node("SaveImage", images=["1", 0], filename_prefix="some/where"),
        "linked": node("SaveImage", images=["1", 0], filename_prefix=["2", 0]),
        "preview": node("PreviewImage", images=["1", 0]),
        "1": node("LoadImage", image="there.png"),
    }
    made = staged(prompt, "r1", str, {"SaveImage", "PreviewImage"})
    assert made["save"]["inputs"] == {"images": ["1", 0], "filename_prefix": "r1/some/where"}
    assert made["linked"]["inputs"] == {"images": ["1", 0], "filename_prefix": ["2", 0], RUN_INPUT: "r1"}
    assert made["preview"]["inputs"] == {"images": ["1", 0], RUN_INPUT: "r1"}
    assert made["1"] == prompt["1"]


def test_what_else_a_node_says_stays() -> None:
    prompt = {"1": {"class_type": "X", "_meta": {"title": "mine"}}}
    assert staged(prompt, "r1", str) == {"1": {"class_type": "X", "_meta": {"title": "mine"}, "inputs": {}}}
