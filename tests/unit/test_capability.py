"""What declares a service, and what the manifest says of it."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from myspinbot_worker.capability import Capability, Payload, Registry, Retry, capability
from myspinbot_worker.storage import Artifact
from myspinbot_worker.task import Task
from tests.unit.examples import some
from tests.unit.test_schemas import MODELS, VALIDATORS


class Speed(enum.Enum):
    FAST = "fast"


class Params(Payload):
    text: str = Field(description="What to say.")
    times: int = Field(2, description="How often.")
    scale: float | None = None
    loud: bool = False
    names: list[str] = Field(default_factory=lambda: ["a"])
    extra: dict[str, int] = Field(default_factory=dict)
    mode: Literal["a", "b"] = "a"
    either: int | str = 1
    anything: Any = None


class Input(Payload):
    artifact: Artifact
    currentProgress: float | None = None


class Output(Payload):
    currentProgress: float


class Plain:
    """No payload."""


class EnumParams(Payload):
    speed: Speed = Speed.FAST


class ArtifactParams(Payload):
    needed: Artifact
    optional: Artifact | None = None


class AliasParams(Payload):
    text: str = Field(alias="refText")


def service(task: Task, params: Params, given: Input) -> Output:
    """Says something.

    More than once if it must.
    """
    raise NotImplementedError


def without_docstring(task: Task, params: Payload, given: Payload) -> Payload:
    raise NotImplementedError


def too_few(task: Task, params: Params) -> Output:
    raise NotImplementedError


def too_many(task: Task, params: Params, given: Input, more: int) -> Output:
    raise NotImplementedError


def no_return(task: Task, params: Params, given: Input):  # type: ignore[no-untyped-def]
    raise NotImplementedError


def no_params(task: Task, params, given: Input) -> Output:  # type: ignore[no-untyped-def]
    raise NotImplementedError


def returns_none(task: Task, params: Params, given: Input) -> None:
    raise NotImplementedError


def maybe_returns(task: Task, params: Params, given: Input) -> Output | None:
    raise NotImplementedError


def takes_a_dict(task: Task, params: dict[str, Any], given: Input) -> Output:
    raise NotImplementedError


def takes_another_class(task: Task, params: Params, given: Plain) -> Output:
    raise NotImplementedError


def takes_an_unknown_type(task: Task, params: Nowhere, given: Input) -> Output:  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


def with_enum(task: Task, params: EnumParams, given: Input) -> Output:
    raise NotImplementedError


def with_artifacts(task: Task, params: ArtifactParams, given: Input) -> Output:
    raise NotImplementedError


def with_alias(task: Task, params: AliasParams, given: Input) -> Output:
    raise NotImplementedError


def declared(function: Any, **options: Any) -> Capability:
    registry = Registry()
    assert capability("test.it", **{"kind": "cpu", "into": registry, **options})(function) is function
    (item,) = registry
    return item


def manifest_of(item: Capability, **options: Any) -> dict[str, Any]:
    registry = Registry()
    registry.add(item)
    return registry.manifest(**options)


def check(manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, allow_nan=False)
    VALIDATORS["capability-manifest"].validate(json.loads(text))
    MODELS["capability-manifest"].model_validate(json.loads(text), strict=True)


class TestDeclaring:
    def test_the_types_are_the_functions(self) -> None:
        item = declared(service, kind="gpu", retry=Retry(max_attempts=7))
        assert (item.params, item.input, item.output) == (Params, Input, Output)
        assert (item.id, item.label, item.kind, item.queue) == ("test.it", "test.it", "gpu", "gpu")
        assert item.description == "Says something.\n\nMore than once if it must."
        assert item.retry.max_attempts == 7

    def test_the_bare_minimum(self) -> None:
        item = declared(without_docstring)
        assert item.description == "test.it"
        assert (item.timeout_seconds, item.retry) == (-1, Retry())

    @pytest.mark.parametrize(
        "function",
        [
            too_few,
            too_many,
            no_return,
            no_params,
            returns_none,
            maybe_returns,
            takes_a_dict,
            takes_another_class,
        ],
    )
    def test_other_signatures_are_refused(self, function: Any) -> None:
        registry = Registry()
        with pytest.raises(TypeError, match=rf"test_capability\.{function.__name__} must take"):
            capability("test.it", kind="cpu", into=registry)(function)
        assert list(registry) == []

    def test_an_annotation_that_names_nothing_is_refused(self) -> None:
        with pytest.raises(TypeError, match="takes_an_unknown_type"):
            capability("test.it", kind="cpu", into=Registry())(takes_an_unknown_type)


class TestRegistry:
    def test_an_id_is_given_once(self) -> None:
        registry = Registry()
        capability("test.it", kind="cpu", into=registry)(service)
        with pytest.raises(ValueError, match=r"'test\.it'"):
            capability("test.it", kind="gpu", into=registry)(without_docstring)
        assert registry.queue("test.it") == "cpu"

    def test_what_is_not_there(self) -> None:
        assert Registry().get("x") is None
        assert Registry().queue("x") is None

    def test_services_keep_their_order(self) -> None:
        registry = Registry()
        for name in ("b", "a", "c"):
            capability(name, kind="gpu", into=registry)(service)
        assert [item.id for item in registry] == ["b", "a", "c"]
        assert [item["id"] for item in registry.manifest()["capabilities"]] == ["b", "a", "c"]
        check(registry.manifest())


class TestManifest:
    @pytest.mark.parametrize("function", [service, without_docstring])
    @pytest.mark.parametrize("with_schema", [True, False])
    @pytest.mark.parametrize("timeout", [-1, 0.5, 3600])
    def test_it_is_what_the_control_plane_validates(
        self, function: Any, with_schema: bool, timeout: float
    ) -> None:
        item = declared(function, timeout_seconds=timeout, label="L", version="2")
        manifest = manifest_of(item, with_schema=with_schema)
        check(manifest)
        (entry,) = manifest["capabilities"]
        assert entry["runtime"] == {"kind": "cpu", "concurrency": 1, "timeoutSeconds": timeout}
        assert entry["handler"] == {"module": __name__, "method": function.__name__}
        assert (entry["label"], entry["version"], entry["plane"]) == ("L", "2", "python")
        assert bool(entry["io"]["input"]) == bool(entry["io"]["output"]) == with_schema

    def test_declared_effects(self) -> None:
        item = declared(service, idempotent=False, side_effects=True, emits_progress=False)
        entry = item.manifest_entry()
        assert entry["contracts"] == {"idempotent": False, "sideEffects": True}
        assert entry["telemetry"]["emitsProgressEvents"] is False

    def test_parameters(self) -> None:
        entries = {entry.pop("name"): entry for entry in declared(service).manifest_entry()["parameters"]}
        assert entries.pop("text") == {"type": "string", "description": "What to say.", "required": True}
        assert all(entry.pop("required") is False for entry in entries.values())
        assert entries.pop("times") == {"type": "integer", "description": "How often.", "default": 2}
        assert all(entry.pop("description") == "" for entry in entries.values())
        assert entries == {
            "scale": {"type": "number", "default": None},
            "loud": {"type": "boolean", "default": False},
            "names": {"type": "array", "default": ["a"]},
            "extra": {"type": "object", "default": {}},
            "mode": {"type": "string", "default": "a"},
            "either": {"type": "any", "default": 1},
            "anything": {"type": "any", "default": None},
        }

    def test_a_default_that_is_no_json_value(self) -> None:
        check(manifest_of(declared(with_enum)))

    def test_a_parameter_that_is_an_object_or_null(self) -> None:
        parameters = declared(with_artifacts).manifest_entry()["parameters"]
        assert [item["type"] for item in parameters] == ["object", "object"]

    def test_a_parameter_with_another_name_on_the_wire(self) -> None:
        assert declared(with_alias).manifest_entry()["parameters"][0]["name"] == "refText"


class TestRetry:
    def test_waits_double_up_to_the_longest(self) -> None:
        retry = Retry(backoff_seconds=0.5, max_backoff_seconds=5)
        assert [retry.delay(failed) for failed in range(1, 8)] == [0.5, 1, 2, 4, 5, 5, 5]

    def test_defaults(self) -> None:
        assert (Retry().max_attempts, Retry().delay(1), Retry().delay(10)) == (3, 1.0, 60.0)

    @some
    @given(st.integers(1, 10**12), st.floats(0, 1e6), st.floats(0, 1e6))
    def test_any_number_of_attempts_has_a_finite_wait(self, failed: int, backoff: float, most: float) -> None:
        delay = Retry(backoff_seconds=backoff, max_backoff_seconds=most).delay(failed)
        assert isinstance(delay, float)
        assert 0 <= delay <= most
        assert delay == most or delay <= Retry(1, backoff, most).delay(failed + 1)


# Loads the real farm as `dramatiq myspinbot_worker.actors` does, with every way out of the process watched.
LOAD = """
import json, sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "os.exec"):
        raise SystemExit(f"{event}: {args}")
sys.addaudithook(watch)
from myspinbot_worker import actors
from myspinbot_worker.capability import registry
print(json.dumps({
    "full": registry.manifest(),
    "short": registry.manifest(with_schema=False),
    "queues": {item.id: registry.queue(item.id) for item in registry},
    "actors": {name: actor.queue_name for name, actor in actors.broker.actors.items()},
    "modules": sorted(sys.modules),
}))
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path_factory.mktemp("empty"),
        # Only what Python itself may need to find its libraries.
        env={name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


class TestTheFarm:
    def test_its_manifest_is_what_the_control_plane_validates(self, farm: dict[str, Any]) -> None:
        check(farm["full"])
        check(farm["short"])

    def test_it_offers_the_services_of_the_contract(self, farm: dict[str, Any]) -> None:
        assert (
            farm["queues"].items()
            >= {
                "generate.f5_to_tts": "gpu",
                "generate.infinite_talk": "gpu",
                "generate.upscale_video": "gpu",
                "info.get_capabilities": "cpu",
                "dummy.dummy_task": "cpu",
            }.items()
        )

    def test_every_service_is_an_actor_on_its_queue(self, farm: dict[str, Any]) -> None:
        assert farm["actors"] == farm["queues"]

    @pytest.mark.parametrize(
        ("name", "params", "given", "output"),
        [
            (
                "generate.f5_to_tts",
                {"audioPath": True, "refText": False},
                {"narration", "currentProgress"},
                {"audioArtifact", "currentProgress"},
            ),
            (
                "generate.infinite_talk",
                {"imagePath": True, "positive_prompt": False, "negative_prompt": False},
                {"audioArtifact", "currentProgress"},
                {"videoArtifact", "currentProgress"},
            ),
            (
                "generate.upscale_video",
                {},
                {"videoArtifact", "currentProgress"},
                {"videoArtifact", "currentProgress"},
            ),
            ("info.get_capabilities", {"includeSchema": False}, set(), {"workerCaps"}),
        ],
    )
    def test_payloads_are_the_contracts(
        self, farm: dict[str, Any], name: str, params: dict[str, bool], given: set[str], output: set[str]
    ) -> None:
        (entry,) = (item for item in farm["full"]["capabilities"] if item["id"] == name)
        # The settings of an engine come on top; a graph of the platform never names them.
        more = {item["name"]: item for item in entry["parameters"] if item["name"] not in params}
        assert {item["name"]: item["required"] for item in entry["parameters"]} == params | dict.fromkeys(
            more, False
        )
        assert all("The preview engine ignores it." in item["description"] for item in more.values())
        assert bool(more) is name.startswith("generate.")
        assert set(entry["io"]["input"].get("properties", {})) == given
        assert set(entry["io"]["output"]["properties"]) == output
        assert entry["description"] != name, "people read it"

    def test_no_engine_and_no_torch_is_loaded(self, farm: dict[str, Any]) -> None:
        heavy = {"torch", "torchaudio", "numpy", "cv2", "mediapipe", "ncnn", "piper", "av"}
        assert not heavy & {Path(name.split(".")[0]).name for name in farm["modules"]}
