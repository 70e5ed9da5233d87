"""A prompt in ComfyUI's API format, read from text that nobody has looked at yet.

Pure. What only a ComfyUI's catalog can tell (classes, types, choices) is checked in :mod:`.catalog`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..graph.scanner import nested_deeper
from .engine import Prompt
from .problems import Problem, invalid, refuse, short

MAX_DEPTH = 32
"""Deepest nesting of a workflow's JSON; exports have some five levels."""


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """How large a workflow may be.

    Attributes:
        max_bytes: Size of its text, asked before it is parsed.
        max_nodes: Number of its nodes.
    """

    max_bytes: int = 8 * 1024 * 1024
    max_nodes: int = 2000


DEFAULT_LIMITS = PromptLimits()


class Link(NamedTuple):
    """An input that takes another node's output."""

    source: str
    slot: int


def link_of(value: Any) -> Link | None:
    """The link that an input's value is, ``None`` for any other value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and _is_number(value[1]):
        return Link(value[0], value[1])
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def links(node: Mapping[str, Any]) -> Iterator[tuple[str, Link]]:
    """Names and links of a node's linked inputs."""
    for name, value in node["inputs"].items():
        if (link := link_of(value)) is not None:
            yield name, link


def parse_prompt(data: bytes | str, limits: PromptLimits = DEFAULT_LIMITS, what: str = "workflow") -> Prompt:
    """Read a workflow that ComfyUI exported with "Export (API)".

    Args:
        what: What it is to the user: the start of the error message.

    Raises:
        InvalidPrompt: It is too large, not JSON, not in the API format, or its links lead nowhere or in a circle.
    """
    size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "surrogatepass"))
    if size > limits.max_bytes:
        told = f"more than the {limits.max_bytes} bytes of comfyui.max_workflow_bytes"
        raise invalid(what, [Problem(told)])
    repeated: list[str] = []
    try:
        # Windows editors put a byte order mark in front.
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
        document = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, repeated))
    except UnicodeDecodeError as error:
        raise invalid(what, [Problem(f"byte {error.start}: expected UTF-8")]) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise invalid(what, [Problem(f"not JSON: {where}: {error.msg}")]) from None
    except RecursionError:
        raise invalid(what, [Problem("nested too deeply")]) from None
    except ValueError as error:  # a number of thousands of digits
        raise invalid(what, [Problem(f"not JSON: {str(error)[:100]}")]) from None
    refuse(what, [Problem(f"the key {short(key)!r} stands twice in one object") for key in repeated])
    return check_prompt(document, limits, what)


def _object(pairs: list[tuple[str, Any]], repeated: list[str]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        repeated.extend(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return found


def check_prompt(document: Any, limits: PromptLimits = DEFAULT_LIMITS, what: str = "workflow") -> Prompt:
    """A parsed document as a prompt; keys that are not known (``_meta``) are left alone.

    Raises:
        InvalidPrompt: As :func:`parse_prompt`.
    """
    if (wrong := _not_a_prompt(document, limits)) is not None:
        raise invalid(what, [Problem(wrong)])
    problems = [problem for id_, node in document.items() for problem in _node_problems(id_, node)]
    refuse(what, problems)
    problems = [problem for id_, node in document.items() for problem in _link_problems(document, id_, node)]
    refuse(what, problems)
    if (cycle := find_cycle(document)) is not None:
        told = " -> ".join(map(short, cycle[:20])) + (" -> …" if len(cycle) > 20 else "")
        raise invalid(
            what, [Problem(f"nodes wait for each other: {told}", cycle[0], _class(document, cycle[0]))]
        )
    found: Prompt = document
    return found


def _not_a_prompt(document: Any, limits: PromptLimits) -> str | None:
    if not isinstance(document, dict):
        return f"expected an object of nodes, not {_kind(document)}"
    if isinstance(document.get("nodes"), list):
        return "this is the editor's own format: export it with 'Export (API)'"
    if isinstance(document.get("prompt"), dict) and "class_type" not in document["prompt"]:
        return "this is a whole request: the workflow is what stands under its key 'prompt'"
    if not document:
        return "it has no nodes"
    if len(document) > limits.max_nodes:
        return f"{len(document)} nodes, more than the {limits.max_nodes} of comfyui.max_workflow_nodes"
    if nested_deeper(document, MAX_DEPTH):
        return f"nested more than {MAX_DEPTH} levels deep"
    return None


def _node_problems(id_: Any, node: Any) -> Iterator[Problem]:
    if not isinstance(id_, str) or not id_ or not _is_text(id_):
        yield Problem("a node's id must be text that is not empty", repr(id_))
        return
    if not isinstance(node, dict):
        yield Problem(f"expected an object with class_type and inputs, not {_kind(node)}", id_)
        return
    name = node.get("class_type")
    if not isinstance(name, str) or not name or not _is_text(name):
        yield Problem("it has no class_type", id_)
        return
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        yield Problem(f"inputs must be an object, not {_kind(inputs)}", id_, name)
        return
    for input_, value in inputs.items():
        if (wrong := _value_problem(input_, value)) is not None:
            yield Problem(wrong, id_, name, str(input_))


def _value_problem(input_: Any, value: Any) -> str | None:
    if not isinstance(input_, str) or not _is_text(input_):
        return "an input's name must be text"
    for part in _parts(value):
        if isinstance(part, float) and not math.isfinite(part):
            return f"{part} is no number that JSON has"
        if isinstance(part, str) and not _is_text(part):
            return "text that is no valid Unicode"
    return None


def _parts(value: Any) -> Iterator[Any]:
    """All values in ``value``, keys included; nothing is nested too deeply any more."""
    yield value
    if isinstance(value, dict):
        for key, child in value.items():
            yield key
            yield from _parts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _parts(child)


def _link_problems(document: Prompt, id_: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    for name, link in links(node):
        if link.source not in document:
            yield Problem(
                f"links to node {short(link.source)!r}, which is not there", id_, node["class_type"], name
            )
        elif not isinstance(link.slot, int) or link.slot < 0:
            yield Problem(
                f"links to output {link.slot} of node {short(link.source)!r}; outputs are counted 0, 1, 2, …",
                id_, node["class_type"], name,
            )  # fmt: skip


def find_cycle(prompt: Prompt) -> list[str] | None:
    """Nodes that wait for each other, the first one again at the end; ``None`` if there are none."""
    done: set[str] = set()
    for start in prompt:
        if start in done:
            continue
        path, on_path = [start], {start: 0}
        walks = [iter([link.source for _, link in links(prompt[start])])]
        while walks:
            source = next(walks[-1], None)
            if source is None:
                walks.pop()
                left = path.pop()
                del on_path[left]
                done.add(left)
            elif source in on_path:
                # The walk goes against the data; told in the data's direction.
                return [*path[on_path[source] :], source][::-1]
            elif source not in done:
                on_path[source] = len(path)
                path.append(source)
                walks.append(iter([link.source for _, link in links(prompt[source])]))
    return None


def needed_for(prompt: Prompt, outputs: Iterable[str]) -> set[str]:
    """The nodes that have to run for these ones, themselves included."""
    needed: set[str] = set()
    waiting = [id_ for id_ in outputs if id_ in prompt]
    while waiting:
        id_ = waiting.pop()
        if id_ not in needed:
            needed.add(id_)
            waiting.extend(link.source for _, link in links(prompt[id_]) if link.source in prompt)
    return needed


def _class(document: Prompt, id_: str) -> str:
    return str(document[id_]["class_type"])


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
