"""Workflows as data: an API-format JSON file, filled and trimmed into the prompt of one run. Pure but for the reading.

A template is complete and can be opened in ComfyUI; ids of nodes are words, so that an input is named ``"node.input"``.
What differs from run to run stands as ``null`` and must be filled. ``_meta`` of a node may hold ``drifting``: names of
inputs that not every version of the class has.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from .prompt import link_of

Template = dict[str, dict[str, Any]]


@cache
def _text(name: str) -> str:
    return (files(__package__) / "workflows" / f"{name}.json").read_text(encoding="utf-8")


def load_template(name: str) -> Template:
    """A template of this package, the caller's to change.

    Raises:
        FileNotFoundError: There is none of that name.
    """
    loaded: Template = json.loads(_text(name))
    return loaded


def filled(template: Template, values: Mapping[str, Any]) -> Template:
    """The template with values put into inputs.

    Args:
        values: ``"node.input"`` → value.

    Raises:
        KeyError: The template has no such node or input.
    """
    prompt = copy.deepcopy(template)
    for address, value in values.items():
        node, _, name = address.partition(".")
        if name not in prompt[node]["inputs"]:
            raise KeyError(address)
        prompt[node]["inputs"][name] = value
    return prompt


def unfilled(prompt: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Inputs that still are ``null``."""
    return tuple(
        f"{node}.{name}"
        for node, it in prompt.items()
        for name, value in it["inputs"].items()
        if value is None
    )


def without(template: Template, nodes: Iterable[str]) -> Template:
    """The template without some nodes and without the inputs that they fed."""
    gone = set(nodes)
    unknown = gone - template.keys()
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    prompt = {node: copy.deepcopy(it) for node, it in template.items() if node not in gone}
    for it in prompt.values():
        inputs = it["inputs"]
        it["inputs"] = {
            name: value
            for name, value in inputs.items()
            if (link := link_of(value)) is None or link.source not in gone
        }
    return prompt


def bypassed(template: Template, node: str, through: str) -> Template:
    """The template without a node; whoever it fed gets what its input ``through`` got."""
    source = template[node]["inputs"][through]
    prompt = {name: copy.deepcopy(it) for name, it in template.items() if name != node}
    for it in prompt.values():
        for name, value in it["inputs"].items():
            if (link := link_of(value)) is not None and link.source == node:
                it["inputs"][name] = list(source)
    return prompt


def replaced(template: Template, node: str, class_type: str, inputs: Iterable[str]) -> Template:
    """The template with another class in a node's place, which takes only some of its inputs."""
    prompt = copy.deepcopy(template)
    old = prompt[node]["inputs"]
    prompt[node] = {"class_type": class_type, "inputs": {name: old[name] for name in inputs}}
    return prompt
