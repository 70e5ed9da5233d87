"""A prompt held against a ComfyUI's catalog of node classes: can it run there?

Pure. What ComfyUI is sure to refuse is a problem; what it puts up with is a warning. Its own validation has
the last word: classes may loosen or tighten these rules in code, which no catalog tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import inf
from typing import Any

from .class_names import is_one_of
from .engine import Catalog, InputFile, Prompt
from .input_specs import SOCKETS, InputSpec, is_model_file, outputs_of, specs_of
from .outside_paths import outside_paths
from .problems import Problem, short, shown
from .prompt import Link, link_of

_FEW = 12
"""So many choices are told."""

_MOST_HINTS = 5
"""So many problems come with a suggestion: each takes milliseconds, and a stranger's prompt can have thousands."""

_PRIMITIVES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


@dataclass(frozen=True, slots=True)
class Pack:
    """A custom node pack that a workflow needs.

    Attributes:
        url: Where it is to be had; empty if not told.
        classes: Classes it brings, ``*`` standing for any text; empty if not told.
    """

    name: str
    url: str = ""
    classes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.url})" if self.url else self.name


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found: the workflow can run if there are no problems."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def check(prompt: Prompt, catalog: Catalog, packs: Sequence[Pack] = ()) -> Findings:
    """Hold a prompt against a catalog.

    Args:
        packs: The custom packs it needs, to name the one that is missing.
    """
    found = Findings()
    for id_, node in prompt.items():
        name = node["class_type"]
        if name not in catalog:
            found.problems.append(Problem(_unknown_class(name, catalog, packs, found), id_, name))
            continue
        _check_node(prompt, catalog, id_, found)
    if not outputs(prompt, catalog) and not found.problems:
        found.problems.append(
            Problem("no node of it is an output (SaveImage, SaveVideo, …): nothing would run")
        )
    found.problems.extend(outside_paths(prompt, catalog))
    return found


def outputs(prompt: Prompt, catalog: Catalog) -> list[str]:
    """Ids of the nodes for whose sake the prompt runs."""
    return [
        id_ for id_, node in prompt.items() if _info(catalog, node["class_type"]).get("output_node") is True
    ]


def _info(catalog: Catalog, name: str) -> Mapping[str, Any]:
    info = catalog.get(name)
    return info if isinstance(info, Mapping) else {}


def _unknown_class(name: str, catalog: Catalog, packs: Sequence[Pack], found: Findings) -> str:
    close = _close(name, catalog, found)
    from_pack = [pack for pack in packs if is_one_of(name, pack.classes)]
    # A pack that says which classes it brings does not bring the others.
    silent = [pack for pack in packs if not pack.classes]
    text = f"this ComfyUI has no node class {short(name)!r}"
    if from_pack:
        return f"{text}: install the pack {from_pack[0]}"
    if silent:
        text += f"; it should come with {' or '.join(map(str, silent))}"
    return text + (f" (did you mean {', '.join(close)}?)" if close else "")


def _close(name: str, known: Iterable[Any], found: Findings) -> list[str]:
    """Known names that are like this one, as long as there are not too many problems for it."""
    if len(found.problems) + len(found.warnings) >= _MOST_HINTS:
        return []
    length = len(name)
    names = [one for one in known if isinstance(one, str) and abs(len(one) - length) <= 4 + length // 4]
    return [short(one) for one in get_close_matches(name[:200], names[:1000], n=3, cutoff=0.7)]


def _check_node(prompt: Prompt, catalog: Catalog, id_: str, found: Findings) -> None:
    node = prompt[id_]
    name, given = node["class_type"], node["inputs"]
    specs = specs_of(catalog[name], given)
    dynamic = tuple(f"{key}." for key, spec in specs.items() if spec.dynamic)
    for key, spec in specs.items():
        if spec.required and key not in given:
            found.problems.append(Problem("it is required and missing", id_, name, key))
    for key, value in given.items():
        spec_ = specs.get(key)
        if spec_ is None:
            if not key.startswith(dynamic) and specs:
                close = _close(key, specs, found)
                hint = f" (did you mean {close[0]}?)" if close else ""
                found.warnings.append(Problem(f"the class has no such input{hint}", id_, name, key))
            continue
        link = link_of(value)
        wrong = (
            _link_problem(prompt, catalog, spec_, link)
            if link is not None
            else _value_problem(spec_, _unwrapped(value), found)
        )
        if wrong is not None:
            found.problems.append(Problem(wrong, id_, name, key))
        elif link is None and (doubt := _doubt(spec_, _unwrapped(value))) is not None:
            found.warnings.append(Problem(doubt, id_, name, key))


def _unwrapped(value: Any) -> Any:
    """A list as a value is exported in an object, for a bare one is read as a link."""
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def _link_problem(prompt: Prompt, catalog: Catalog, spec: InputSpec, link: Link) -> str | None:
    source = prompt[link.source]["class_type"]
    made = outputs_of(catalog.get(source))
    if made is None:
        return None
    if link.slot >= len(made):
        return (
            f"links to output {link.slot} of node {short(link.source)!r} ({short(source)}), which has "
            f"{len(made) or 'none'}"
        )
    kind = made[link.slot]
    if spec.takes_any_type or not isinstance(kind, str):
        return None
    offered = {part.strip() for part in kind.split(",")}
    if offered & ({"*", "COMFY_MATCHTYPE_V3"} | set(spec.types)):
        return None
    return f"takes {spec.type}, but output {link.slot} of node {short(link.source)!r} ({short(source)}) is {kind}"


def _value_problem(spec: InputSpec, value: Any, found: Findings) -> str | None:
    if isinstance(value, InputFile):
        return None
    if spec.dynamic or spec.type == "COMBO":
        return _choice_problem(spec, value, found)
    if spec.takes_any_type:
        return None
    if isinstance(value, list) and set(spec.types) & _PRIMITIVES:
        return "a list of two is read as a link, and any other list is refused"
    if set(spec.types) <= SOCKETS:
        return f"takes a link to an output of type {spec.type}, not {shown(value)}"
    if len(spec.types) > 1:
        return None
    match spec.type:
        case "INT" | "FLOAT":
            return _number_problem(spec, value)
        case "BOOLEAN" if not isinstance(value, bool | int):
            return f"expected true or false, not {shown(value)}"
        case "STRING" if not isinstance(value, str | int | float):
            return f"expected text, not {shown(value)}"
    return None


def _number_problem(spec: InputSpec, value: Any) -> str | None:
    expected = "a whole number" if spec.type == "INT" else "a number"
    if isinstance(value, str):
        # ComfyUI converts such a text, and some exports have them.
        try:
            value = int(value) if spec.type == "INT" else float(value)
        except ValueError:
            return f"expected {expected}, not {shown(value)}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not -inf < value < inf:
        return f"expected {expected}, not {shown(value)}"
    if spec.type == "INT" and isinstance(value, float) and not value.is_integer():
        return f"expected {expected}, not {shown(value)}"
    least, most = spec.bounds
    if least is not None and value < least:
        return f"{shown(value)} is less than {shown(least)}, the least it takes"
    if most is not None and value > most:
        return f"{shown(value)} is more than {shown(most)}, the most it takes"
    return None


def _choice_problem(spec: InputSpec, value: Any, found: Findings) -> str | None:
    if spec.choices is None or spec.uploads:
        return None
    values = value if isinstance(value, list) and spec.options.get("multiselect") else [value]
    for one in values:
        if not _is_among(one, spec.choices):
            return _not_a_choice(one, spec, found)
    return None


def _is_among(value: Any, choices: Sequence[Any]) -> bool:
    return any(choice == value for choice in choices)


def _not_a_choice(value: Any, spec: InputSpec, found: Findings) -> str:
    names = [choice for choice in spec.choices or () if isinstance(choice, str)]
    close = _close(value, names, found) if isinstance(value, str) else []
    if is_model_file(value) or (spec.picks_a_model and isinstance(value, str)):
        hint = f" (there is {', '.join(close)})" if close else ""
        return f"model file {shown(value)} is missing{hint}"
    if not names:
        return f"{shown(value)} is not there: nothing is there to choose"
    told = ", ".join(short(name) for name in names[:_FEW]) + (", …" if len(names) > _FEW else "")
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{shown(value)} is none of {told}{hint}"


def _doubt(spec: InputSpec, value: Any) -> str | None:
    """What ComfyUI may put up with, or not."""
    if isinstance(value, InputFile):
        return None
    if (
        spec.uploads
        and spec.choices is not None
        and isinstance(value, str)
        and not _is_among(value, spec.choices)
    ):
        return f"{shown(value)} is not in ComfyUI's input folder: bind it as an artifact, or put it there"
    if spec.type in ("INT", "FLOAT") and isinstance(value, str):
        return f"the text {shown(value)} where a number is expected"
    return None
