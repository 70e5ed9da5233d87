"""Prompts held against a catalog: what ComfyUI would refuse is a problem that names node and input."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.comfy.catalog import Pack, check, outputs
from myspinbot_worker.comfy.class_names import is_allowed, is_core, is_one_of
from myspinbot_worker.comfy.engine import InputFile
from myspinbot_worker.comfy.prompt import check_prompt
from myspinbot_worker.comfy.workflow import load_folder
from tests.comfy.catalogs import CATALOG, real_catalog
from tests.comfy.prompts import node, scaled
from tests.functional.processes import ROOT
from tests.unit.examples import many


def problems(prompt: Any, packs: tuple[Pack, ...] = ()) -> list[tuple[str, str, str]]:
    return [
        (one.node, one.input, one.problem) for one in check(check_prompt(prompt), CATALOG, packs).problems
    ]


def only(prompt: Any, packs: tuple[Pack, ...] = ()) -> tuple[str, str, str]:
    (problem,) = problems(prompt, packs)
    return problem


def sampler(**changes: Any) -> dict[str, Any]:
    inputs = {
        "model": ["1", 0],
        "seed": 5,
        "steps": 20,
        "cfg": 7.5,
        "sampler_name": "euler",
        "positive": ["2", 0],
        "negative": ["2", 0],
        "tiled": False,
    }
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd15.safetensors"),
        "2": node("CLIPTextEncode", text="/imagine a cat, ../ and ~ included", clip=["1", 1]),
        "3": node("KSampler", **{**inputs, **changes}),
        "4": node("MaskOrImage", either=["5", 1], anything=["3", 0]),
        "5": node("LoadImage", image=InputFile(Path("x.png"))),
        "6": node("SaveImage", images=["4", 0], filename_prefix="video/out"),
    }


def test_good_ones() -> None:
    for prompt in (scaled(), sampler(), sampler(seed=2**64 - 1, steps="20", cfg=7)):
        found = check(check_prompt(prompt), CATALOG)
        assert found.problems == []
    assert outputs(scaled(), CATALOG) == ["3"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "0 is less than 1, the least it takes"),
        ({"steps": 10001}, "10001 is more than 10000, the most it takes"),
        ({"steps": "many"}, "expected a whole number, not 'many'"),
        ({"steps": 1.5}, "expected a whole number, not 1.5"),
        ({"steps": True}, "expected a whole number, not True"),
        ({"steps": None}, "expected a whole number, not None"),
        ({"steps": {}}, "expected a whole number, not dict"),
        ({"seed": -1}, "-1 is less than 0"),
        ({"cfg": "nan"}, "expected a number"),
        ({"cfg": [7.5]}, "a list of two is read as a link"),
        ({"sampler_name": "eular"}, "'eular' is none of euler, heun (did you mean euler?)"),
        ({"sampler_name": 3}, "3 is none of euler, heun"),
        ({"tiled": "false"}, "expected true or false, not 'false'"),
        ({"model": "sd15"}, "takes a link to an output of type MODEL, not 'sd15'"),
        ({"model": ["1", 1]}, "takes MODEL, but output 1 of node '1' (CheckpointLoaderSimple) is CLIP"),
        ({"model": ["1", 3]}, "links to output 3 of node '1' (CheckpointLoaderSimple), which has 3"),
        ({"positive": ["6", 0]}, "links to output 0 of node '6' (SaveImage), which has none"),
    ],
)
def test_a_value_or_link_that_does_not_fit(change: dict[str, Any], said: str) -> None:
    prompt = sampler(**change)
    if "positive" in change:
        prompt["6"]["inputs"]["images"] = ["5", 0]
    node_id, input_, problem = only(prompt)
    assert (node_id, input_) == ("3", *change)
    assert said in problem


def test_missing_and_unknown_inputs() -> None:
    prompt = scaled(widht=64)
    del prompt["2"]["inputs"]["width"]
    found = check(check_prompt(prompt), CATALOG)
    assert [(one.input, one.problem) for one in found.problems] == [("width", "it is required and missing")]
    assert [(one.input, one.problem) for one in found.warnings] == [
        ("widht", "the class has no such input (did you mean width?)")
    ]


@pytest.mark.parametrize(
    ("name", "packs", "said"),
    [
        ("ImageScaled", (), "no node class 'ImageScaled' (did you mean ImageScale"),
        ("Zzz", (), "no node class 'Zzz'"),
        (
            "FaceRestore",
            (Pack("facerestore_cf", "https://x.y", ("Face*",)),),
            "install the pack facerestore_cf (https://x.y)",
        ),
        ("FaceRestore", (Pack("a", "", ("Other*",)), Pack("b")), "it should come with b"),
        ("x\n\x1b[31m" * 100, (), "no node class"),
    ],
)
def test_a_class_that_is_not_there(name: str, packs: tuple[Pack, ...], said: str) -> None:
    node_id, input_, problem = only({**scaled(), "9": node(name)}, packs)
    assert (node_id, input_) == ("9", "")
    assert said in problem
    assert problem.isprintable()


def test_model_files_that_are_missing() -> None:
    loader = {**scaled(), "9": node("CheckpointLoaderSimple", ckpt_name="sub\\xl.safetensors")}
    assert (
        only(loader)[2]
        == "model file 'sub\\\\xl.safetensors' is missing (there is sub/xl.safetensors, sd15.safetensors)"
    )
    loader["9"] = node("UpscaleModelLoader", model_name="x4.pth")
    assert only(loader) == ("9", "model_name", "model file 'x4.pth' is missing")


def test_what_is_uploaded_need_not_be_there_yet() -> None:
    prompt = scaled()
    prompt["1"]["inputs"]["image"] = "elsewhere.png"
    found = check(check_prompt(prompt), CATALOG)
    assert found.problems == []
    assert ["bind it as an artifact" in one.problem for one in found.warnings] == [True]


def test_nothing_that_is_an_output() -> None:
    prompt = scaled()
    del prompt["3"]
    assert "no node of it is an output" in only(prompt)[2]


def test_several_choices_in_a_wrapper() -> None:
    good = {**scaled(), "9": node("Several", tags={"__value__": ["a", "b"]})}
    assert problems(good) == []
    good["9"] = node("Several", tags={"__value__": ["a", "c"]})
    assert "'c' is none of a, b" in only(good)[2]


def test_inputs_that_grow() -> None:
    grown = {
        **scaled(),
        "7": node("BatchImagesNode", **{"images.image0": ["1", 0], "images.image1": ["2", 0]}),
        "8": node("ResizeNode", input=["7", 0], resize_type="to size", **{"resize_type.width": 10}),
    }
    assert problems(grown) == []
    assert check(check_prompt(grown), CATALOG).warnings == []
    grown["8"]["inputs"]["resize_type.width"] = 65
    assert only(grown)[:2] == ("8", "resize_type.width")
    grown["8"]["inputs"]["resize_type"] = "by magic"
    assert "'by magic' is none of to size, by factor" in only(grown)[2]
    del grown["8"]["inputs"]["resize_type"]
    assert only(grown)[1:] == ("resize_type", "it is required and missing")


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("VHS_*", ["VHS_", "VHS_VideoCombine"], ["VH", "xVHS_", "vhs_x"]),
        ("A[b]?", ["A[b]?"], ["Ab", "Abc"]),
        ("*", ["", "anything\nat all"], []),
    ],
)
def test_names_of_classes(pattern: str, names: list[str], others: list[str]) -> None:
    assert all(is_one_of(name, [pattern]) for name in names)
    assert not any(is_one_of(name, [pattern]) for name in others)


def test_classes_that_a_stranger_may_use() -> None:
    core = {name for name in CATALOG if is_core(CATALOG[name])}
    assert {"LoadImage", "LoadVideo", "UpscaleModelLoader"} <= core
    assert not core & {"VHS_VideoCombine", "PaidNode", "ApiNode"}
    assert {name for name in CATALOG if is_allowed(name, (), CATALOG)} == core
    assert {name for name in CATALOG if is_allowed(name, ("VHS_*",), CATALOG)} == {
        "VHS_VideoCombine",
        "VHS_LoadImagesPath",
    }
    assert is_allowed("LoadImage", ("core", "VHS_*"), CATALOG)
    assert not is_allowed("core", ("core",), CATALOG)
    odd: list[Any] = [
        None,
        [],
        {},
        *({"python_module": name} for name in (None, "nodes.evil", "comfy_extras")),
    ]
    assert not any(map(is_core, odd))


def test_thousands_of_mistakes_cost_no_more_than_a_moment() -> None:
    names = {
        f"class number {number} of many": info for number, info in enumerate([CATALOG["LoadImage"]] * 5000)
    }
    prompt = {str(number): node(f"Class numbr {number} of mny", a=1) for number in range(2000)}
    prompt["x"] = node("LoadImage", **{f"imag{number}": "x" * 100 for number in range(5000)})
    began = time.perf_counter()
    found = check(prompt, CATALOG | names)
    assert time.perf_counter() - began < 10
    assert sum("did you mean" in one.problem for one in found.problems) == 5
    assert len(found.warnings) == 5000


_junk = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["INT", "COMBO", "COMFY_DYNAMICCOMBO_V3"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["required", "options", "min", "key", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@many
@given(st.data())
def test_no_catalog_and_no_value_breaks_the_check(data: st.DataObject) -> None:
    catalog = copy.deepcopy(CATALOG)
    for _ in range(data.draw(st.integers(0, 3))):
        name = data.draw(st.sampled_from(sorted(catalog)))
        info = catalog[name]
        match data.draw(st.sampled_from(["all", "input", "output", "one"])):
            case "all":
                catalog[name] = data.draw(_junk)
            case "one" if (
                isinstance(info, dict)
                and isinstance(info.get("input"), dict)
                and info["input"].get("required")
            ):
                required = info["input"]["required"]
                if isinstance(required, dict):
                    required[data.draw(st.sampled_from(sorted(required)))] = data.draw(_junk)
            case key if isinstance(info, dict):
                info[key] = data.draw(_junk)
    prompt: dict[str, Any] = sampler()
    value = data.draw(_junk.filter(lambda one: not (isinstance(one, list) and len(one) == 2)))
    prompt["3"]["inputs"][data.draw(st.sampled_from(sorted(prompt["3"]["inputs"])))] = value
    found = check(prompt, catalog)
    for one in (*found.problems, *found.warnings):
        assert json.dumps(one.record())
        assert str(one).isprintable()


def test_the_examples_on_a_real_comfyui() -> None:
    catalog = real_catalog()
    folder = load_folder(ROOT / "examples" / "workflows")
    assert len(folder.workflows) == 2
    for workflow in folder.workflows.values():
        assert check(workflow.sample(), catalog).problems == []
    broken = scaled(upscale_method="magic", width=-1)
    assert [one.input for one in check(broken, catalog).problems] == ["upscale_method", "width"]


def test_every_default_of_a_real_comfyui_is_taken_by_its_own_class() -> None:
    """Nodes made of what their classes declare: nothing that ComfyUI itself offers may be refused."""
    catalog = real_catalog()
    wrong = []
    for name, info in catalog.items():
        inputs = {
            key: declared[1]["default"]
            for section in ("required", "optional")
            for key, declared in info["input"].get(section, {}).items()
            if len(declared) > 1
            and isinstance(declared[1], dict)
            and "default" in declared[1]
            and not isinstance(declared[1]["default"], list)
        }
        for one in check({"1": node(name, **inputs)}, catalog).problems:
            if one.input in inputs:
                wrong.append((name, one.input, one.problem))
    assert wrong == []
