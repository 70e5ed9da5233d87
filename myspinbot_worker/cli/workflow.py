"""Commands about ComfyUI workflows: workflow add, check, list, run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from .output import clean, make_console, print_json, print_table
from .setup import FAILED, WRONG, Setup, common, fail
from .workflow_check import catalog_of, checked, folder_of, found_in, limits_of
from .workflow_run import run

ServiceId = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def workflow() -> None:
    """Add, check, list and run ComfyUI workflows.

    A workflow is two files in the folder COMFYUI_WORKFLOWS_DIR: X.workflow.json, which ComfyUI's menu exports with
    "Export (API)", and X.capability.yaml, which says which param goes to which node and what comes out. Each is a
    service of the farm. Every command has --json and --redis-url; none but `run` needs ComfyUI.

    \b
    Example:
      myspinbot-worker workflow add upscale.json --id image.upscale --into workflows
      myspinbot-worker workflow check workflows --url http://127.0.0.1:8188
      myspinbot-worker workflow run workflows/upscale.workflow.json --input imageArtifact=cat.png --into out
    """


workflow.add_command(run)


def _service_id(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (not ServiceId.fullmatch(value) or len(value) > 100):
        raise click.BadParameter(
            f"{clean(value)!r} is no service id: expected words with dots, as image.upscale"
        )
    return value


catalog_option = click.option(
    "--catalog",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What a ComfyUI's /object_info answered, saved to a file.",
)
url_option = click.option("--url", metavar="URL", help="A ComfyUI server to ask for its node classes.")


@workflow.command(short_help="Make a service of an exported workflow.")
@click.argument("export", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--id",
    "service",
    metavar="ID",
    callback=_service_id,
    help="The service's id; from the file's name by default.",
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of workflows; COMFYUI_WORKFLOWS_DIR by default.",
)
@catalog_option
@common
def add(setup: Setup, export: Path, service: str | None, into: Path | None, catalog: Path | None) -> None:
    """Copy EXPORT, a workflow in ComfyUI's API format, into a folder and write a first binding beside it.

    Guesses: loaders of images, sounds and videos are artifacts that go in, savers are artifacts that come out;
    seeds, texts, steps, cfg, sizes and the like are params. Prints what it guessed and what to look at. Nothing is
    overwritten.

    \b
    Example:
      myspinbot-worker workflow add upscale.json --id image.upscale --into workflows
    """
    from ..comfy.catalog_source import catalog_from_file
    from ..comfy.guess import guess
    from ..comfy.prompt import parse_prompt
    from ..comfy.workflow import BINDING_SUFFIX, PROMPT_SUFFIX

    folder = into or setup.settings.comfyui.workflows_dir
    if folder is None:
        fail("no folder: give --into or set COMFYUI_WORKFLOWS_DIR", WRONG)
    limits = limits_of(setup)
    with export.open("rb") as file:
        data = file.read(limits.max_bytes + 1)
    prompt = parse_prompt(data, limits, export.name)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", export.name.split(".")[0]).strip("-") or "workflow"
    service = service or f"workflow.{stem}"
    guessed = guess(prompt, service, catalog_from_file(catalog) if catalog else None)
    if "outputs" not in guessed.binding:
        fail(f"{clean(export.name)}: no node of it saves anything (SaveImage, SaveVideo, SaveAudio, …)")
    files = {
        folder / f"{stem}{PROMPT_SUFFIX}": data,
        folder / f"{stem}{BINDING_SUFFIX}": guessed.text(export.name).encode(),
    }
    _write_new(files)
    if setup.as_json:
        written = [str(path) for path in files]
        print_json({"id": service, "files": written, "binding": guessed.binding, "notes": guessed.notes})
        return
    for path in files:
        click.echo(f"wrote {clean(str(path))}")
    for note in guessed.notes:
        click.echo(f"- {clean(note)}")
    click.echo(f"Then: myspinbot-worker workflow check {clean(str(folder))}")


def _write_new(files: dict[Path, bytes]) -> None:
    """Write all files or none; one that is there already is left alone."""
    written: list[Path] = []
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                written.append(path)
                file.write(data)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        reason = (
            "is there already"
            if isinstance(error, FileExistsError)
            else f"cannot be written: {error.strerror}"
        )
        fail(f"{clean(str(error.filename))} {reason}")


@workflow.command(short_help="See whether workflows and bindings are sound.")
@click.argument("where", type=click.Path(exists=True, path_type=Path), required=False)
@catalog_option
@url_option
@common
def check(setup: Setup, where: Path | None, catalog: Path | None, url: str | None) -> None:
    """Check a folder of workflows, or one file: COMFYUI_WORKFLOWS_DIR by default.

    Without a catalog: format, links, binding. With one (--catalog or --url) also whether that ComfyUI has the node
    classes, inputs, choices and model files. Exits with 1 if anything is wrong.

    \b
    Example:
      myspinbot-worker workflow check workflows --url http://127.0.0.1:8188
      curl -s http://127.0.0.1:8188/object_info > object_info.json
      myspinbot-worker workflow check workflows --catalog object_info.json
    """
    if catalog and url:
        raise click.UsageError("--catalog and --url do not go together")
    given = catalog_of(catalog, url)
    records = [checked(file, found, given) for file, found in found_in(setup, where)]
    good = not any(record["problems"] for record in records)
    if setup.as_json:
        print_json({"ok": good, "catalog": given is not None, "workflows": records})
    else:
        _print_checked(records, given is not None)
    if not good:
        raise click.exceptions.Exit(FAILED)


def _print_checked(records: list[dict[str, Any]], with_catalog: bool) -> None:
    for record in records:
        name = clean(f"{record['file']} ({record['id']})" if record["id"] else record["file"])
        wrong = len(record["problems"])
        click.echo(f"{name}: {f'{wrong} wrong' if wrong else 'ok'}")
        for kind, mark in (("problems", "error"), ("warnings", "warning")):
            for one in record[kind]:
                click.echo(f"  {mark}: {clean(one['text'])}")
    if not records:
        click.echo("no workflow found: expected X.workflow.json with X.capability.yaml")
    elif not with_catalog:
        click.echo("node classes and model files were not looked at: give --url or --catalog", err=True)


@workflow.command("list", short_help="List the workflows of a folder.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@common
def list_(setup: Setup, folder: Path | None) -> None:
    """List the workflows of FOLDER, COMFYUI_WORKFLOWS_DIR by default, with what goes in and out of each.

    Those that are bad are told on stderr; `workflow check` says all that is wrong with them.

    \b
    Example:
      myspinbot-worker workflow list workflows
    """
    found = folder_of(setup, folder)
    if setup.as_json:
        print_json(
            {
                "workflows": [
                    {"file": file, **one.binding.model_dump(mode="json", by_alias=True, exclude_unset=True)}
                    for file, one in found.workflows.items()
                ],
                "problems": [{"file": problem.file, "text": str(problem)} for problem in found.problems],
            }
        )
        return
    rows = [
        (
            one.binding.id,
            one.binding.kind,
            file,
            ", ".join(one.binding.params),
            ", ".join(one.binding.inputs),
            ", ".join(one.binding.outputs),
        )
        for file, one in found.workflows.items()
    ]
    print_table(make_console(), ("service", "queue", "file", "params", "inputs", "outputs"), rows)
    for problem in found.problems:
        click.echo(f"Warning: {clean(str(problem))}", err=True)
