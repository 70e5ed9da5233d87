"""Params and input of the built-in services, and capability manifests: a typed value or a clear refusal."""

from __future__ import annotations

import dataclasses
import json
from random import Random

from pydantic import ValidationError

from myspinbot_worker.actors import dummy, generate, info
from myspinbot_worker.admission import read_entry
from myspinbot_worker.attempt import outcome_of_error, run_attempt
from myspinbot_worker.capability import Capability, registry
from myspinbot_worker.errors import BadInput, BadParams, RejectedEntry
from myspinbot_worker.models import CapabilityManifest
from tests.unit.attempts import Desk, claim

from .bounds import in_memory, in_time, peak
from .mutations import corpus, damaged_document, randoms

PAYLOADS, MANIFESTS = 2_000, 1_500
SERVICES = [
    item for item in registry if item.function.__module__ in {m.__name__ for m in (dummy, generate, info)}
]
ARTIFACT = {"bucket": "staged", "key": "a/b.wav", "size_bytes": 5, "created_at": "2026-01-02T03:04:05Z"}
KNOWN = [
    json.dumps(value).encode()
    for value in (
        {"params": {"audioPath": "input/voice.wav", "refText": "hi"}, "input": {"narration": "Hello."}},
        {
            "params": {"imagePath": "input/a.png"},
            "input": {"audioArtifact": ARTIFACT, "currentProgress": 0.25},
        },
        {"params": {}, "input": {"videoArtifact": {**ARTIFACT, "content_type": "video/mp4"}}},
        {"params": {"steps": 3, "seconds": 0.5, "includeSchema": True}, "input": {"currentProgress": 1}},
    )
]
MANIFESTS_KNOWN = corpus("manifests")


def checked_only(capability: Capability) -> Capability:
    """The same service, whose function does nothing with what it was given."""
    return dataclasses.replace(
        capability,
        function=lambda task, params, given: capability.output.model_construct(
            currentProgress=task.current_progress(
                given.currentProgress if "currentProgress" in type(given).model_fields else None
            ),
            numbers=[dummy._number(getattr(params, name, None), 1, 0, 10) for name in ("steps", "seconds")],
        ),
    )


def payload(random: Random) -> tuple[str | None, str | None] | None:
    """Params and input as an admitted graph holds them; ``None``: no such graph is admitted."""
    text = damaged_document(random, KNOWN).decode("utf-8", "replace")
    node = '{"id":"a","service":"s","plane":"python","status":"pending",'
    graph = '{"schema":"langgraph.v1","workflowId":"j","nodes":[' + node + text.strip().removeprefix("{")
    fields = {b"jobId": b"j", b"created": b"1", b"graph": (graph + '],"edges":[]}').encode()}
    try:
        raw = read_entry("1-1", fields).document.nodes[0].raw
    except RejectedEntry:
        return None
    return raw.get("params"), raw.get("input")


def test_damaged_payloads() -> None:
    assert len(SERVICES) == 5
    reached = done = 0
    with in_memory():
        for random in randoms("payload", PAYLOADS):
            given = payload(random)
            if given is None:
                continue
            reached += 1
            service = checked_only(random.choice(SERVICES))
            started = claim(params=given[0], input=given[1], outputs=(given[1], None))
            with in_time():
                try:
                    json.loads(run_attempt(service, Desk().task(started), started))
                    done += 1
                except (BadParams, BadInput) as refused:
                    outcome = outcome_of_error(refused, service, started, "worker")
                    error = json.loads(outcome.text.encode())
                    assert error["code"] in ("bad_params", "bad_input")
                    assert error["message"].startswith(("params", "input"))
                    assert outcome.kind == "failed"
    assert reached > PAYLOADS / 4
    assert reached / 10 < done < reached * 0.95


def manifest(text: bytes) -> CapabilityManifest | None:
    try:
        return CapabilityManifest.model_validate_json(text, strict=True)
    except ValidationError:
        return None


def test_damaged_manifests() -> None:
    """What the control plane checks with the same schema; the farm reads its own alone."""
    taken = 0
    with in_memory():
        for random in randoms("manifest", MANIFESTS):
            text = damaged_document(random, MANIFESTS_KNOWN)
            with in_time():
                found = manifest(text)
            if found is not None:
                taken += 1
                json.loads(found.model_dump_json(by_alias=True))
    assert MANIFESTS / 50 < taken < MANIFESTS / 2


def test_what_manifests_cost() -> None:
    for random in randoms("manifest", MANIFESTS // 20):
        text = damaged_document(random, MANIFESTS_KNOWN)
        assert peak(lambda text=text: manifest(text)) < 1_000_000 + 500 * len(text)  # type: ignore[misc]
