"""What a graph breaks of its schema, told part by part. Pure.

Pydantic collects all errors of a document before it tells one, at hundreds of bytes each: an entry of 64 MB
that is wrong in every place would take 25 GB and minutes, and the next ingestor would read it again. Here each
node and edge is checked by itself, what is closed is counted before it is checked, and whoever asks for three
faults pays for three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from .models.langgraph_v1 import Edge, LanggraphWorkflow, Node, Retries

_A_NODE = {"id": "n", "service": "s", "plane": "python", "status": "pending"}
_LONGEST_NAME = 80


def faults(document: Any) -> Iterator[str]:
    """Faults of a decoded document, each as ``graph.nodes[3].status: …``; none if it fits the schema."""
    if not isinstance(document, dict):
        yield from _pydantics(LanggraphWorkflow, document, "graph")
        return
    # Nodes and edges have their turn below: here one good node stands for those there are.
    shell = dict(document)
    if isinstance(shell.get("nodes"), list) and shell["nodes"]:
        shell["nodes"] = [_A_NODE]
    if isinstance(shell.get("edges"), list):
        shell["edges"] = []
    yield from _closed(LanggraphWorkflow, shell, "graph")
    for name, model in (("nodes", Node), ("edges", Edge)):
        items = document.get(name)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            yield from _closed(model, item, f"graph.{name}[{index}]")


def _closed(model: type[BaseModel], value: Any, at: str) -> Iterator[str]:
    """Faults of an object that takes no keys but its model's."""
    if not isinstance(value, dict):
        yield from _pydantics(model, value, at)
        return
    known = _names(model)
    rest: dict[str, Any] = {name: value[name] for name in known if name in value}
    if len(rest) < len(value):
        for name in value:
            if name not in known:
                yield f"{at}.{name[:_LONGEST_NAME]}: Extra inputs are not permitted"
    if model is Node:
        yield from _inner(rest, at)
    yield from _pydantics(model, rest, at)


@cache
def _names(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def _inner(node: dict[str, Any], at: str) -> Iterator[str]:
    """Faults of what a node holds that could be wrong in many places; these parts are taken out of ``node``."""
    tags, retries = node.get("tags"), node.get("retries")
    if isinstance(tags, list):
        del node["tags"]
        for index, tag in enumerate(tags):
            if not isinstance(tag, str):
                yield f"{at}.tags[{index}]: Input should be a valid string"
    if isinstance(retries, dict):
        del node["retries"]
        yield from _closed(Retries, retries, f"{at}.retries")


def _pydantics(model: type[BaseModel], value: Mapping[str, Any], at: str) -> Iterator[str]:
    try:
        model.model_validate(value, strict=True)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            yield f"{at}{_path(item['loc'])}: {item['msg']}"


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
