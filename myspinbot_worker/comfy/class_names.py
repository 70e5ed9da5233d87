"""Sets of node classes as operators write them: names, ``*`` for any text, ``core`` for ComfyUI's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .engine import Catalog

CORE = "core"


def is_one_of(name: str, patterns: Iterable[str]) -> bool:
    """Whether a class has one of these names."""
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) for pattern in patterns
    )


def is_allowed(name: str, patterns: Iterable[str], catalog: Catalog) -> bool:
    """Whether a class is in a list of ``comfyui.render_classes``; an empty one is that of the core classes."""
    names = list(patterns) or [CORE]
    return (CORE in names and is_core(catalog.get(name))) or is_one_of(
        name, [pattern for pattern in names if pattern != CORE]
    )


def is_core(info: Any) -> bool:
    """Whether a class, as a catalog has it, is ComfyUI's own: of no custom pack, and none that calls a paid service."""
    if not isinstance(info, Mapping):
        return False
    module = info.get("python_module")
    # What does not say where it comes from comes from nowhere.
    from_core = isinstance(module, str) and (module == "nodes" or module.startswith("comfy_extras."))
    return from_core and not info.get("api_node")
