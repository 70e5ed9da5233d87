"""A workflow: a prompt as ComfyUI exported it, and the binding that makes a service of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .binding import LARGEST_SEED, Binding, Param, Target, parse_binding
from .binding_text import MAX_BYTES
from .engine import InputFile, InvalidPrompt, Prompt
from .outside_paths import outside_paths
from .payload_types import PayloadTypes, payload_types
from .problems import Problem, invalid, refuse
from .prompt import DEFAULT_LIMITS, PromptLimits, link_of, parse_prompt

PROMPT_SUFFIX, BINDING_SUFFIX = ".workflow.json", ".capability.yaml"


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt that can be run.

    Attributes:
        seeds: Every seed that goes into it, by param, given or drawn.
    """

    prompt: Prompt
    seeds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Workflow:
    """See the module; made by :func:`bind`."""

    prompt: Prompt
    binding: Binding
    types: PayloadTypes

    def prompt_for(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Path],
        values: Mapping[str, Any] | None = None,
        draw: Callable[[int], int] = secrets.randbelow,
    ) -> Filled:
        """The prompt with everything in its place.

        Args:
            params: By name; what is absent keeps its default, or what the workflow itself has.
            inputs: The files that go in, by name.
            values: Plain values from the node's input, by name.
            draw: A number from 0 to below its argument, for seeds that are absent.

        Raises:
            InvalidPrompt: A param or value does not fit, a file or value that is required is missing, or a value is
                a path out of ComfyUI's folders.
        """
        places: list[tuple[list[Target], Any]] = []
        problems: list[Problem] = []
        seeds: dict[str, int] = {}
        values = values or {}
        for name, param in self.binding.params.items():
            value = _value_of(param, params.get(name), draw)
            if value is None:
                if param.required:
                    problems.append(Problem("it is required and missing", input=f"params.{name}"))
                continue
            if (wrong := param.wrong(value)) is not None:
                problems.append(Problem(wrong, input=f"params.{name}"))
                continue
            if param.type == "seed":
                seeds[name] = value = int(value)
            places.append((param.targets, value))
        for name, given in self.binding.inputs.items():
            path = inputs.get(name)
            found: Any = values.get(name)
            if given.is_file:
                found = InputFile(path) if path is not None else None
            if found is not None:
                places.append((given.targets, found))
            elif given.required:
                problems.append(Problem("it is required and missing", input=f"{given.origin}.{name}"))
        refuse(self.binding.id, problems)
        prompt = _placed(self.prompt, places)
        refuse(self.binding.id, outside_paths(prompt))
        return Filled(prompt, seeds)

    def sample(self) -> Prompt:
        """The prompt as it would run with defaults and files that do not exist, to be checked."""
        places: list[tuple[list[Target], Any]] = [
            (param.targets, param.default)
            for param in self.binding.params.values()
            if param.default is not None
        ]
        places += [
            (given.targets, InputFile(Path(name)))
            for name, given in self.binding.inputs.items()
            if given.is_file
        ]
        return _placed(self.prompt, places)


def _value_of(param: Param, given: Any, draw: Callable[[int], int]) -> Any:
    if given is not None:
        return given
    if param.default is not None or param.type != "seed" or param.required:
        return param.default
    least, most = param.bounds
    low, high = int(least or 0), int(LARGEST_SEED if most is None else most)
    return low + draw(high - low + 1)


def _placed(prompt: Prompt, places: list[tuple[list[Target], Any]]) -> Prompt:
    """A copy with values put into inputs; what only the editor needs is left out."""
    copy = {
        id_: {"class_type": node["class_type"], "inputs": dict(node["inputs"])}
        for id_, node in prompt.items()
    }
    for targets, value in places:
        for target in targets:
            copy[target.node]["inputs"][target.input] = value
    return copy


def bind(prompt: Prompt, binding: Binding, what: str = "workflow") -> Workflow:
    """Put a prompt and its binding together.

    Raises:
        InvalidPrompt: The binding names nodes or inputs that the prompt does not have, or one input twice.
    """
    refuse(what, cross_check(prompt, binding))
    return Workflow(prompt, binding, payload_types(binding, prompt))


def cross_check(prompt: Prompt, binding: Binding) -> Iterator[Problem]:
    """What of a binding does not fit its prompt; each problem names the path of the key."""
    taken: dict[tuple[str, str], str] = {}
    placed = [(f"params.{name}", param.targets) for name, param in binding.params.items()]
    placed += [(f"inputs.{name}", given.targets) for name, given in binding.inputs.items()]
    for path, targets in placed:
        for target in targets:
            if (wrong := _target_problem(prompt, target)) is not None:
                yield Problem(wrong, input=path)
            elif (before := taken.setdefault((target.node, target.input), path)) != path:
                yield Problem(
                    f"{before} goes to input {target.input!r} of node {target.node} already", input=path
                )
    for name, output in binding.outputs.items():
        if output.node not in prompt:
            yield Problem(f"the workflow has no node {output.node!r}", input=f"outputs.{name}")


def _target_problem(prompt: Prompt, target: Target) -> str | None:
    node = prompt.get(target.node)
    if node is None:
        return f"the workflow has no node {target.node!r}"
    where = f"node {target.node} ({node['class_type']})"
    if target.input not in node["inputs"]:
        return f"{where} has no input {target.input!r}; it has {', '.join(node['inputs']) or 'none'}"
    if link_of(node["inputs"][target.input]) is not None:
        return f"input {target.input!r} of {where} is linked to another node, and a value would cut that link"
    return None


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What is wrong with a file of a folder of workflows."""

    file: str
    error: InvalidPrompt

    def __str__(self) -> str:
        return self.error.message


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of workflows: those that are good, and what is wrong with the others."""

    workflows: dict[str, Workflow]
    """By file, without the suffix."""
    problems: list[FileProblem]


def load_folder(folder: Path, limits: PromptLimits = DEFAULT_LIMITS) -> Folder:
    """Read every ``X.workflow.json`` with its ``X.capability.yaml``; one that is bad holds up no other."""
    found = Folder({}, [])
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        return Folder({}, [_file_problem(str(folder), f"cannot be read: {error.strerror or error}")])
    stems = {name.removesuffix(PROMPT_SUFFIX) for name in names if name.endswith(PROMPT_SUFFIX)}
    stems |= {name.removesuffix(BINDING_SUFFIX) for name in names if name.endswith(BINDING_SUFFIX)}
    for name in names:
        if name.endswith(".capability.yml"):
            found.problems.append(_file_problem(name, f"call it …{BINDING_SUFFIX}"))
    ids: dict[str, str] = {}
    for stem in sorted(stems):
        try:
            workflow = load_pair(folder / stem, limits)
        except InvalidPrompt as error:
            found.problems.append(FileProblem(stem, error))
            continue
        id_ = workflow.binding.id
        if (other := ids.setdefault(id_, stem)) != stem:
            what = f"id {id_!r} is that of {other}{BINDING_SUFFIX} already"
            found.problems.append(_file_problem(stem + BINDING_SUFFIX, what))
            continue
        found.workflows[stem] = workflow
    return found


def _file_problem(file: str, text: str) -> FileProblem:
    return FileProblem(file, invalid(file, [Problem(text)]))


def load_pair(path: Path, limits: PromptLimits = DEFAULT_LIMITS) -> Workflow:
    """Read one workflow and its binding.

    Args:
        path: Either of the two files, or what both names start with.

    Raises:
        InvalidPrompt: One is missing or bad; the message names the file.
    """
    stem = path.name.removesuffix(PROMPT_SUFFIX).removesuffix(BINDING_SUFFIX)
    prompt_file, binding_file = path.with_name(stem + PROMPT_SUFFIX), path.with_name(stem + BINDING_SUFFIX)
    for file, other in ((prompt_file, binding_file), (binding_file, prompt_file)):
        if not file.exists() and other.exists():
            raise invalid(other.name, [Problem(f"{file.name} is missing beside it")])
    prompt = parse_prompt(_read(prompt_file, limits.max_bytes), limits, prompt_file.name)
    binding = parse_binding(_read(binding_file, MAX_BYTES), binding_file.name)
    return bind(prompt, binding, binding_file.name)


def _read(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(most + 1)
    except OSError as error:
        raise invalid(file.name, [Problem(f"cannot be read: {error.strerror or error}")]) from None
