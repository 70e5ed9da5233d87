"""The command that runs a workflow on this machine's ComfyUI, without a farm: workflow run."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Cancelled
from .output import clean, make_console, print_json
from .setup import INTERRUPTED, WRONG, Setup, common, fail

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..comfy.engine import OutputFile, RunResult
    from ..comfy.workflow import Filled, Workflow


def _pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"expected name=value, got {clean(value)!r}")
        if name in found:
            raise click.BadParameter(f"{clean(name)!r} is given twice")
        found[name] = text
    return found


@click.command(short_help="Run a workflow on this machine's ComfyUI.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--param",
    "params",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="A param, or a plain value of the input.",
)
@click.option(
    "--input", "inputs", multiple=True, callback=_pairs, metavar="NAME=PATH", help="A file that goes in."
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where what comes out is put; here by default.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there already.")
@common
def run(
    setup: Setup, file: Path, params: dict[str, str], inputs: dict[str, str], into: Path, overwrite: bool
) -> None:
    """Run FILE (X.workflow.json or X.capability.yaml; the other is beside it) and put what it makes into a folder.

    Needs a ComfyUI, but no Redis and no storage. Ctrl-C interrupts the prompt. Exits with 1 if the workflow is bad or a
    node fails, with 2 if a param or input is.

    \b
    Example:
      myspinbot-worker workflow run workflows/upscale.workflow.json \\
        --param width=1024 --input imageArtifact=cat.png --into out
    """
    from ..comfy.prompt import PromptLimits
    from ..comfy.workflow import load_pair

    comfyui = setup.settings.comfyui
    workflow = load_pair(file, PromptLimits(comfyui.max_workflow_bytes, comfyui.max_workflow_nodes))
    filled = _filled(workflow, params, inputs)
    if (there := _there(workflow, into)) and not overwrite:
        fail(f"{clean(str(there[0]))} is there already: give --overwrite or another --into", WRONG)
    with tempfile.TemporaryDirectory(prefix="myspinbot-workflow-") as scratch:
        result, seconds = _run(setup, workflow, filled, Path(scratch))
        found = _put(workflow, result, into)
    if setup.as_json:
        print_json(
            {
                "id": workflow.binding.id,
                "outputs": {name: [str(path) for path in paths] for name, paths in found.items()},
                "seeds": dict(filled.seeds),
                "seconds": round(seconds, 3),
                "nodeSeconds": {id_: round(value, 3) for id_, value in result.seconds.items()},
                "cached": list(result.cached),
            }
        )
        return
    for name, paths in found.items():
        for path in paths:
            click.echo(f"{name}\t{clean(str(path))}")
    for name, seed in filled.seeds.items():
        click.echo(f"{name}\t{seed}")


def _filled(workflow: Workflow, params: Mapping[str, str], inputs: Mapping[str, str]) -> Filled:
    from pydantic import ValidationError

    from ..comfy.payload_types import given_values

    binding = workflow.binding
    plain = {name for name, given in binding.inputs.items() if not given.is_file}
    wanted = {name for name, given in binding.inputs.items() if given.is_file}
    _refuse_unknown("--param", params, {*binding.params, *plain})
    _refuse_unknown("--input", inputs, wanted)
    for name, given in binding.inputs.items():
        if given.is_file and given.required and name not in inputs:
            fail(f"--input {name}=PATH is missing", WRONG)
    for name, text in inputs.items():
        if not Path(text).is_file():
            fail(f"--input {name}: there is no file {clean(text)}", WRONG)
    values = {name: _value(text, _type(workflow, name)) for name, text in params.items()}
    files = dict.fromkeys(inputs, "a/b")
    try:
        origin = {name for name, given in binding.inputs.items() if given.origin == "params"}
        from_params = {
            name: value
            for name, value in (values | files).items()
            if name in binding.params or name in origin
        }
        from_input = {name: value for name, value in (values | files).items() if name not in from_params}
        checked = given_values(workflow.types.params.model_validate(from_params))
        given_ = given_values(workflow.types.input.model_validate(from_input))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        fail(f"--param {'.'.join(map(str, first['loc']))}: {first['msg']}", WRONG)
    return workflow.prompt_for(
        checked,
        {name: Path(text).absolute() for name, text in inputs.items()},
        {name: given_[name] for name in plain if name in given_},
    )


def _refuse_unknown(option: str, given: Mapping[str, str], known: set[str]) -> None:
    from ..config_sources import suggestion

    for name in given:
        if name not in known:
            has = f"; it has {', '.join(sorted(known))}" if known else "; it has none"
            fail(
                f"{option}: the workflow has no {clean(name)}{suggestion(name, sorted(known)) or has}", WRONG
            )


def _type(workflow: Workflow, name: str) -> str:
    binding = workflow.binding
    return binding.params[name].type if name in binding.params else binding.inputs[name].type or "string"


def _value(text: str, kind: str) -> Any:
    """What an option's text means: text is taken as it is, all else as JSON."""
    if kind == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _there(workflow: Workflow, into: Path) -> list[Path]:
    """What earlier runs put there."""
    names = workflow.binding.outputs
    shapes = [shape for name in names for shape in (f"{name}.*", f"{name}-[0-9][0-9][0-9][0-9].*")]
    return sorted(path for shape in shapes for path in into.glob(shape))


def _run(setup: Setup, workflow: Workflow, filled: Filled, scratch: Path) -> tuple[RunResult, float]:
    from ..comfy import engines
    from ..comfy.catalog import check, outputs
    from ..comfy.problems import refuse
    from ..comfy.prompt import needed_for

    engine = engines.comfy_engine(setup.settings)
    try:
        catalog = engine.catalog()
        refuse(workflow.binding.id, check(filled.prompt, catalog, workflow.binding.packs_needed).problems)
        needed = needed_for(filled.prompt, outputs(filled.prompt, catalog))
        classes = {id_: str(filled.prompt[id_]["class_type"]) for id_ in needed}
        with _bar() as (bar, task), _cancelled_by_ctrl_c() as cancelled:
            watch = _Watch(classes, bar, task, cancelled)
            began = time.monotonic()
            result = engine.run(filled.prompt, scratch, watch, owner=workflow.binding.id)
            return result, time.monotonic() - began
    except Cancelled:
        raise click.exceptions.Exit(INTERRUPTED) from None
    finally:
        engine.close()


@contextmanager
def _bar() -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar on stderr; nothing where that is no terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = make_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield bar, bar.add_task("starting", total=1.0)


@contextmanager
def _cancelled_by_ctrl_c() -> Iterator[list[bool]]:
    """Empty until somebody presses Ctrl-C: the prompt is interrupted, not the process."""
    pressed: list[bool] = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class _Watch:
    """An observer that moves a progress bar."""

    def __init__(
        self, classes: Mapping[str, str], bar: Progress, task: TaskID, cancelled: list[bool]
    ) -> None:
        from ..comfy.progress import PromptProgress

        self._progress = PromptProgress(classes, {})
        self._classes, self._bar, self._task, self._cancelled = classes, bar, task, cancelled

    def check(self) -> None:
        if self._cancelled:
            raise Cancelled("interrupted")

    def cached(self, nodes: tuple[str, ...]) -> None:
        self._progress.cached(nodes)
        self._show()

    def started(self, node: str) -> None:
        self._progress.started(node, time.monotonic())
        self._bar.update(self._task, description=clean(self._classes.get(node, node)))
        self._show()

    def progressed(self, node: str, value: float, most: float) -> None:
        self._progress.progressed(node, value, most)
        self._show()

    def finished(self, node: str) -> None:
        self._progress.finished(node)
        self._show()

    def _show(self) -> None:
        self._bar.update(self._task, completed=self._progress.fraction)


def _put(workflow: Workflow, result: RunResult, into: Path) -> dict[str, list[Path]]:
    from ..comfy.files import files_of, numbered

    written: dict[str, list[OutputFile]] = {
        name: files_of(result, name, output) for name, output in workflow.binding.outputs.items()
    }
    into.mkdir(parents=True, exist_ok=True)
    for path in _there(workflow, into):
        path.unlink()
    found: dict[str, list[Path]] = {}
    for name, files in written.items():
        for called, file in zip(numbered(files, name), files, strict=True):
            found.setdefault(name, []).append(Path(shutil.move(file.path, into / called)))
    return found
