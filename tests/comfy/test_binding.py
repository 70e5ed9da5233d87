"""Bindings as people write them: read, or refused with the path of the key."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.comfy.binding import LARGEST_SEED, Binding, parse_binding
from myspinbot_worker.comfy.engine import InvalidPrompt
from myspinbot_worker.media.promise import AudioPromise
from tests.comfy.prompts import one_refused, refused
from tests.functional.processes import ROOT
from tests.unit.examples import many

GOOD: dict[str, Any] = {
    "id": "image.enlarge",
    "params": {
        "width": {"node": 2, "input": "width", "type": "integer", "minimum": 1, "maximum": 64, "default": 8},
        "mode": {"node": 2, "input": "mode", "type": "choice", "choices": ["a", "b"]},
    },
    "inputs": {"imageArtifact": {"node": 1, "input": "image", "media": "image"}},
    "outputs": {"imageArtifact": {"node": 3}},
}


def text(*path: str | int, **changes: Any) -> str:
    """The good binding as YAML, with values put in at a path; ``None`` takes a key away."""
    binding = yaml.safe_load(yaml.safe_dump(GOOD))
    part = binding
    for key in path:
        part = part[key]
    for key, value in changes.items():
        part[key] = value
        if value is None:
            del part[key]
    return yaml.safe_dump(binding)


def test_the_least_that_is_needed() -> None:
    binding = parse_binding("id: a.b\noutputs: {x: {node: 3}}")
    assert (binding.kind, binding.timeout_seconds, binding.retry.max_attempts) == ("gpu", 3600, 3)
    assert (binding.outputs["x"].node, binding.outputs["x"].bucket) == ("3", "output")


def test_all_there_is() -> None:
    binding = parse_binding(
        """
        id: speech.speak
        label: Speak
        description: Speaks.
        version: "1.10"
        kind: cpu
        timeoutSeconds: 60
        retry: {maxAttempts: 2, backoffSeconds: 0.5, maxBackoffSeconds: 3}
        packs: [{name: TTS, url: "https://x.y", classes: [TTS*]}]
        keepWarm: ["tts/nodes.py:load_model"]
        memoryBytes: 1000
        params:
          seed: {type: seed, targets: [{node: 9:1, input: seed}, {node: 3, input: noise_seed}]}
          loud: {node: "4", input: loud, type: boolean, default: false, description: no}
        inputs:
          audioPath: {node: 1, input: audio, from: params, media: audio, required: false}
          narration: {node: 2, input: text, type: string}
        outputs:
          audioArtifact: {node: 5, kind: audio, bucket: staged, many: true, promise: {audio: {shortest: 1}}}
        """
    )
    assert [(target.node, target.input) for target in binding.params["seed"].targets] == [
        ("9:1", "seed"),
        ("3", "noise_seed"),
    ]
    assert binding.params["loud"].description == "no"
    assert binding.version == "1.10"
    assert binding.inputs["narration"].origin == "input"
    assert not binding.inputs["narration"].is_file
    promise = binding.outputs["audioArtifact"].promise
    assert promise is not None
    assert promise.promised == AudioPromise(shortest=1)
    assert str(binding.packs_needed[0]) == "TTS (https://x.y)"


@pytest.mark.parametrize(
    ("broken", "key", "said"),
    [
        (text(idd="x"), "idd", "unknown key (did you mean id?)"),
        (text("params", "width", minimun=1), "params.width.minimun", "unknown key (did you mean minimum?)"),
        (text("inputs", "imageArtifact", nod=1), "inputs.imageArtifact.nod", "did you mean node?"),
        (
            text("outputs", "imageArtifact", contenttype="x"),
            "outputs.imageArtifact.contenttype",
            "contentType",
        ),
        (text(retry={"max_attempts": 1}), "retry.max_attempts", "did you mean maxAttempts?"),
        (
            text("params", "width", targets=[{"node": 1, "inptu": "x", "input": "y"}]),
            "params.width.targets.0.inptu",
            "did you mean input?",
        ),
        (text(id=None), "id", "it is required and missing"),
        (text(id="image"), "id", "match pattern"),
        (text(outputs={}), "outputs", "at least 1"),
        (text(version=1.2), "version", "valid string"),
        (text(kind="tpu"), "kind", "'cpu' or 'gpu'"),
        (text(timeoutSeconds="soon"), "timeoutSeconds", "valid number"),
        (text(keepWarm=["load"]), "keepWarm.0", "match pattern"),
        (
            text("params", **{"1x": {"node": 1, "input": "x", "type": "seed"}}),
            "params.1x",
            "a name is a letter",
        ),
        (text("params", "width", node=None), "params.width", "node and input go together"),
        (
            text("params", "width", node=None, input=None),
            "params.width",
            "expected node and input, or targets",
        ),
        (text("params", "width", type="int"), "params.width.type", "'integer'"),
        (text("params", "width", minimum=65), "params.width", "minimum is larger than maximum"),
        (text("params", "width", default=65), "params.width", "default: expected 1 to 64"),
        (text("params", "width", default="8"), "params.width", "default: expected a whole number"),
        (text("params", "width", required=True), "params.width", "what has a default is not required"),
        (text("params", "width", choices=[1]), "params.width", "choices go with type choice"),
        (text("params", "mode", choices=None), "params.mode", "choices go with type choice"),
        (text("params", "mode", default="c"), "params.mode", "default: expected one of a, b"),
        (text("params", "mode", minimum=1), "params.mode", "do not go with type choice"),
        (text("inputs", "imageArtifact", media="smell"), "inputs.imageArtifact.media", "'image'"),
        (text("inputs", "imageArtifact", type="string"), "inputs.imageArtifact", "not both"),
        (
            text("inputs", "imageArtifact", media=None, type="string", **{"from": "params"}),
            "inputs.imageArtifact",
            "belongs under params",
        ),
        (
            text("inputs", currentProgress={"node": 1, "input": "x", "type": "number"}),
            "inputs.currentProgress",
            "the farm itself",
        ),
        (
            text("inputs", width={"node": 1, "input": "x", "from": "params"}),
            "inputs.width",
            "a param has this name too",
        ),
        (text("outputs", seeds={"node": 3}), "outputs.seeds", "the farm itself"),
    ],
)
def test_a_key_that_is_wrong(broken: str, key: str, said: str) -> None:
    problem = one_refused(lambda: parse_binding(broken))
    assert problem["input"] == key
    assert said in problem["problem"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("id: [", "line 1, column 6"),
        ("", "expected keys and values"),
        ("- a", "expected keys and values"),
        (b"\xff", "expected UTF-8"),
        (text() + "\nid: again.x", "the key 'id' stands here twice"),
        ("id: &a a.b\nlabel: *a", "line 2, column 8: a reference (*name) is not taken"),
        ("id: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("? [a]\n: b", "a key must be text"),
        ("timeoutSeconds: 1e999", "a number must be finite"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "x" * 2_000_000, "more than 1048576 bytes"),
        ("id: a\x00b", "not YAML"),
    ],
)
def test_what_is_no_binding(broken: str | bytes, said: str) -> None:
    assert said in one_refused(lambda: parse_binding(broken, "x.capability.yaml"))["problem"]


def test_what_the_documentation_shows() -> None:
    page = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    binding = parse_binding(page.partition("```yaml\n")[2].partition("```")[0])
    assert set(binding.params) == {"steps", "seed", "style", "sampler"}
    assert binding.params["seed"].targets[1].node == "9:1"
    assert binding.model_fields_set == set(Binding.model_fields)


def test_all_problems_at_once() -> None:
    assert len(refused(lambda: parse_binding(text("params", "width", a=1, b=2)))) == 2


def test_seeds_stay_within_what_the_control_plane_can_count() -> None:
    param = parse_binding(
        "id: a.b\noutputs: {x: {node: 3}}\nparams: {s: {node: 1, input: s, type: seed}}"
    ).params["s"]
    assert param.wrong(LARGEST_SEED) is None
    assert param.wrong(LARGEST_SEED + 1) is not None
    assert param.wrong(-1) is not None


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["integer", "choice", "input", "a.b"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["node", "input", "type", "x", "default"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@many
@given(
    st.sampled_from(
        [(), ("params",), ("params", "width"), ("params", "mode"), ("inputs", "imageArtifact"), ("outputs",)]
    ),
    st.sampled_from(
        [
            "id",
            "node",
            "input",
            "type",
            "default",
            "minimum",
            "maximum",
            "choices",
            "x",
            "targets",
            "params",
            "retry",
            "promise",
        ]
    ),
    _values,
)
def test_any_change_is_taken_or_refused(path: tuple[str, ...], key: str, value: Any) -> None:
    binding = yaml.safe_load(yaml.safe_dump(GOOD))
    part = binding
    for step in path:
        part = part[step]
    part[key] = value
    try:
        found = parse_binding(yaml.safe_dump(binding, allow_unicode=False))
    except InvalidPrompt:
        return
    assert isinstance(found, Binding)


@many
@given(st.text(max_size=100) | st.binary(max_size=100))
def test_any_text_is_refused_in_plain_words(broken: str | bytes) -> None:
    refused(lambda: parse_binding(broken))
