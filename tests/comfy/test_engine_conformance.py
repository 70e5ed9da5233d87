"""What both engines must do: ComfyUI in a process of our own, and ComfyUI behind HTTP.

Against the stand-in by default; with ``COMFYUI_ROOT_DIR`` set the same tests run against that checkout.
"""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from myspinbot_worker.comfy.engine import EngineLost, InputFile, InvalidPrompt, NodeFailed
from myspinbot_worker.errors import BadOutput, Cancelled, OutOfMemory

from .harness import Running, Watcher, files_below, node, slow

EMPTY = node("EmptyImage", width=16, height=16, batch_size=1, color=0)


def test_the_catalog_names_what_there_is(comfy: Running) -> None:
    catalog = comfy.engine.catalog()
    assert {"LoadImage", "SaveImage", "CreateVideo", "FarmSlow"} <= set(catalog)
    assert "steps" in catalog["FarmSlow"]["input"]["required"]
    assert next(iter(catalog["LoadImage"]["output"])) == "IMAGE"
    assert catalog["SaveImage"]["output_node"] is True
    assert not [name for name in catalog if name.startswith("MySpinBot")]


def test_a_picture_goes_in_and_comes_out(comfy: Running, picture: Path) -> None:
    into = comfy.attempt()
    prompt = {
        "in": node("LoadImage", image=InputFile(picture)),
        "big": node(
            "ImageScale", image=["in", 0], upscale_method="bicubic", width=80, height=60, crop="disabled"
        ),
        "out": node("SaveImage", images=["big", 0], filename_prefix="some/where"),
    }
    result = comfy.run(prompt, into=into)
    (made,) = result.files
    assert (made.node, made.kind) == ("out", "images")
    assert made.path.is_relative_to(into)
    with Image.open(made.path) as opened:
        assert opened.size == (80, 60)
        red = opened.convert("RGB").getpixel((40, 30))
    assert isinstance(red, tuple)
    assert red[0] > 250
    assert red[1:] == (0, 0)
    assert set(result.seconds) == {"in", "big", "out"}
    assert picture.is_file()
    assert [path for path in into.rglob("*") if path.is_file()] == [made.path]


def test_a_video_with_sound_goes_in_and_comes_out(comfy: Running, clip: Path) -> None:
    prompt = {
        "in": node("LoadVideo", file=InputFile(clip)),
        "parts": node("GetVideoComponents", video=["in", 0]),
        "big": node(
            "ImageScale", image=["parts", 0], upscale_method="bicubic", width=128, height=96, crop="disabled"
        ),
        "video": node("CreateVideo", images=["big", 0], audio=["parts", 1], fps=["parts", 2]),
        "out": node("SaveVideo", video=["video", 0], filename_prefix="v", format="mp4", codec="h264"),
    }
    (made,) = comfy.run(prompt).files
    with av.open(str(made.path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (128, 96)
        assert stream.average_rate == Fraction(24)
        assert sum(1 for _ in container.decode(stream)) == 12
        assert container.streams.audio[0].rate == 16_000


def test_sound_goes_in_and_comes_out(comfy: Running, sound: Path) -> None:
    prompt = {
        "in": node("LoadAudio", audio=InputFile(sound)),
        "out": node("SaveAudio", audio=["in", 0], filename_prefix="a"),
    }
    (made,) = comfy.run(prompt).files
    assert made.kind == "audio"
    with av.open(str(made.path)) as container:
        stream = container.streams.audio[0]
        assert stream.rate == 16_000
        assert sum(frame.samples for frame in container.decode(stream)) == 8_000


def test_progress_is_told_as_it_happens(comfy: Running) -> None:
    watcher = Watcher()
    result = comfy.run({"a": slow(10, 0.03)["1"], "b": node("FarmText", text="x")}, watcher)
    bars = [data for data in watcher.of("progressed") if data[0] == "a"]
    values = [value for _, value, _ in bars]
    assert values == sorted(values)
    assert len(set(values)) > 1
    assert bars[-1][1:] == (10.0, 10.0)
    assert sorted(watcher.of("started")) == sorted(watcher.of("finished")) == [("a",), ("b",)]
    first, last = watcher.told.index(("started", "a")), watcher.told.index(("finished", "a"))
    assert first < watcher.told.index(("progressed", "a", 10.0, 10.0)) < last
    assert result.seconds["a"] > 0.25


def test_a_second_run_does_not_repeat_what_is_known(comfy: Running) -> None:
    prompt = {
        "1": node("EmptyImage", width=16, height=16, batch_size=1, color=7),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="x"),
    }
    first = comfy.run(prompt)
    watcher = Watcher()
    second = comfy.run(prompt, watcher)
    assert set(second.cached) == {"1", "2"}
    assert set(second.seconds) == {"3"}
    assert watcher.of("started") == [("3",)]
    assert len(first.files) == len(second.files) == 1
    assert first.files[0].path != second.files[0].path
    assert first.files[0].path.is_file()
    assert second.files[0].path.is_file()


def test_an_output_without_a_name_of_its_own_twice(comfy: Running) -> None:
    """A cached node would name the file of the run before."""
    prompt = {"1": EMPTY, "2": node("PreviewImage", images=["1", 0])}
    first, second = comfy.run(prompt), comfy.run(prompt)
    assert first.files[0].path != second.files[0].path
    assert first.files[0].path.is_file()
    assert second.files[0].path.is_file()


def test_a_video_read_late_twice(comfy: Running, clip: Path) -> None:
    """What a loader made names its file; a cached one would name a file that is gone."""
    prompt = {
        "in": node("LoadVideo", file=InputFile(clip)),
        "out": node("SaveVideo", video=["in", 0], filename_prefix="v", format="auto", codec="auto"),
    }
    for _ in range(2):
        (made,) = comfy.run(prompt).files
        assert made.path.stat().st_size > 1000


def test_another_file_is_not_taken_for_the_one_before(comfy: Running, tmp_path: Path) -> None:
    path = tmp_path / "same-name.png"
    prompt = {
        "in": node("LoadImage", image=InputFile(path)),
        "out": node("SaveImage", images=["in", 0], filename_prefix="x"),
    }
    for color in ((255, 0, 0), (0, 255, 0)):
        Image.new("RGB", (8, 8), color).save(path)
        (made,) = comfy.run(prompt).files
        with Image.open(made.path) as opened:
            assert opened.convert("RGB").getpixel((4, 4)) == color


def test_a_cancelled_prompt_ends_soon(comfy: Running) -> None:
    watcher = Watcher(cancel_at="progressed")
    with pytest.raises(Cancelled):
        comfy.run(slow(10_000, 0.02), watcher)
    assert watcher.cancelled_at is not None
    assert time.monotonic() - watcher.cancelled_at < 2.0
    began = time.monotonic()
    assert comfy.run(slow(1)).ui["1"]["text"] == ["1 steps"]
    assert time.monotonic() - began < 2.0


def test_a_cancel_before_the_start(comfy: Running) -> None:
    watcher = Watcher()
    watcher.cancelled_at = time.monotonic()
    into = comfy.attempt()
    with pytest.raises(Cancelled):
        comfy.run(slow(10_000), watcher, into)
    assert watcher.told == []
    assert comfy.run(slow(2)).ui


def test_a_node_that_hears_nothing(comfy: Running) -> None:
    pid = comfy.embedded.child.pid if comfy.kind == "embedded" and comfy.embedded.child else None
    watcher = Watcher(cancel_at="started")
    with pytest.raises(Cancelled):
        comfy.run(slow(1, 60.0, kind="FarmDeaf"), watcher)
    assert watcher.cancelled_at is not None
    assert time.monotonic() - watcher.cancelled_at < 15.0
    comfy.revive()
    assert comfy.run(slow(3)).ui
    if pid is not None:
        assert comfy.embedded.child is not None
        assert comfy.embedded.child.pid != pid


def test_a_node_that_fails_is_named(comfy: Running) -> None:
    with pytest.raises(NodeFailed, match=r"node '2' \(FarmRaises\).*broken on purpose") as caught:
        comfy.run({"2": slow(1, kind="FarmRaises")["1"]})
    details = caught.value.details
    assert (details["node"], details["class"]) == ("2", "FarmRaises")
    assert details["exception"] == "ValueError"
    assert "broken on purpose" in "".join(details["traceback"])
    assert "current_inputs" not in str(details)
    assert comfy.run(slow(4)).ui


def test_a_node_out_of_memory(comfy: Running) -> None:
    with pytest.raises(OutOfMemory, match=r"node '1' \(FarmOutOfMemory\) ran out of memory") as caught:
        comfy.run(slow(1, kind="FarmOutOfMemory"))
    assert caught.value.details["class"] == "FarmOutOfMemory"
    assert comfy.run(slow(5)).ui


@pytest.mark.parametrize(
    ("prompt", "where", "name", "word"),
    [
        ({"7": node("NoSuchNode")}, "7", "", "NoSuchNode"),
        ({"7": node("FarmSlow", steps=1)}, "7", "seconds", "missing"),
        ({"7": node("FarmSlow", steps="many", seconds=0.1)}, "7", "steps", "many"),
        ({"7": node("FarmSlow", steps=-1, seconds=0.1)}, "7", "steps", "smaller"),
        (
            {"1": EMPTY, "7": node("FarmSlow", steps=["1", 0], seconds=0.1)},
            "7", "steps", "mismatch",
        ),
        ({"7": EMPTY}, "", "", "no outputs"),
    ],
    ids=["class", "missing", "type", "range", "link", "outputs"],
)  # fmt: skip
def test_a_prompt_that_cannot_run(
    comfy: Running, prompt: dict[str, Any], where: str, name: str, word: str
) -> None:
    watcher = Watcher()
    with pytest.raises(InvalidPrompt) as caught:
        comfy.run(prompt, watcher)
    problems = caught.value.details["problems"]
    found = [item for item in problems if item["node"] == where]
    assert found, problems
    assert found[0]["input"] == name
    assert found[0]["class"] == (prompt[where]["class_type"] if where else "")
    assert word in found[0]["problem"]
    assert where in caught.value.message
    assert watcher.told == []


def test_one_of_two_outputs_cannot_run(comfy: Running) -> None:
    """ComfyUI would run the other and say nothing more."""
    with pytest.raises(InvalidPrompt, match=r"node '7' \(FarmSlow\) input 'seconds'") as caught:
        comfy.run({"1": slow(1)["1"], "7": node("FarmSlow", steps=1)})
    assert [problem["node"] for problem in caught.value.details["problems"]] == ["7"]
    assert comfy.run(slow(7)).ui


def test_a_model_that_is_not_there(comfy: Running) -> None:
    prompt = {
        "1": EMPTY,
        "7": node("UpscaleModelLoader", model_name="nowhere.pth"),
        "8": node("ImageUpscaleWithModel", upscale_model=["7", 0], image=["1", 0]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
    }
    with pytest.raises((InvalidPrompt, NodeFailed), match=r"node '7' \(UpscaleModelLoader\)") as caught:
        comfy.run(prompt)
    assert "nowhere.pth" in caught.value.message
    if isinstance(caught.value, NodeFailed):
        # Releases of 2025 look into lists of old-style classes only; the node itself then finds it out.
        assert comfy.checkout.is_real
    else:
        assert caught.value.details["problems"][0]["input"] == "model_name"


def test_comfyui_dies_while_it_runs_a_prompt(comfy: Running) -> None:
    into = comfy.attempt()
    with pytest.raises(EngineLost) as caught:
        comfy.run(slow(1, kind="FarmKills"), into=into)
    assert caught.value.retryable
    assert "\n" not in caught.value.message
    assert [path for path in into.rglob("*") if path.is_file()] == []
    comfy.revive()
    assert comfy.run(slow(6)).ui


def test_what_is_no_file_comes_back_too(comfy: Running) -> None:
    result = comfy.run({"1": node("FarmText", text="42 and ünïcode")})
    assert result.ui["1"]["text"] == ["42 and ünïcode"]
    assert result.files == ()


def test_a_file_elsewhere_is_refused(comfy: Running) -> None:
    into = comfy.attempt()
    with pytest.raises(BadOutput, match="passwd"):
        comfy.run(slow(1, kind="FarmElsewhere"), into=into)
    assert [name for name in files_below(into) if "passwd" in name] == []


def test_files_of_one_name(comfy: Running) -> None:
    """A file named twice comes twice; two of one name in two folders are two."""
    into = comfy.attempt()
    files = comfy.run(slow(1, kind="FarmTwice"), into=into).files
    assert [made.path.read_text() for made in files] == ["input", "input", "tempa", "tempb"]
    assert all(made.path.is_relative_to(into) for made in files)
