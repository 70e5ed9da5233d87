"""What a result depends on, and what may stand for another."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myspinbot_worker.capability import ObjectPath, Payload, Registry, capability
from myspinbot_worker.errors import ArtifactMissing, StorageUnavailable
from myspinbot_worker.object_versions import Version
from myspinbot_worker.reuse import Memo, as_artifact, fingerprint, memo_text, with_artifacts
from myspinbot_worker.storage import Artifact
from myspinbot_worker.task import Task

BUCKETS = ("input", "staged", "output")


class Params(Payload):
    voice: ObjectPath = ""
    face: ObjectPath | None = None


class Given(Payload):
    pass


def declared(**options: Any) -> Any:
    registry = Registry()

    @capability("test.render", kind="gpu", into=registry, **{"reuse": True, **options})
    def render(task: Task, params: Params, given: Given) -> Given:
        return given

    return registry.get("test.render")


def content(name: str, size: int = 3) -> Version:
    return Version(size, f"etag-{name}", "sha256", name * 64)


STORED = {
    ("input", "a.wav"): content("a"),
    ("staged", "again.wav"): content("a"),
    ("input", "b.wav"): content("b"),
    ("input", "parts.wav"): Version(3, "e-2", "md5", None),
    ("input", "unknown.wav"): Version(3, "", "md5", None),
}


def look(bucket: str, key: str) -> Version:
    if (bucket, key) not in STORED:
        raise ArtifactMissing("no such object")
    return STORED[bucket, key]


def of(
    params: dict[str, Any],
    given: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    look: Callable[[str, str], Version] = look,
    **options: Any,
) -> str | None:
    found = fingerprint(declared(**options), params, given or {}, context or {}, look, BUCKETS)
    return found.digest if found is not None else None


def artifact(key: str, bucket: str = "input", **fields: Any) -> dict[str, Any]:
    made = Artifact(
        bucket=bucket, key=key, size_bytes=3, created_at="2026-01-01T00:00:00+00:00", content_type="audio/wav"
    )
    return {**made.model_dump(), **fields}


BASE = of({"voice": "input/a.wav", "seed": 1})


def test_the_same_is_the_same() -> None:
    assert BASE is not None
    assert of({"seed": 1, "voice": "input/a.wav"}) == BASE
    assert of({"voice": "staged/again.wav", "seed": 1}) == BASE, "the content counts and not the name"
    assert of({"voice": "input/a.wav", "seed": 1}, {"currentProgress": 0.3}) == BASE, (
        "bookkeeping is not content"
    )
    assert of({"voice": "input/a.wav", "seed": 1}, {}, seed="seed") == BASE


@pytest.mark.parametrize(
    "other",
    [
        of({"voice": "input/a.wav", "seed": 2}),
        of({"voice": "input/a.wav"}),
        of({"voice": "input/a.wav", "seed": 1.0}),
        of({"voice": "input/a.wav", "seed": 1, "more": None}),
        of({"voice": "input/b.wav", "seed": 1}),
        of({"voice": "input/parts.wav", "seed": 1}),
        of({"face": "input/a.wav", "seed": 1}),
        of({"voice": "input/a.wav", "seed": 1}, {"text": "x"}),
        of({"voice": "input/a.wav", "seed": 1}, version="1.0.1"),
        of({"voice": "input/a.wav", "seed": 1}, context={"engine": "comfyui"}),
    ],
)
def test_whatever_differs_makes_another(other: str | None) -> None:
    assert other is not None
    assert other != BASE


def test_artifacts_count_by_their_content_wherever_they_are() -> None:
    first = of({}, {"clip": artifact("a.wav"), "more": [{"deep": artifact("b.wav")}]})
    assert first is not None
    assert of({}, {"clip": artifact("again.wav", "staged", created_at="2027-01-01T00:00:00+00:00"),
                   "more": [{"deep": artifact("b.wav")}]}) == first  # fmt: skip
    assert of({}, {"clip": artifact("b.wav"), "more": [{"deep": artifact("b.wav")}]}) != first


def test_a_text_that_names_an_object_counts_as_text_and_as_that_object() -> None:
    now = of({"prompt": "input/a.wav"})
    assert now != of({"prompt": "staged/again.wav"})
    changed = {**STORED, ("input", "a.wav"): content("c")}
    assert now != of({"prompt": "input/a.wav"}, look=lambda bucket, key: changed[bucket, key])
    assert of({"prompt": "input/nothing here"}) is not None


@pytest.mark.parametrize(
    ("params", "options"),
    [
        ({"voice": "input/missing.wav"}, {}),
        ({"voice": "elsewhere/a.wav"}, {}),
        ({"voice": "no path"}, {}),
        ({"voice": "input/unknown.wav"}, {}),
        ({"voice": "input/a.wav"}, {"seed": "seed"}),
        ({"voice": "input/a.wav", "seed": None}, {"seed": "seed"}),
        ({"voice": "input/a.wav"}, {"reuse": False}),
    ],
)
def test_what_cannot_be_told_has_no_fingerprint(params: dict[str, Any], options: dict[str, Any]) -> None:
    assert of(params, **options) is None


def test_a_storage_that_is_away_is_the_callers_matter() -> None:
    def away(bucket: str, key: str) -> Version:
        raise StorageUnavailable("away")

    with pytest.raises(StorageUnavailable):
        of({"voice": "input/a.wav"}, look=away)


@pytest.mark.parametrize(
    "options", [{"idempotent": False}, {"side_effects": True}, {"reuse": False, "seed": "seed"}]
)
def test_a_declaration_that_contradicts_itself_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"test\.render"):
        declared(**options)


def memo(output: dict[str, Any], kept: set[tuple[str, str]]) -> str | None:
    return memo_text("job-1", "n", "job-1/n/1-1/1/", "2026-01-01T00:00:00+00:00", output, look, kept)


def test_a_memo_names_its_objects_and_their_content() -> None:
    text = memo({"clip": artifact("a.wav"), "n": [1, None]}, {("input", "a.wav")})
    assert text is not None
    kept = Memo.model_validate_json(text)
    assert kept.output == {"clip": artifact("a.wav"), "n": [1, None]}
    assert [item.version for item in kept.objects] == [content("a")]
    assert json.loads(kept.told) == {"job": "job-1", "node": "n", "at": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    "output",
    [
        {"clip": artifact("b.wav")},
        {"path": "staged/job-1/n/1-1/1/x"},
        {"said": "of job-1"},
        {"long": "x" * 70_000},
    ],
)
def test_what_belongs_to_its_job_alone_is_no_memo(output: dict[str, Any]) -> None:
    assert memo(output, {("input", "a.wav")}) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["input/a.wav", "staged/again.wav"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200)
@given(one=JSON, other=JSON)
def test_two_payloads_have_one_fingerprint_only_if_they_are_equal(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (of({"x": one}) == of({"x": other})) == same
    assert with_artifacts(one, {}) == one
    assert as_artifact(one) is None
