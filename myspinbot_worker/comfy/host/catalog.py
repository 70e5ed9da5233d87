"""What ``/object_info`` of a ComfyUI server says, asked of the node classes themselves."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

_OWN = "MySpinBot"


def catalog(nodes: Any) -> dict[str, Any]:
    """Class name → its inputs, outputs and module; a class that cannot say is left out, as ComfyUI does."""
    found: dict[str, Any] = {}
    for name, kind in nodes.NODE_CLASS_MAPPINGS.items():
        if name.startswith(_OWN):
            continue
        try:
            found[name] = _described(name, kind)
        except Exception as error:  # noqa: BLE001 - a pack's class may raise anything
            log.warning("node class %s cannot be described: %s", name, error)
    return found


def _described(name: str, kind: Any) -> dict[str, Any]:
    if hasattr(kind, "GET_NODE_INFO_V1"):
        described: dict[str, Any] = kind.GET_NODE_INFO_V1()
        return described
    return {
        "name": name,
        "input": kind.INPUT_TYPES(),
        "output": list(kind.RETURN_TYPES),
        "output_node": bool(getattr(kind, "OUTPUT_NODE", False)),
        "python_module": getattr(kind, "RELATIVE_PYTHON_MODULE", "nodes"),
    }
