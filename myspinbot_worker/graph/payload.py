"""Payloads (params, inputs, outputs) as opaque JSON text.

A payload passes through the farm as text and is taken apart only at its outermost level, where inputs are
merged; the text of every member stays exactly as its author wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from .scanner import Scanner


def members(text: str | None) -> dict[str, str] | None:
    """Member name to the JSON text of its value, if ``text`` is a JSON object; otherwise ``None``.

    Args:
        text: JSON text that was already found to be valid, or ``None`` for an absent value.
    """
    if text is None or not text.lstrip(" \t\n\r").startswith("{"):
        return None
    scanner = Scanner(text)
    return {name: scanner.value_text() for name in scanner.members()}


def merge_input(own: str | None, outputs: Iterable[str | None]) -> str | None:
    """A node's input: the shallow merge of its own input and its sources' outputs, later keys winning.

    Args:
        own: JSON text of the node's own ``input``, ``None`` if absent.
        outputs: JSON text of each source's ``output`` in edge order, ``None`` where absent.

    Returns:
        The merged input's JSON text; ``own`` unchanged (``None`` stays absent) if no source gave an object.
    """
    given = [fields for output in outputs if (fields := members(output))]
    if not given:
        return own
    merged = members(own) or {}
    for fields in given:
        merged |= fields
    return "{" + ",".join(f"{json.dumps(name)}:{raw}" for name, raw in merged.items()) + "}"


def with_member(text: str | None, name: str, raw: str) -> str:
    """A JSON object's text with one member set.

    Args:
        text: An object's; anything else (``null``, absent) counts as an empty one.
        raw: JSON text of the member's value.
    """
    found = (members(text) or {}) | {name: raw}
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in found.items()) + "}"
