"""Services made of workflows: artifacts in, the prompt run on this process' ComfyUI, artifacts out."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from ..artifact import Artifact
from ..capability import Capability, Payload, Registry, Retry
from ..settings import ComfySettings
from ..task import Task
from .catalog import check
from .files import fetch, files_of, keep
from .limits import limits_of
from .payload_types import given_values
from .problems import Problem, invalid
from .running import run_prompt
from .workflow import BINDING_SUFFIX, FileProblem, Folder, Workflow, load_folder

log = logging.getLogger(__name__)


def workflow_capability(workflow: Workflow) -> Capability:
    """The service that a workflow is."""
    binding, types = workflow.binding, workflow.types

    def run_workflow(task: Task, params: Payload, given: Payload) -> Payload:
        return _run(workflow, task, params, given)

    retry = binding.retry
    return Capability(
        id=binding.id,
        kind=binding.kind,
        function=run_workflow,
        params=types.params,
        input=types.input,
        output=types.output,
        label=binding.label or binding.id,
        description=binding.description or binding.label or binding.id,
        version=binding.version,
        retry=Retry(retry.max_attempts, retry.backoff_seconds, retry.max_backoff_seconds),
        timeout_seconds=binding.timeout_seconds,
        emits_progress=True,
        idempotent=True,
        side_effects=False,
        runs_prompts=True,
        requires=lambda catalog: (
            str(problem) for problem in check(workflow.sample(), catalog, binding.packs_needed).problems
        ),
    )


def _run(workflow: Workflow, task: Task, params: Payload, given: Payload) -> Payload:
    binding = workflow.binding
    from_params, from_input = given_values(params), given_values(given)
    files, values = {}, {}
    for name, one in binding.inputs.items():
        value = (from_params if one.origin == "params" else from_input).get(name)
        if value is not None and one.is_file:
            files[name] = fetch(task, value, one.media, f"{one.origin}.{name}")
        elif value is not None:
            values[name] = value
    filled = workflow.prompt_for(from_params, files, values)
    _, result = run_prompt(
        task, binding.kind, lambda _: filled.prompt, binding.packs_needed, binding.memory_bytes or 0
    )
    # All of them before the first upload: what is refused leaves nothing behind.
    written = {name: files_of(result, name, output, task.check) for name, output in binding.outputs.items()}
    output: dict[str, Any] = {}
    for name, declared in binding.outputs.items():
        kept: list[Artifact] = keep(task, written[name], name, declared.bucket, declared.content_type)
        output[name] = kept if declared.many else kept[0]
    output["currentProgress"] = task.current_progress(from_input.get("currentProgress"))
    if filled.seeds:
        output["seeds"] = dict(filled.seeds)
    return workflow.types.output.model_validate(output)


def register_workflows(settings: ComfySettings, buckets: Iterable[str], into: Registry) -> list[FileProblem]:
    """Add the services of the settings' folder, if there is one, to a registry.

    Args:
        buckets: The configured buckets.

    Returns:
        What is wrong with the others; each is logged, too, and holds up nothing.
    """
    if settings.workflows_dir is None:
        return []
    folder = load_folder(settings.workflows_dir, limits_of(settings))
    problems = list(folder.problems)
    for stem, workflow in folder.workflows.items():
        wrong = list(_not_here(workflow, set(buckets), into))
        if wrong:
            problems.append(FileProblem(stem, invalid(stem + BINDING_SUFFIX, wrong)))
        else:
            into.add(workflow_capability(workflow))
    for problem in problems:
        log.error("workflow left out: %s", problem)
    return problems


def _not_here(workflow: Workflow, buckets: set[str], registry: Registry) -> Iterable[Problem]:
    """Why a workflow that is good cannot be a service of this farm."""
    id_ = workflow.binding.id
    if registry.get(id_) is not None:
        yield Problem(f"the farm has a service {id_!r} already", input="id")
    for name, output in workflow.binding.outputs.items():
        if output.bucket not in buckets:
            yield Problem(
                f"{output.bucket!r} is not one of the configured buckets: {', '.join(sorted(buckets))}",
                input=f"outputs.{name}.bucket",
            )


def kept_warm(folder: Folder) -> list[str]:
    """The functions (``file:function``) whose results the process that runs ComfyUI keeps from job to job."""
    names = (name for workflow in folder.workflows.values() for name in workflow.binding.keep_warm)
    return list(dict.fromkeys(names))
