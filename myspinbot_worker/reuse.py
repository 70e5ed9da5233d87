"""Whether an earlier result may stand for a node's work, and what has to be true of it.

Pure. A *fingerprint* is a digest of everything a result depends on: the service and its version, the engine, the
params, and the input, in which artifacts stand for their content and not for their names. Two nodes of one
fingerprint have one result, if their capability says so (``reuse=True``). What cannot be told for certain has no
fingerprint: then the task simply runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .artifact import Artifact
from .capability import Capability, is_object_path
from .errors import ArtifactMissing, BadInput, BucketNotAllowed
from .object_names import parse_path
from .object_versions import Version

_SCHEME = 1
"""Goes into every fingerprint; another number forgets all results."""
_BOOKKEEPING = frozenset({"currentProgress"})
_MOST_BYTES = 64 * 1024
"""A longer memo is not kept."""

Place = tuple[str, str]
"""Bucket and key."""


class _Unclear(Exception):
    """Something whose content cannot be told."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a result depends on.

    Attributes:
        digest: SHA-256, in hexadecimal.
        inputs: The version that stands in it for each object it looked at.
    """

    digest: str
    inputs: Mapping[Place, Version]


class KeptObject(BaseModel):
    """An object of an earlier result, and the content it had."""

    model_config = ConfigDict(extra="forbid")

    bucket: str
    key: str
    size: int
    etag: str
    algorithm: str
    checksum: str | None

    @property
    def version(self) -> Version:
        return Version(self.size, self.etag, self.algorithm, self.checksum)


class Memo(BaseModel):
    """An earlier result, as the index keeps it.

    Attributes:
        job, node, at: Whose it is, and since when (ISO 8601).
        output: Its output, as it was.
        objects: Every artifact in it.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    job: str
    node: str
    at: str
    output: dict[str, Any]
    objects: list[KeptObject]

    @property
    def told(self) -> str:
        """JSON text for the node's ``telemetry.reused``."""
        return json.dumps({"job": self.job, "node": self.node, "at": self.at})


def fingerprint(
    capability: Capability,
    params: Mapping[str, Any],
    given: Mapping[str, Any],
    context: Mapping[str, Any],
    look: Callable[[str, str], Version],
    buckets: tuple[str, ...],
) -> Fingerprint | None:
    """What the result of a node depends on; ``None`` if that cannot be told, or chance has a part in it.

    Args:
        params, given: Decoded JSON.
        context: What else the result depends on: the engine and its settings.
        look: Which version an object has now; raises :class:`.StorageError`.
        buckets: The configured ones.

    Raises:
        StorageError: Storage could not be asked.
    """
    if not capability.reuse or (capability.seed and params.get(capability.seed) is None):
        return None
    inputs: dict[Place, Version] = {}

    def content(bucket: str, key: str) -> list[Any]:
        version = inputs[bucket, key] = look(bucket, key)
        suffix = PurePosixPath(key).suffix
        if version.checksum is not None:
            return [version.algorithm, version.checksum, version.size, suffix]
        if not version.etag:
            raise _Unclear
        # Not every server's ETag says the same of the same content elsewhere.
        return ["etag", version.etag, version.size, bucket, key]

    def of(value: Any, *, named: bool = False) -> Any:
        if isinstance(value, str):
            place = _place(value, buckets)
            if named:
                if place is None:
                    raise _Unclear
                return {"path": content(*place)}
            if place is None:
                return value
            # Nobody said that this text names an object. If it does, the object must also be the same.
            try:
                return {"text": value, "object": content(*place)}
            except ArtifactMissing:
                return value
        if isinstance(value, list):
            return [of(item) for item in value]
        if isinstance(value, dict):
            if (artifact := as_artifact(value)) is not None:
                if artifact.bucket not in buckets:
                    raise _Unclear
                return {"artifact": content(artifact.bucket, artifact.key), "type": artifact.content_type}
            # An object of the payload's own must not pass for one of the above.
            return {"members": {name: of(item) for name, item in value.items()}}
        return value

    def members(payload: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
        return {
            name: of(value, named=isinstance(value, str) and is_object_path(model, name))
            for name, value in payload.items()
            if name not in _BOOKKEEPING
        }

    try:
        said = {
            "scheme": _SCHEME,
            "service": capability.id,
            "version": capability.version,
            "context": dict(context),
            "params": members(params, capability.params),
            "input": members(given, capability.input),
        }
    except (_Unclear, ArtifactMissing, BadInput, BucketNotAllowed):
        # The task itself knows best what to say of it.
        return None
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return Fingerprint(hashlib.sha256(text.encode()).hexdigest(), inputs)


def memo_text(
    job: str,
    node: str,
    folder: str,
    at: str,
    output: Mapping[str, Any],
    look: Callable[[str, str], Version],
    kept: set[Place],
) -> str | None:
    """A result for the index; ``None`` if it cannot stand for another's.

    Args:
        folder: Of the attempt's own objects.
        look: As of :func:`fingerprint`.
        kept: What the attempt uploaded.
    """
    objects = []
    for artifact in artifacts_in(output):
        if (artifact.bucket, artifact.key) not in kept:
            return None
        version = look(artifact.bucket, artifact.key)
        if version.size is None or not (version.etag or version.checksum):
            return None
        objects.append(
            KeptObject(
                bucket=artifact.bucket,
                key=artifact.key,
                size=version.size,
                etag=version.etag,
                algorithm=version.algorithm,
                checksum=version.checksum,
            )
        )
    rest = json.dumps(with_artifacts(output, dict.fromkeys(kept)), ensure_ascii=False)
    # A name of this very attempt in some text would be another job's object there.
    if folder in rest or json.dumps(job, ensure_ascii=False)[1:-1] in rest:
        return None
    text = Memo(job=job, node=node, at=at, output=dict(output), objects=objects).model_dump_json()
    return text if len(text) <= _MOST_BYTES else None


def as_artifact(value: Any) -> Artifact | None:
    """``value`` as an artifact, if it is exactly that."""
    if not isinstance(value, dict) or not {"bucket", "key", "size_bytes"} <= set(value):
        return None
    try:
        return Artifact.model_validate(value, strict=True)
    except ValidationError:
        return None


def artifacts_in(value: Any) -> Iterator[Artifact]:
    """Every artifact in decoded JSON, however deep."""
    if (artifact := as_artifact(value)) is not None:
        yield artifact
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from artifacts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from artifacts_in(item)


def with_artifacts(value: Any, others: Mapping[Place, Artifact | None]) -> Any:
    """Decoded JSON with its artifacts replaced, by place; one without another stays, ``None`` becomes null."""
    if (artifact := as_artifact(value)) is not None:
        if (artifact.bucket, artifact.key) not in others:
            return value
        other = others[artifact.bucket, artifact.key]
        return None if other is None else other.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: with_artifacts(item, others) for name, item in value.items()}
    if isinstance(value, list):
        return [with_artifacts(item, others) for item in value]
    return value


def _place(text: str, buckets: tuple[str, ...]) -> Place | None:
    if text.partition("/")[0] not in buckets:
        return None
    try:
        return parse_path(text)
    except BadInput:
        return None
