"""A prompt with its binding: types, values in their places, folders of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from myspinbot_worker.capability import Registry
from myspinbot_worker.comfy.binding import parse_binding
from myspinbot_worker.comfy.capabilities import kept_warm, register_workflows, workflow_capability
from myspinbot_worker.comfy.engine import InputFile
from myspinbot_worker.comfy.payload_types import given_values
from myspinbot_worker.comfy.prompt import PromptLimits
from myspinbot_worker.comfy.workflow import Workflow, bind, load_folder, load_pair
from myspinbot_worker.settings import ComfySettings
from tests.comfy.prompts import node, one_refused, refused, scaled
from tests.functional.processes import ROOT
from tests.unit.examples import many
from tests.unit.test_schemas import VALIDATORS

BINDING = """
id: image.scale
version: 2.0.0
retry: {maxAttempts: 1}
keepWarm: ["m.py:f", "m.py:g", "m.py:f"]
params:
  width: {node: 2, input: width, type: integer, minimum: 1, maximum: 64, default: 8, description: How wide.}
  height: {node: 2, input: height, type: integer, minimum: 1, maximum: 64}
  copy: {node: 2, input: crop, type: choice, choices: [disabled, center]}
  level: {node: 4, input: level, type: choice, choices: [1, 2]}
  seed: {node: 4, input: seed, type: seed, minimum: 5, maximum: 9}
  needed: {node: 4, input: text, type: string, required: true}
inputs:
  imageArtifact: {node: 1, input: image, media: image}
  maskPath: {node: 4, input: mask, from: params, media: image, required: false}
  narration: {node: 4, input: words, type: string}
outputs:
  imageArtifact: {node: 3}
  all: {node: 3, many: true}
"""


def prompt() -> dict[str, dict[str, Any]]:
    more = {"level": 1, "seed": 0, "text": "x", "mask": "mask.png", "words": "w"}
    return {**scaled(), "4": node("Other", **more)}


def workflow() -> Workflow:
    return bind(prompt(), parse_binding(BINDING))


def filled(params: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = {"needed": "n", **params}
    files, values = {"imageArtifact": Path("/scratch/a.png")}, {"narration": "n"}
    return dict(workflow().prompt_for(given, files, values, **more).prompt)


def test_its_types_check_and_describe() -> None:
    types = workflow().types
    assert given_values(types.params.model_validate({"needed": "x", "value_0": "mine"})) == {
        "width": 8, "height": 64, "copy": "disabled", "level": 1, "needed": "x",
    }  # fmt: skip
    schema = types.params.model_json_schema()
    assert schema["properties"]["width"]["maximum"] == 64
    assert schema["properties"]["width"]["description"] == "How wide."
    assert schema["required"] == ["needed"]
    assert types.input.model_json_schema()["required"] == ["imageArtifact", "narration"]
    assert set(types.output.model_json_schema(mode="serialization")["properties"]) == {
        "imageArtifact", "all", "currentProgress", "seeds",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width": 65}, "width"), ({"width": "wide"}, "width"), ({"copy": "middle"}, "copy"), ({"level": 3}, "level"),
        ({"seed": 10}, "seed"), ({"needed": None}, "needed"), ({"maskPath": 3}, "maskPath"),
    ],
)  # fmt: skip
def test_params_that_do_not_fit_are_named_as_in_the_binding(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        workflow().types.params.model_validate({"needed": "x", **changes})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


def test_everything_in_its_place_and_nothing_else_changed() -> None:
    before = json.dumps(prompt())
    made = workflow()
    params = {"needed": "n", "width": 3, "seed": 7}
    found = made.prompt_for(
        params, {"imageArtifact": Path("/a.png"), "maskPath": Path("/m.png")}, {"narration": "say"}
    )
    expected = prompt()
    expected["1"]["inputs"]["image"] = InputFile(Path("/a.png"))
    expected["2"]["inputs"]["width"] = 3
    expected["4"]["inputs"] |= {"seed": 7, "text": "n", "mask": InputFile(Path("/m.png")), "words": "say"}
    assert found.prompt == expected
    assert found.seeds == {"seed": 7}
    assert json.dumps(made.prompt) == before


def test_seeds_are_drawn_within_bounds_and_told() -> None:
    drawn = [
        workflow().prompt_for({"needed": "n"}, {"imageArtifact": Path("a")}, {"narration": ""}, draw=draw)
        for draw in (lambda n: 0, lambda n: n - 1)
    ]
    assert [one.seeds["seed"] for one in drawn] == [5, 9]
    assert [one.prompt["4"]["inputs"]["seed"] for one in drawn] == [5, 9]
    seeds = {
        workflow().prompt_for({"needed": "n"}, {"imageArtifact": Path("a")}, {"narration": ""}).seeds["seed"]
        for _ in range(200)
    }
    assert seeds == {5, 6, 7, 8, 9}


def test_what_is_missing_or_wrong_is_told_at_once() -> None:
    problems = refused(lambda: workflow().prompt_for({"width": 100, "copy": 3}, {}))
    assert [problem["input"] for problem in problems] == [
        "params.width", "params.copy", "params.needed", "input.imageArtifact", "input.narration",
    ]  # fmt: skip


def test_a_param_cannot_lead_out_of_the_folders() -> None:
    binding = (
        "id: a.b\noutputs: {x: {node: 3}}\nparams: {name: {node: 3, input: filename_prefix, type: string}}"
    )
    made = bind(scaled(), parse_binding(binding))
    assert made.prompt_for({"name": "fine/name"}, {}).prompt["3"]["inputs"]["filename_prefix"] == "fine/name"
    problem = one_refused(lambda: made.prompt_for({"name": "../../etc/x"}, {}))
    assert (problem["node"], problem["input"]) == ("3", "filename_prefix")


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("width: {node: 2,", "width: {node: 7,", "params.width", "no node '7'"),
        (
            "input: width,",
            "input: widht,",
            "params.width",
            "has no input 'widht'; it has image, upscale_method, width",
        ),
        ("input: width,", "input: image,", "params.width", "is linked to another node"),
        (
            "input: height,",
            "input: width,",
            "params.height",
            "params.width goes to input 'width' of node 2 already",
        ),
        (
            "input: words,",
            "input: text,",
            "inputs.narration",
            "params.needed goes to input 'text' of node 4 already",
        ),
        ("all: {node: 3,", "all: {node: 33,", "outputs.all", "no node '33'"),
    ],
)
def test_a_binding_that_does_not_fit_its_workflow(old: str, new: str, key: str, said: str) -> None:
    assert old in BINDING
    problem = one_refused(lambda: bind(prompt(), parse_binding(BINDING.replace(old, new))))
    assert problem["input"] == key
    assert said in problem["problem"]


def test_it_is_a_capability_with_a_manifest_entry_the_control_plane_takes() -> None:
    registry = Registry()
    registry.add(workflow_capability(workflow()))
    manifest = registry.manifest()
    assert list(VALIDATORS["capability-manifest"].iter_errors(manifest)) == []
    (entry,) = manifest["capabilities"]
    assert entry["id"] == "image.scale"
    assert entry["runtime"] == {"kind": "gpu", "concurrency": 1, "timeoutSeconds": 3600}
    parameters = {one["name"]: one for one in entry["parameters"]}
    assert parameters["width"] == {
        "name": "width", "type": "integer", "description": "How wide.", "required": False, "default": 8,
    }  # fmt: skip
    assert parameters["needed"]["required"]


def write(folder: Path, stem: str, binding: str = BINDING, workflow: Any = None) -> None:
    (folder / f"{stem}.workflow.json").write_text(json.dumps(workflow or prompt()))
    (folder / f"{stem}.capability.yaml").write_text(binding)


def test_a_folder_with_all_that_can_be_wrong(tmp_path: Path) -> None:
    write(tmp_path, "a-good")
    write(tmp_path, "b-same-id")
    write(tmp_path, "c-no-binding")
    (tmp_path / "c-no-binding.capability.yaml").unlink()
    write(tmp_path, "d-no-workflow")
    (tmp_path / "d-no-workflow.workflow.json").unlink()
    write(tmp_path, "e-bad-yaml", "id: [")
    write(tmp_path, "f-bad-json", BINDING.replace("image.scale", "x.f"), {"3": 1})
    write(tmp_path, "g-bad-key", BINDING.replace("image.scale", "x.g").replace("maximum", "maximun"))
    write(
        tmp_path,
        "h-large",
        BINDING.replace("image.scale", "x.h"),
        {**prompt(), "9": node("X", a="x" * 10_000)},
    )
    write(tmp_path, "z-good-too", BINDING.replace("image.scale", "x.z"))
    (tmp_path / "y.capability.yml").touch()
    (tmp_path / ".hidden.workflow.json").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "i.workflow.json").mkdir()
    (tmp_path / "i.capability.yaml").touch()
    found = load_folder(tmp_path, PromptLimits(max_bytes=5000))
    assert list(found.workflows) == ["a-good", "z-good-too"]
    told = {problem.file: str(problem) for problem in found.problems}
    assert {name: text.partition(": ")[2] for name, text in told.items()} == {
        "b-same-id.capability.yaml": "id 'image.scale' is that of a-good.capability.yaml already",
        "c-no-binding": "c-no-binding.capability.yaml is missing beside it",
        "d-no-workflow": "d-no-workflow.workflow.json is missing beside it",
        "e-bad-yaml": "not YAML: line 1, column 6: expected the node content, but found '<stream end>'",
        "f-bad-json": "node 3: expected an object with class_type and inputs, not a number",
        "g-bad-key": "params.width.maximun: unknown key (did you mean maximum?) (and 2 more)",
        "h-large": "more than the 5000 bytes of comfyui.max_workflow_bytes",
        "i": "cannot be read: Is a directory",
        "y.capability.yml": "call it ….capability.yaml",
    }
    assert kept_warm(found) == ["m.py:f", "m.py:g"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    found = load_folder(tmp_path / "none")
    assert found.workflows == {}
    assert "No such file" in str(found.problems[0])
    assert "cannot be read" in one_refused(lambda: load_pair(tmp_path / "none.workflow.json"))["problem"]


def test_a_folder_becomes_services(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "good")
    write(
        tmp_path,
        "bad-bucket",
        BINDING.replace("image.scale", "x.b").replace("{node: 3}", "{node: 3, bucket: mine}"),
    )
    write(tmp_path, "taken", BINDING.replace("image.scale", "x.taken"))
    write(tmp_path, "broken", "[]")
    registry = Registry()
    registry.add(
        workflow_capability(bind(prompt(), parse_binding(BINDING.replace("image.scale", "x.taken"))))
    )
    settings = ComfySettings(workflows_dir=tmp_path)
    problems = register_workflows(settings, ("input", "output"), registry)
    assert [item.id for item in registry] == ["x.taken", "image.scale"]
    assert sorted(problem.file for problem in problems) == ["bad-bucket", "broken", "taken"]
    assert caplog.text.count("workflow left out") == 3
    assert "'mine' is not one of the configured buckets: input, output" in caplog.text
    assert register_workflows(ComfySettings(), (), registry) == []


def test_the_examples() -> None:
    found = load_folder(ROOT / "examples" / "workflows")
    assert found.problems == []
    assert {one.binding.id for one in found.workflows.values()} == {"image.enlarge", "image.invert"}
    enlarge = found.workflows["enlarge"]
    ready = enlarge.prompt_for({"width": 64}, {"imageArtifact": Path("/a.png")})
    assert ready.prompt["2"]["inputs"]["width"] == 64
    assert ready.prompt["2"]["inputs"]["height"] == 1024


@many
@given(
    st.dictionaries(
        st.sampled_from(["width", "copy", "seed", "needed", "level"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.lists(st.integers()),
    )
)
def test_any_params_are_taken_or_refused(params: dict[str, Any]) -> None:
    try:
        checked = given_values(workflow().types.params.model_validate(params))
    except ValidationError:
        return
    inputs = filled(checked)["2"]["inputs"]
    assert 1 <= inputs["width"] <= 64
    assert inputs["crop"] in ("disabled", "center")
