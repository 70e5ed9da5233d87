"""What `workflow check` finds: workflows where they are, held against a catalog, as records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .setup import WRONG, Setup, fail

if TYPE_CHECKING:
    from ..comfy.engine import Catalog, InvalidPrompt
    from ..comfy.prompt import PromptLimits
    from ..comfy.workflow import Folder


def catalog_of(file: Path | None, url: str | None) -> Catalog | None:
    """The catalog of either; ``None`` without any."""
    from ..comfy.catalog_source import catalog_from_file, catalog_from_url

    if file is not None:
        return catalog_from_file(file)
    return catalog_from_url(url) if url is not None else None


def limits_of(setup: Setup) -> PromptLimits:
    """How large a workflow may be, as the settings have it."""
    from ..comfy.prompt import PromptLimits

    comfyui = setup.settings.comfyui
    return PromptLimits(comfyui.max_workflow_bytes, comfyui.max_workflow_nodes)


def found_in(setup: Setup, where: Path | None) -> list[tuple[str, Any]]:
    """Every workflow by file: a workflow, a bare prompt, or the error it is."""
    from ..comfy.engine import InvalidPrompt
    from ..comfy.prompt import parse_prompt
    from ..comfy.workflow import BINDING_SUFFIX, PROMPT_SUFFIX, load_pair

    if where is None or where.is_dir():
        folder = folder_of(setup, where)
        found: list[tuple[str, Any]] = list(folder.workflows.items())
        return sorted(
            found + [(problem.file, problem.error) for problem in folder.problems], key=lambda one: one[0]
        )
    try:
        if where.name.endswith((PROMPT_SUFFIX, BINDING_SUFFIX)):
            return [(where.name, load_pair(where, limits_of(setup)))]
        with where.open("rb") as file:
            return [
                (
                    where.name,
                    parse_prompt(file.read(limits_of(setup).max_bytes + 1), limits_of(setup), where.name),
                )
            ]
    except InvalidPrompt as error:
        return [(where.name, error)]


def folder_of(setup: Setup, where: Path | None) -> Folder:
    """The workflows of a folder, the settings' by default."""
    from ..comfy.workflow import load_folder

    folder = where or setup.settings.comfyui.workflows_dir
    if folder is None:
        fail("no folder: name one or set COMFYUI_WORKFLOWS_DIR", WRONG)
    return load_folder(folder, limits_of(setup))


def checked(file: str, found: Any, catalog: Catalog | None) -> dict[str, Any]:
    """What is wrong with a workflow, a bare prompt or a file that is neither."""
    from ..comfy import catalog as catalogs
    from ..comfy.engine import InvalidPrompt
    from ..comfy.outside_paths import outside_paths
    from ..comfy.workflow import Workflow

    record: dict[str, Any] = {"file": file, "id": None, "problems": [], "warnings": []}
    if isinstance(found, InvalidPrompt):
        return record | {"problems": _told(found)}
    prompt, packs = found, []
    if isinstance(found, Workflow):
        record["id"] = found.binding.id
        prompt, packs = found.sample(), found.binding.packs_needed
    if catalog is None:
        problems, warnings = list(outside_paths(prompt)), []
    else:
        findings = catalogs.check(prompt, catalog, packs)
        problems, warnings = findings.problems, findings.warnings
    for kind, told in (("problems", problems), ("warnings", warnings)):
        record[kind] = [{**one.record(), "text": str(one)} for one in told]
    return record


def _told(error: InvalidPrompt) -> list[dict[str, Any]]:
    from ..comfy.problems import Problem

    return [
        {
            **one,
            "text": str(Problem(one["problem"], one["node"] or "", one["class"] or "", one["input"] or "")),
        }
        for one in error.details["problems"]
    ]
