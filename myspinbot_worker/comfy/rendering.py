"""``render.video``: a workflow that comes with the job, and so is a stranger's.

What a folder of workflows may do its operator decides; here nothing is trusted: only allowed classes run, files come
from artifacts alone, and no value leads out of ComfyUI's folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ..artifact import Artifact
from ..capability import Capability, Payload, Retry
from ..errors import BadInput, BadParams
from ..settings import ComfySettings
from ..task import Task
from .catalog import outputs
from .class_names import is_allowed
from .engine import Catalog, InputFile, Prompt
from .files import check_written, fetch, keep, written_by
from .input_specs import specs_of
from .limits import limits_of
from .problems import Problem, refuse, short
from .prompt import check_prompt, link_of, needed_for
from .running import run_prompt

SERVICE = "render.video"
_SECONDS = 7200.0


class FromInput(BaseModel):
    """Stands for an artifact that an earlier node gives."""

    model_config = ConfigDict(extra="forbid")

    input: str = Field(description="Its name in the node's input.")


class RenderParams(Payload):
    workflow: dict[str, Any] = Field(description="The workflow in ComfyUI's API format.")
    inputs: dict[str, Artifact | FromInput | str] = Field(
        default_factory=dict,
        description='Files that go in: "<node>.<input>" to an artifact, "bucket/key" or {"input": name}.',
    )
    outputs: list[str] | None = Field(
        None, description="Ids of the output nodes that are wanted; without it all of them."
    )
    bucket: Literal["staged", "output"] = Field("output", description="Where what is made is kept.")


class RenderInput(Payload):
    currentProgress: float | None = Field(None, description="The job's progress so far.")


class Rendered(BaseModel):
    """A file that an output node wrote."""

    node: str
    kind: str
    artifact: Artifact


class RenderOutput(Payload):
    files: list[Rendered] = Field(description="All that was made, node by node.")
    videoArtifact: Artifact | None = Field(None, description="The first video among them.")
    currentProgress: float


def render_capability(settings: ComfySettings) -> Capability:
    """The service, with the settings' limits and allowed classes."""

    def render_video(task: Task, params: RenderParams, given: RenderInput) -> RenderOutput:
        return _render(settings, task, params, given)

    return Capability(
        id=SERVICE,
        kind="gpu",
        function=render_video,
        params=RenderParams,
        input=RenderInput,
        output=RenderOutput,
        label="Render a workflow",
        description="Run a ComfyUI workflow that comes with the job, of node classes that the operator allows.",
        version="1.0.0",
        retry=Retry(),
        timeout_seconds=_SECONDS,
        emits_progress=True,
        idempotent=True,
        side_effects=False,
        runs_prompts=True,
        requires=lambda catalog: (),
    )


def _render(settings: ComfySettings, task: Task, params: RenderParams, given: RenderInput) -> RenderOutput:
    prompt = check_prompt(params.workflow, limits_of(settings), "params.workflow")
    refuse("params.inputs", misplaced(prompt, params.inputs))
    files = {
        place: fetch(task, _source(source, given), None, f"params.inputs.{place}")
        for place, source in params.inputs.items()
    }
    filled = with_files(prompt, files)

    def make(catalog: Catalog) -> Prompt:
        refuse("params.workflow", forbidden(filled, catalog, settings.render_classes))
        return wanted(filled, catalog, params.outputs)

    ran, result = run_prompt(task, "gpu", make)
    made = []
    for file in result.files:
        check_written(file)
    for id_ in ran:
        for file, artifact in zip(
            found := written_by(result, id_), keep(task, found, f"node-{id_}", params.bucket), strict=True
        ):
            made.append(Rendered(node=id_, kind=file.kind, artifact=artifact))
    output: dict[str, Any] = {
        "files": made,
        "currentProgress": task.current_progress(given.currentProgress),
    }
    videos = [one.artifact for one in made if (one.artifact.content_type or "").startswith("video/")]
    return RenderOutput(**output, **({"videoArtifact": videos[0]} if videos else {}))


_ARTIFACT: TypeAdapter[Artifact | str] = TypeAdapter(Artifact | str)


def _source(source: Artifact | FromInput | str, given: RenderInput) -> Artifact | str:
    if not isinstance(source, FromInput):
        return source
    try:
        return _ARTIFACT.validate_python((given.model_extra or {})[source.input])
    except KeyError:
        raise BadInput(f"input.{short(source.input)} is missing, and params.inputs refers to it") from None
    except ValidationError:
        raise BadInput(f'input.{short(source.input)}: expected an artifact or "bucket/key"') from None


def misplaced(prompt: Prompt, inputs: Mapping[str, Any]) -> Iterator[Problem]:
    """Files for inputs that the prompt does not have."""
    for place in inputs:
        id_, dot, name = place.partition(".")
        if not dot:
            yield Problem(f"expected <node>.<input>, got {short(place)!r}")
        elif id_ not in prompt:
            yield Problem("the workflow has no such node", id_, "", name)
        elif name not in prompt[id_]["inputs"]:
            yield Problem("the node has no such input", id_, prompt[id_]["class_type"], name)
        elif link_of(prompt[id_]["inputs"][name]) is not None:
            yield Problem("it is linked to another node", id_, prompt[id_]["class_type"], name)


def with_files(prompt: Prompt, files: Mapping[str, Path]) -> Prompt:
    """A copy with files in their places."""
    copy = {
        id_: {"class_type": node["class_type"], "inputs": dict(node["inputs"])}
        for id_, node in prompt.items()
    }
    for place, path in files.items():
        id_, _, name = place.partition(".")
        copy[id_]["inputs"][name] = InputFile(path)
    return copy


def forbidden(prompt: Prompt, catalog: Catalog, allowed: tuple[str, ...]) -> Iterator[Problem]:
    """What no stranger's workflow may do on this farm."""
    for id_, node in prompt.items():
        name = node["class_type"]
        # One that is not there at all is told as such later.
        if name in catalog and not is_allowed(name, allowed, catalog):
            yield Problem("comfyui.render_classes does not allow this class", id_, name)
        for key, spec in specs_of(catalog.get(name), node["inputs"]).items():
            value = node["inputs"].get(key)
            if (
                spec.uploads
                and value is not None
                and not isinstance(value, InputFile)
                and link_of(value) is None
            ):
                yield Problem(
                    f"it reads a file: give it an artifact (params.inputs, {short(id_)}.{short(key)})",
                    id_,
                    name,
                    key,
                )


def wanted(prompt: Prompt, catalog: Catalog, nodes: list[str] | None) -> Prompt:
    """The part of a prompt that is needed for these output nodes; all of it without any.

    Raises:
        BadParams: One is not an output node of the prompt.
    """
    if nodes is None:
        return prompt
    known = outputs(prompt, catalog)
    for id_ in nodes:
        if id_ not in known:
            raise BadParams(
                f"params.outputs: {short(id_)!r} is none of the output nodes: {', '.join(map(short, known)) or 'none'}"
            )
    if not nodes:
        raise BadParams("params.outputs is empty: nothing would run")
    needed = needed_for(prompt, nodes)
    return {id_: node for id_, node in prompt.items() if id_ in needed}
