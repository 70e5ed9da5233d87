"""Runs a prompt for a task: checked against this ComfyUI first, then followed to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

from ..capability import Kind
from ..task import Task
from .catalog import Pack, check, outputs
from .engine import Catalog, Prompt, RunResult
from .node_times import class_times
from .problems import refuse
from .progress import PromptProgress
from .prompt import needed_for

ETA_EVERY_SECONDS = 5.0
"""At most this often is the remaining time published."""

_RUN_FROM, _RUN_TO = 0.05, 0.95


def run_prompt(
    task: Task,
    kind: Kind,
    make: Callable[[Catalog], Prompt],
    packs: Sequence[Pack] = (),
    needs_bytes: int = 0,
) -> tuple[Prompt, RunResult]:
    """Run a prompt to its end; the files it wrote are in the task's scratch folder.

    Args:
        kind: ``gpu`` takes the process' device for as long as it runs.
        make: The prompt, for a ComfyUI with this catalog.
        packs: Custom packs it needs, for the error.
        needs_bytes: Device memory it wants to find free.

    Raises:
        InvalidPrompt: It cannot run on this ComfyUI.
        FarmError: As :meth:`.engine.ComfyEngine.run`.
    """
    into = task.scratch / "comfy"
    into.mkdir(exist_ok=True)
    # Starting ComfyUI takes the device too.
    with task.device() if kind == "gpu" else nullcontext():
        engine = task.comfy
        catalog = engine.catalog()
        task.check()
        prompt = make(catalog)
        refuse(task.service, check(prompt, catalog, packs).problems)
        classes = {
            id_: str(prompt[id_]["class_type"]) for id_ in needed_for(prompt, outputs(prompt, catalog))
        }
        watch = Watch(task, classes)
        result = engine.run(prompt, into, watch, owner=task.service, needs_bytes=needs_bytes)
    task.record_node_times(class_times(result.seconds, classes))
    return prompt, result


class Watch:
    """An observer that makes the task's progress and remaining time of what happens.

    Args:
        classes: Node id → class of the nodes that have to run.
    """

    def __init__(
        self, task: Task, classes: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._task = task
        self._clock = clock
        self._progress = PromptProgress(classes, task.node_times)
        self._told_at = float("-inf")

    def check(self) -> None:
        self._task.check()
        self._tell()

    def cached(self, nodes: tuple[str, ...]) -> None:
        self._progress.cached(nodes)
        self._tell()

    def started(self, node: str) -> None:
        self._progress.started(node, self._clock())
        self._tell()

    def progressed(self, node: str, value: float, most: float) -> None:
        self._progress.progressed(node, value, most)
        self._tell()

    def finished(self, node: str) -> None:
        self._progress.finished(node)
        self._tell()

    def _tell(self) -> None:
        self._task.progress(_RUN_FROM + (_RUN_TO - _RUN_FROM) * self._progress.fraction)
        now = self._clock()
        if now - self._told_at < ETA_EVERY_SECONDS:
            return
        if (left := self._progress.eta_seconds(now)) is not None:
            self._told_at = now
            self._task.publish({"eta": round(left, 1)})
