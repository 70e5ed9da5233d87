"""The small protocol that both ComfyUI engines serve, and the values that cross it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import FarmError

Catalog = Mapping[str, Mapping[str, Any]]
"""Node class name → what ComfyUI's ``/object_info`` says of it."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """Stands as an input's value for a file of the attempt: the engine puts it where ComfyUI finds it.

    Attributes:
        path: The file; its suffix is kept, for loaders that look at it.
    """

    path: Path


Prompt = Mapping[str, Mapping[str, Any]]
"""Node id → ``{"class_type": …, "inputs": {name: value, [node id, slot] or InputFile}}`` (ComfyUI's API format)."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that an output node of the prompt wrote, in the folder given to :meth:`ComfyEngine.run`.

    Attributes:
        node: Id of the node that reported it.
        kind: The key under which ComfyUI's ``ui`` reported it (``images``, ``audio``, ``gifs``, …).
    """

    node: str
    kind: str
    path: Path


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a prompt came to.

    Attributes:
        files: In the order in which they were reported.
        seconds: Node id → how long it ran (s); only nodes that ran.
        cached: Ids of nodes that did not have to run again.
        ui: Node id → the whole ``ui`` of an output node, for what is not a file (``text``, …).
    """

    files: tuple[OutputFile, ...]
    seconds: Mapping[str, float]
    cached: tuple[str, ...]
    ui: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Observer(Protocol):
    """Told what happens while a prompt runs; called in the thread that called :meth:`ComfyEngine.run`."""

    def check(self) -> None:
        """Raise (``Cancelled``, ``TimedOut``, ``LeaseLost``) when the work has become pointless; called at least
        every 0.1 s. The engine then interrupts the prompt, waits until it has ended, and lets the error through."""

    def cached(self, nodes: tuple[str, ...]) -> None:
        """These nodes need not run."""

    def started(self, node: str) -> None:
        """A node begins."""

    def progressed(self, node: str, value: float, most: float) -> None:
        """A node's own progress bar."""

    def finished(self, node: str) -> None:
        """A node has ended."""


class ComfyEngine(Protocol):
    """One ComfyUI. Prompts run one at a time; models stay loaded from prompt to prompt."""

    def catalog(self) -> Catalog:
        """Every node class this ComfyUI has. Starts or reaches it if that has not happened yet.

        Raises:
            EngineUnavailable: It cannot be started or reached, or is one the farm cannot work with.
        """

    def run(
        self, prompt: Prompt, into: Path, observer: Observer, *, owner: str = "", needs_bytes: int = 0
    ) -> RunResult:
        """Run a prompt to its end.

        Every literal ``filename_prefix`` is made unique to this run, so that no cached saver names an old file.

        Args:
            into: Folder of the attempt's own. All that the engine writes (inputs, outputs, temporary files) is below
                it or removed again; the result's files are.
            owner: What the models are loaded for (a service id).
            needs_bytes: Device memory this owner wants; when less is free, models of other owners go first.

        Raises:
            InvalidPrompt: ComfyUI refuses the prompt; nothing ran.
            NodeFailed: A node raised.
            OutOfMemory: A node ran out of memory; caches have been freed.
            EngineLost: ComfyUI died, hung past its time or went away; a new one is started for the next prompt.
            EngineUnavailable: As :meth:`catalog`.
            FarmError: Whatever ``observer.check()`` raises, after the prompt has ended.
        """

    def free(self) -> None:
        """Let go of loaded models and cached outputs."""

    def close(self) -> None:
        """End it, with all it started."""


class InvalidPrompt(FarmError):
    """A workflow cannot run as it is; ``details["problems"]`` lists ``{node, class, input, problem}``."""

    code = "bad_workflow"


class NodeFailed(FarmError):
    """A node of a workflow raised; ``details`` has ``node``, ``class``, ``exception`` and ``traceback``."""

    code = "node_failed"


class EngineLost(FarmError):
    """ComfyUI died, hung or went away while it ran a prompt."""

    code = "engine_lost"
    retryable = True
    interrupts = True
