"""A first binding for an export."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.comfy.binding import parse_binding
from myspinbot_worker.comfy.guess import guess
from myspinbot_worker.comfy.workflow import bind
from tests.comfy.catalogs import CATALOG
from tests.comfy.prompts import node, scaled
from tests.unit.examples import many


def titled(title: str, class_type: str, **inputs: Any) -> dict[str, Any]:
    return {**node(class_type, **inputs), "_meta": {"title": title}}


SAMPLED = {
    "1": node("CheckpointLoaderSimple", ckpt_name="sd15.safetensors"),
    "2": titled("What I want", "CLIPTextEncode", text="a cat", clip=["1", 1]),
    "3": titled("What I do not want", "CLIPTextEncode", text="a dog", clip=["1", 1]),
    "4": titled("Style", "CLIPTextEncode", text="oil", clip=["1", 1]),
    "5": node(
        "KSampler",
        model=["1", 0],
        seed=42,
        steps=20,
        cfg=7.5,
        sampler_name="euler",
        positive=["2", 0],
        negative=["3", 0],
        tiled=True,
    ),
    "6": titled("Second pass", "KSampler", seed=42, steps=5, cfg=1, noise_seed=7),
    "7": node("LoadImage", image="portrait.png"),
    "8": titled("Voice", "LoadAudio", audio="voice.wav"),
    "9": node("VHS_LoadVideo", video="clip.mp4", frame_rate=25),
    "10": titled("Last frame", "LoadImage", image="last"),
    "20": node("SaveImage", images=["5", 0], filename_prefix="x"),
    "21": node("VHS_VideoCombine", images=["5", 0], frame_rate=25.0, filename_prefix="v", save_output=False),
    "22": node("SaveAudioMP3", audio=["8", 0], filename_prefix="a", quality="V0"),
    "23": node("PreviewImage", images=["5", 0]),
}


def test_what_is_made_of_loaders_savers_and_literals() -> None:
    found = guess(SAMPLED, "video.cat").binding
    assert {name: (one["node"], one["input"], one["media"]) for name, one in found["inputs"].items()} == {
        "imageArtifact": ("7", "image", "image"),
        "audioArtifact": ("8", "audio", "audio"),
        "videoArtifact": ("9", "video", "video"),
        "lastFrameImageArtifact": ("10", "image", "image"),
    }
    assert {name: one["node"] for name, one in found["outputs"].items()} == {
        "imageArtifact": "20",
        "videoArtifact": "21",
        "audioArtifact": "22",
    }
    params = found["params"]
    assert (
        params["positive_prompt"]["node"],
        params["negative_prompt"]["node"],
        params["style"]["node"],
    ) == ("2", "3", "4")
    assert params["seed"] == {
        "node": "5",
        "input": "seed",
        "type": "seed",
        "targets": [{"node": "6", "input": "seed"}],
    }
    assert params["secondPassSeed"]["input"] == "noise_seed"
    assert params["steps"] == {
        "node": "5",
        "input": "steps",
        "type": "integer",
        "minimum": 1,
        "maximum": 200,
        "default": 20,
    }
    assert params["secondPassSteps"]["node"] == "6"
    assert params["cfg"]["type"] == "number"
    notes = "\n".join(guess(SAMPLED, "video.cat").notes)
    assert "needs the model file sd15.safetensors" in notes
    assert "node 21: save_output is off" in notes
    assert (
        "left as they are (bind more under params): 5.sampler_name, 5.tiled, 21.save_output, 22.quality"
        in notes
    )


def test_bounds_are_the_catalogs() -> None:
    assert guess(SAMPLED, "video.cat", CATALOG).binding["params"]["steps"]["maximum"] == 10_000


def test_what_is_written_is_a_binding_of_that_workflow() -> None:
    for prompt in (SAMPLED, scaled()):
        text = guess(prompt, "x.y").text("export.json")
        assert text.startswith("# Guessed from export.json by 'myspinbot-worker workflow add'.")
        assert bind(prompt, parse_binding(text)).binding.id == "x.y"


def test_a_preview_counts_where_nothing_is_saved() -> None:
    only = {"1": node("LoadImage", image="a.png"), "2": node("PreviewImage", images=["1", 0])}
    assert guess(only, "x.y").binding["outputs"] == {"imageArtifact": {"node": "2", "bucket": "output"}}
    assert "outputs" not in guess({"1": only["1"]}, "x.y").binding


def test_text_from_outside_stays_in_its_line() -> None:
    sly = {
        **scaled(),
        "5": titled("x\nid: evil.id", "CLIPTextEncode", text="a"),
        "6": node("L\n#", ckpt_name="a\nid: b.ckpt"),
    }
    assert parse_binding(guess(sly, "x.y").text("e\nid: c")).id == "x.y"


@pytest.mark.parametrize("name", ["copy", "json", "model_config", "schema"])
def test_names_that_every_model_has(name: str) -> None:
    prompt = {**scaled(), "5": titled(name, "CLIPTextEncode", text="a")}
    made = bind(prompt, parse_binding(guess(prompt, "x.y").text("e")))
    assert made.types.params.model_validate({}).model_dump(by_alias=True)


_literals = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["a.png", "b.wav", "c.mp4", "m.safetensors"])
)
_names = st.sampled_from(
    [
        "seed",
        "noise_seed",
        "text",
        "steps",
        "cfg",
        "width",
        "fps",
        "image",
        "file",
        "filename_prefix",
        "x",
        "length",
    ]
)
_some_nodes = st.dictionaries(
    st.sampled_from(["1", "2", "9:1"]),
    st.builds(
        lambda name, title, inputs: titled(title, name, **inputs),
        st.sampled_from(["LoadImage", "LoadVideo", "KSampler", "CLIPTextEncode", "Other"])
        | st.text(min_size=1, max_size=5),
        st.text(max_size=10),
        st.dictionaries(_names, _literals, max_size=5),
    ),
    max_size=3,
)


@many
@given(_some_nodes)
def test_any_export_gives_a_binding_that_fits_it(nodes: dict[str, Any]) -> None:
    prompt = {**nodes, "s": node("SaveImage", filename_prefix="x")}
    bind(prompt, parse_binding(guess(prompt, "x.y").text("e.json")))
