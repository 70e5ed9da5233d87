"""What a campaign's task gives back for what it was given: known beforehand, whoever runs it and however often."""

from __future__ import annotations

import hashlib
import json
from typing import Any

_ARTIFACT = frozenset({"bucket", "key", "size_bytes", "created_at", "content_type"})
STARTS = "test:starts"
"""Where tasks record their starts."""
ARTIFACT = "artifact_"
"""An output's artifact is under this and the node's id."""


def is_artifact(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == _ARTIFACT


def canonical(value: Any) -> Any:
    """A JSON value without what may differ between two right attempts: when and under which key an object was kept."""
    if is_artifact(value):
        return {"bucket": value["bucket"], "size_bytes": value["size_bytes"]}
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return value


def artifacts(value: Any) -> list[dict[str, Any]]:
    """Every artifact a JSON value names."""
    if is_artifact(value):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in items for found in artifacts(item)]


def digest(value: Any) -> str:
    """A short digest of what a node was given or makes."""
    text = json.dumps(canonical(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def output_of(node_id: str, salt: str, given: Any) -> dict[str, Any]:
    """A node's output but for its artifact. It holds a digest of the input, so that a wrong one shows downstream, and
    a key that all nodes share, so that the order of merging shows."""
    return {node_id: digest([node_id, salt, given or {}]), "last": node_id}


def content_of(job: str, node_id: str, size: int) -> bytes:
    """What the object of a node holds."""
    block = hashlib.sha256(f"{job}/{node_id}".encode()).digest()
    return (block * (size // len(block) + 1))[:size]
