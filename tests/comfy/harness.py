"""A ComfyUI under test: the stand-in beside this, or the real checkout that ``COMFYUI_ROOT_DIR`` names."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from myspinbot_worker.comfy.child import ChildSettings
from myspinbot_worker.comfy.embedded import EmbeddedEngine
from myspinbot_worker.comfy.engine import ComfyEngine, Prompt, RunResult
from myspinbot_worker.errors import Cancelled
from tests.functional.processes import Process

HERE = Path(__file__).parent
STANDIN = HERE / "standin"
PACKS = HERE / "packs"
BOOT_SECONDS = 180.0
"""A real ComfyUI imports half a minute on a busy machine."""
INTERRUPT_SECONDS = 1.5
LOADS = "farm_pack/__init__.py:FarmLoads.load"


@dataclass(frozen=True)
class Checkout:
    """Which ComfyUI."""

    root: Path
    python: Path

    @property
    def is_real(self) -> bool:
        return self.root != STANDIN

    @classmethod
    def from_environment(cls) -> Checkout:
        root = os.environ.get("COMFYUI_ROOT_DIR")
        return cls(Path(root) if root else STANDIN, Path(os.environ.get("COMFYUI_PYTHON") or sys.executable))

    def settings(self, **changes: Any) -> ChildSettings:
        """Of the embedded engine."""
        given: dict[str, Any] = {
            "root": self.root,
            "python": self.python,
            "arguments": ("--cpu",),
            "custom_nodes": (PACKS,),
            "keep_warm": (LOADS,),
            "boot_seconds": BOOT_SECONDS,
        }
        return ChildSettings(**given | changes)


class Watcher:
    """An observer that remembers what it was told, and cancels when something is told.

    Args:
        cancel_at: The first thing told of that kind cancels (``started``, ``progressed``).
    """

    def __init__(self, cancel_at: str | None = None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.cancelled_at: float | None = None
        self._cancel_at = cancel_at
        self._thread = threading.current_thread()

    def check(self) -> None:
        if self.cancelled_at is not None:
            raise Cancelled("the test has no use for it any more")

    def cached(self, nodes: tuple[str, ...]) -> None:
        self._note("cached", nodes)

    def started(self, node: str) -> None:
        self._note("started", node)

    def progressed(self, node: str, value: float, most: float) -> None:
        self._note("progressed", node, value, most)

    def finished(self, node: str) -> None:
        self._note("finished", node)

    def _note(self, kind: str, *data: Any) -> None:
        assert threading.current_thread() is self._thread
        self.told.append((kind, *data))
        if kind == self._cancel_at and self.cancelled_at is None:
            self.cancelled_at = time.monotonic()

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """What was told of one kind."""
        return [told[1:] for told in self.told if told[0] == kind]


class Server:
    """A ComfyUI server: a process with a port and folders of its own, which can be started again."""

    def __init__(self, checkout: Checkout, home: Path) -> None:
        self._checkout = checkout
        self.home = home
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        (home / "web").mkdir(parents=True)
        (home / "paths.yaml").write_text(f"farm:\n  base_path: {HERE}\n  custom_nodes: {PACKS.name}\n")
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Until it listens."""
        command = [
            str(self._checkout.python), str(self._checkout.root / "main.py"),
            "--listen", "127.0.0.1", "--port", str(self._port), "--cpu",
            "--front-end-root", str(self.home / "web"), "--database-url", "sqlite:///:memory:",
            "--disable-api-nodes", "--extra-model-paths-config", str(self.home / "paths.yaml"),
        ]  # fmt: skip
        for name in ("input", "output", "temp", "user"):
            (self.home / name).mkdir(exist_ok=True)
            command += [f"--{name}-directory", str(self.home / name)]
        # Newer ones keep a log of their own in the folder they are started in.
        self._process = Process("comfyui", command, {}, self.home)
        self._process.wait_for("To see the GUI go to", patience=BOOT_SECONDS)

    def start_again(self) -> None:
        """After it has died; or end it first."""
        self.close()
        self.start()

    def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        else:
            self._process.stop_when_done()


@dataclass
class Running:
    """An engine and what a test needs to know of it.

    Attributes:
        revive: Makes it usable again after its ComfyUI has died.
    """

    kind: str
    engine: ComfyEngine
    checkout: Checkout
    folder: Path
    revive: Callable[[], None] = field(default=lambda: None)
    runs: int = 0

    def run(self, prompt: Prompt, watcher: Watcher | None = None, into: Path | None = None) -> RunResult:
        """Run a prompt in an attempt's folder of its own."""
        return self.engine.run(prompt, into or self.attempt(), watcher or Watcher())

    def attempt(self) -> Path:
        """A new folder, as an attempt has one."""
        self.runs += 1
        made = self.folder / f"attempt-{self.runs}"
        made.mkdir(parents=True)
        return made

    @property
    def embedded(self) -> EmbeddedEngine:
        assert isinstance(self.engine, EmbeddedEngine)
        return self.engine


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def slow(steps: int, seconds: float = 0.02, **others: Any) -> dict[str, Any]:
    """A prompt of one node that takes its time."""
    return {"1": node(others.pop("kind", "FarmSlow"), steps=steps, seconds=seconds, **others)}


def files_below(folder: Path) -> list[str]:
    """All files and folders below one."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
