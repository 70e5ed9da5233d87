"""The schemas and the models generated from them say the same of every document.

One difference is wanted and left out here: JSON Schema counts 1.0 as an integer, the models in strict mode
do not. No JavaScript writes it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError
from referencing import Registry, Resource

from myspinbot_worker import models

FOLDER = Path(__file__).resolve().parents[2] / "schemas"
SCHEMAS: dict[str, dict[str, Any]] = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.json"))
}
REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)
VALIDATORS = {name: Draft202012Validator(schema, registry=REGISTRY) for name, schema in SCHEMAS.items()}
MODELS: dict[str, type[BaseModel]] = {
    name: getattr(models, schema["title"]) for name, schema in SCHEMAS.items()
}

NODE: dict[str, Any] = {"id": "a", "service": "s", "plane": "python", "status": "pending"}
EDGE: dict[str, Any] = {"from": "a", "to": "b"}
GRAPH: dict[str, Any] = {"schema": "langgraph.v1", "workflowId": "j", "nodes": [NODE], "edges": [EDGE]}
ENTRY: dict[str, Any] = {"jobId": "j", "created": "1700000000000", "graph": "{}"}
NOW = "2025-11-02T10:00:00.123Z"
PROGRESS: dict[str, Any] = {"jobId": "j", "progress": 0.5, "created": NOW}
STATUS: dict[str, Any] = {"jobId": "j", "status": "running", "created": NOW}
DATA: dict[str, Any] = {"jobId": "j", "data": "{}", "created": NOW}
ARTIFACT: dict[str, Any] = {
    "bucket": "output",
    "key": "j/a/1/video.mp4",
    "size_bytes": 12,
    "created_at": "2025-11-02T10:00:00.123456+00:00",
    "content_type": "video/mp4",
}
UPLOAD: dict[str, Any] = {"ok": True, "meta": ARTIFACT}
CAPABILITY: dict[str, Any] = {
    "id": "s",
    "label": "S",
    "description": "Does s.",
    "version": "1",
    "plane": "python",
    "runtime": {"kind": "gpu", "concurrency": 1, "timeoutSeconds": -1},
    "handler": {"module": "m", "method": "f"},
    "io": {"input": {}, "output": {"type": "object"}},
}
MANIFEST: dict[str, Any] = {"generatedAt": NOW, "capabilities": [CAPABILITY]}
BRIDGE: dict[str, Any] = {
    "url": "redis://redis:6379",
    "streams": {"control": "stream:control", "data": "stream:data"},
    "channels": {"progress": "channel:progress", "status": "channel:status", "data": "channel:data"},
    "jobs": {"ttl": 43200},
    "planning": {"pipelines": {"PROCESS": ["a"], "FIXED": {"b": 1}}},
}
CONFIG: dict[str, Any] = {
    "streams": {"group": "workers", "batch_size": 16},
    "server": {"host": "0.0.0.0", "port": 8000},
    "farm": {"lease_seconds": 30, "keep_going": True, "log_level": "DEBUG"},
}
SAMPLES = {
    "langgraph.v1": GRAPH,
    "stream-entry": ENTRY,
    "progress-update": PROGRESS,
    "status-update": STATUS,
    "data-update": DATA,
    "artifact": ARTIFACT,
    "upload-result": UPLOAD,
    "capability-manifest": MANIFEST,
    "redis-bridge": BRIDGE,
    "worker-config": CONFIG,
}


# These may carry keys that the schema does not name.
OPEN = ("stream-entry", "upload-result")
JUNK: tuple[Any, ...] = (None, [], "x", 1)
BAD_FARM: tuple[dict[str, Any], ...] = (
    {"lease_seconds": 0.9},
    {"reconcile_seconds": 0},
    {"engine": "magic"},
    {"namespace": "Farm"},
    {"keep_going": 1},
    {"surplus": 1},
)


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in document.items() if k != key}


def graph(*, node: dict[str, Any] | None = None, edge: dict[str, Any] | None = None, **top: Any) -> Any:
    return {**GRAPH, "nodes": [{**NODE, **(node or {})}], "edges": [{**EDGE, **(edge or {})}], **top}


def capability(**keys: Any) -> Any:
    return {**MANIFEST, "capabilities": [{**CAPABILITY, **keys}]}


def each(name: str, make: Callable[[Any], Any], *values: Any) -> list[tuple[str, Any]]:
    return [(name, make(value)) for value in values]


def node(key: str, *values: Any) -> list[tuple[str, Any]]:
    return each("langgraph.v1", lambda value: graph(node={key: value}), *values)


def edge(key: str, *values: Any) -> list[tuple[str, Any]]:
    return each("langgraph.v1", lambda value: graph(edge={key: value}), *values)


def field(name: str, key: str, *values: Any) -> list[tuple[str, Any]]:
    return each(name, lambda value: {**SAMPLES[name], key: value}, *values)


def service(key: str, *values: Any) -> list[tuple[str, Any]]:
    return each("capability-manifest", lambda value: capability(**{key: value}), *values)


def setting(name: str, *values: Any) -> list[tuple[str, Any]]:
    return each(name, lambda value: value, *values)


GOOD: list[tuple[str, Any]] = [
    *SAMPLES.items(),
    *field("langgraph.v1", "edges", []),
    *field("langgraph.v1", "context", {}, {"any": [1]}),
    *field("langgraph.v1", "metadata", {}, {"x": None}),
    *node("plane", "node", "python"),
    *node("status", "pending", "ready", "running", "completed", "failed", "skipped"),
    *node("name", "", "Voice"),
    *node("params", None, {}, {"x": None}),
    *node("input", None, 0, [{}], "", {"x": 1}),
    *node("output", None, 0, [{}], "", {"x": 1}),
    *node("error", None, {}, {"message": "m", "code": "c", "details": None, "more": 1}),
    *node("retries", None, {}, {"attempt": 0, "maxAttempts": 1}),
    *node("tags", None, [], ["x"]),
    *node("telemetry", None, {"gpu": 1}),
    *node("progressWeight", 0, 1, 1.25),
    *edge("kind", "normal", "on_success", "on_failure"),
    *edge("metadata", None, {}, {"x": 1}),
    *field("stream-entry", "more", "x"),
    *field("progress-update", "progress", 0, 1, 1.001),
    *field("progress-update", "created", "2024-02-29T23:59:59+01:00"),
    *field("status-update", "status", "advertised", "queued", "running", "completed", "failed"),
    *field("data-update", "data", ""),
    *field("artifact", "content_type", None),
    *field("artifact", "size_bytes", 0, 2**53),
    *field("artifact", "created_at", "2025-11-02T10:00:00", NOW),
    *field("upload-result", "ok", False),
    *field("upload-result", "more", 1),
    *field("capability-manifest", "capabilities", []),
    *service("parameters", [], [{"name": "p", "type": "string", "required": True, "default": None}]),
    *service("examples", [], [{"params": {}}]),
    *service("telemetry", {}, {"emitsProgressEvents": True, "metrics": ["worker_jobs_total"]}),
    *service("security", {}, {"requiresSecrets": False}),
    *service("contracts", {}, {"idempotent": True, "sideEffects": False}),
    *setting("redis-bridge", {}, {"streams": {}}, {"planning": {"other": 1}}),
    *setting("redis-bridge", {"url": "unix:///run/redis.sock"}, {"url": "rediss://u:p@redis:6380/1"}),
    *setting("worker-config", {}, {"farm": {}}, {"farm": {"reconcile_seconds": 0.1, "metrics_port": 0}}),
]

BAD: list[tuple[str, Any]] = [
    *[(name, value) for name in SAMPLES for value in JUNK],
    *[(name, without(SAMPLES[name], key)) for name in SAMPLES for key in SCHEMAS[name].get("required", [])],
    *[(name, {**SAMPLES[name], "surplus": 1}) for name in SAMPLES if name not in OPEN],
    *field("langgraph.v1", "schema", "langgraph.v2", None),
    *field("langgraph.v1", "schema_", "langgraph.v1"),
    *field("langgraph.v1", "workflowId", 7, None),
    *field("langgraph.v1", "context", None, [], "x"),
    *field("langgraph.v1", "metadata", None, [], "x"),
    *field("langgraph.v1", "nodes", [], None, *[[without(NODE, key)] for key in NODE]),
    *field("langgraph.v1", "edges", None, *[[without(EDGE, key)] for key in EDGE]),
    *node("surplus", 1),
    *node("id", None, 1),
    *node("name", None, 1),
    *node("plane", None, "ruby"),
    *node("status", None, "queued"),
    *node("params", [], "x", 1),
    *node("error", "x", {"message": 1}, {"code": None}),
    *node("retries", [], {"attempt": -1}, {"attempt": True}, {"attempt": None}, {"attempt": 0.5}),
    *node("retries", {"maxAttempts": 0}, {"tries": 1}),
    *node("tags", "x", [1], [None]),
    *node("telemetry", [], "x"),
    *node("progressWeight", None, -0.1, True, "1"),
    *edge("surplus", 1),
    *edge("from_", "a"),
    *edge("kind", None, "sometimes"),
    *edge("metadata", [], "x"),
    *field("stream-entry", "jobId", "", "a:b", 1, None),
    *field("stream-entry", "created", "", "1.5", "-1", "now", 1700000000000),
    *field("stream-entry", "graph", {}, None),
    *field("progress-update", "progress", -0.001, 1.002, None, "1", True),
    *field("progress-update", "created", "2025-11-02", "2025-11-02T10:00:00", "2025-13-02T10:00:00Z", 1),
    *field("status-update", "status", "skipped", None),
    *field("data-update", "data", {}, None, 1),
    *field("artifact", "size_bytes", -1, 1.5, "1", None),
    *field("artifact", "created_at", "yesterday", None),
    *field("upload-result", "ok", 1, None),
    *field("upload-result", "meta", None, {**ARTIFACT, "surplus": 1}),
    *field("capability-manifest", "generatedAt", "2025-11-02T10:00:00", None),
    *service("surplus", 1),
    *service("handler", {"module": "m"}, {"module": "m", "method": "f", "surplus": 1}),
    *service("io", {"input": {}}, {"input": {}, "output": {}, "surplus": 1}),
    *service("runtime", {"kind": "tpu", "concurrency": 1, "timeoutSeconds": 1}, {"kind": "cpu"}),
    *service("parameters", None, [{"name": "p"}]),
    *setting("redis-bridge", {"url": "http://redis"}, {"url": None}, {"planning": {"pipelines": []}}),
    *setting("redis-bridge", *[{"streams": value} for value in (None, {"data": ""}, {"group": "x"})]),
    *setting("redis-bridge", *[{"jobs": {"ttl": value}} for value in (0, "43200", None, 1.5)]),
    *setting("worker-config", *[{"streams": {"batch_size": value}} for value in (0, 1001, "16")]),
    *setting("worker-config", *[{"server": {"port": value}} for value in (-1, 65536, "8000", True)]),
    *setting("worker-config", *[{"farm": value} for value in BAD_FARM]),
]


def by_schema(name: str, document: Any) -> bool:
    return bool(VALIDATORS[name].is_valid(document))


def by_model(name: str, document: Any) -> bool:
    try:
        MODELS[name].model_validate(document, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_valid_and_described(name: str) -> None:
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith(f"/{name}.schema.json")
    assert schema["title"]
    assert schema["description"]
    assert name in SAMPLES


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_good_documents_pass_both(name: str, document: Any) -> None:
    assert (by_schema(name, document), by_model(name, document)) == (True, True)


@pytest.mark.parametrize(("name", "document"), BAD)
def test_bad_documents_fail_both(name: str, document: Any) -> None:
    assert (by_schema(name, document), by_model(name, document)) == (False, False)


@pytest.mark.parametrize(("name", "document"), GOOD)
def test_a_model_gives_back_what_it_took(name: str, document: Any) -> None:
    model = MODELS[name].model_validate(document, strict=True)
    assert model.model_dump(by_alias=True, exclude_unset=True) == document
    assert MODELS[name].model_validate(model.model_dump(by_alias=True), strict=True) == model


text = st.text(max_size=8)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
json_object = st.dictionaries(text, json_value, max_size=3)
error_strategy = st.fixed_dictionaries(
    {"x": json_value}, optional={"message": text, "code": text, "details": json_value}
)
retries_strategy = st.fixed_dictionaries(
    {}, optional={"attempt": st.integers(0), "maxAttempts": st.integers(1)}
)
node_strategy = st.fixed_dictionaries(
    {
        "id": text,
        "service": text,
        "plane": st.sampled_from(["node", "python"]),
        "status": st.sampled_from(["pending", "ready", "running", "completed", "failed", "skipped"]),
    },
    optional={
        "name": text,
        "params": st.none() | json_object,
        "input": json_value,
        "output": json_value,
        "error": st.none()
        | st.fixed_dictionaries(
            {"x": json_value}, optional={"message": text, "code": text, "details": json_value}
        ),
        "retries": st.none()
        | st.fixed_dictionaries({}, optional={"attempt": st.integers(0), "maxAttempts": st.integers(1)}),
        "tags": st.none() | st.lists(text, max_size=3),
        "telemetry": st.none() | json_object,
        "progressWeight": st.integers(0, 9) | st.floats(0, 1e9),
    },
)
edge_strategy = st.fixed_dictionaries(
    {"from": text, "to": text},
    optional={
        "kind": st.sampled_from(["normal", "on_success", "on_failure"]),
        "metadata": st.none() | json_object,
    },
)
graph_strategy = st.fixed_dictionaries(
    {
        "schema": st.just("langgraph.v1"),
        "workflowId": text,
        "nodes": st.lists(node_strategy, min_size=1, max_size=4),
        "edges": st.lists(edge_strategy, max_size=4),
    },
    optional={"context": json_object, "metadata": json_object},
)


@given(graph_strategy)
def test_generated_graphs_pass_both_and_come_back_unchanged(document: dict[str, Any]) -> None:
    assert (by_schema("langgraph.v1", document), by_model("langgraph.v1", document)) == (True, True)
    model = models.LanggraphWorkflow.model_validate(document, strict=True)
    assert model.model_dump(by_alias=True, exclude_unset=True) == document


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within a JSON value."""
    keys: list[Any] = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


# No float of a whole value: there the two verdicts differ on purpose.
damage = st.sampled_from(
    [None, True, False, 0, -1, 1, 2000, 0.5, -0.5, "", "x", "a:b", [], {}, [None], {"x": 1}]
)


@given(st.data())
def test_damaged_documents_get_the_same_verdict_from_both(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SAMPLES)))
    document = copy.deepcopy(data.draw(graph_strategy) if name == "langgraph.v1" else SAMPLES[name])
    container, key = data.draw(st.sampled_from(places(document)))
    action = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "replace":
        container[key] = data.draw(damage)
    elif action == "remove":
        del container[key]
    elif isinstance(container, dict):
        container[data.draw(st.sampled_from(["name", "metadata", "error", "surplus"]))] = data.draw(damage)
    assert by_schema(name, document) == by_model(name, document)
