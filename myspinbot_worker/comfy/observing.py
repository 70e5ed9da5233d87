"""A prompt's progress as a part of a task's."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ..engines import Steps
from .engine import Prompt
from .progress import PromptProgress

_LITTLE_SECONDS = 0.1
"""What a node of a class counts that nothing is said of."""


class PromptSteps:
    """Tells a task's steps how far a prompt is, and the prompt when the task is to stop (:class:`.engine.Observer`).

    Args:
        start, end: The prompt's part of the steps.
        seconds: Class → how long a node of it takes beside the others.
    """

    def __init__(
        self, steps: Steps, start: float, end: float, prompt: Prompt, seconds: Mapping[str, float]
    ) -> None:
        self._steps = steps
        self._start, self._end = start, end
        classes = {node: str(it["class_type"]) for node, it in prompt.items()}
        weights = {name: seconds.get(name, _LITTLE_SECONDS) for name in classes.values()}
        self._progress = PromptProgress(classes, weights)

    def check(self) -> None:
        self._steps.check()

    def cached(self, nodes: tuple[str, ...]) -> None:
        self._progress.cached(nodes)
        self._tell()

    def started(self, node: str) -> None:
        self._progress.started(node, time.monotonic())

    def progressed(self, node: str, value: float, most: float) -> None:
        self._progress.progressed(node, value, most)
        self._tell()

    def finished(self, node: str) -> None:
        self._progress.finished(node)
        self._tell()

    def _tell(self) -> None:
        self._steps.progress(self._start + (self._end - self._start) * self._progress.fraction)
