"""ComfyUI in a child process of our own: models stay loaded, and whatever happens in it costs the child alone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import EngineUnavailable, FarmError
from ..scratch import ScratchRoot
from .child import LISTEN_SECONDS, Child, ChildSettings
from .engine import Catalog, EngineLost, Observer, Prompt, RunResult
from .events import Trail, failure, refusal, reported_files
from .home import Home
from .staging import staged

log = logging.getLogger(__name__)


class EmbeddedEngine:
    """:class:`.engine.ComfyEngine` in a child process, started at the first use and replaced when it is lost.

    Args:
        scratch: Where the child keeps what it wants to write; see :class:`..scratch.ScratchRoot`.
        interrupt_seconds: How long an interrupted prompt may take to end; then the child is killed.
    """

    def __init__(self, settings: ChildSettings, scratch: Path, interrupt_seconds: float = 3.0) -> None:
        self._settings = settings
        self._interrupt_seconds = interrupt_seconds
        self._scratch_root = scratch
        self._scratch: ScratchRoot | None = None
        self._child: Child | None = None
        self._home: Home | None = None
        self._lock = threading.Lock()
        self.loads: dict[str, int] = {}
        """Function kept warm → how often it really ran in this child."""

    @property
    def child(self) -> Child | None:
        """The process, while there is one."""
        return self._child

    def catalog(self) -> Catalog:
        """See :meth:`.engine.ComfyEngine.catalog`."""
        with self._lock:
            return self._started()[0].catalog

    def run(
        self, prompt: Prompt, into: Path, observer: Observer, *, owner: str = "", needs_bytes: int = 0
    ) -> RunResult:
        """See :meth:`.engine.ComfyEngine.run`."""
        run = uuid4().hex
        trail = Trail(prompt, observer)
        with self._turn(observer.check):
            child, home = self._started(observer.check)
            try:
                ready = staged(prompt, run, lambda path: home.place(path, run), child.outputs)
                job = {"id": run, "prompt": ready, "owner": owner, "needs_bytes": needs_bytes}
                done = self._follow(child, job, trail, observer)
                self.loads = dict(done["loads"])
                if done["unwell"]:
                    log.error("ComfyUI is not well after a fault (%s): it is replaced", done["unwell"])
                    self._drop()
                if done["status"] != "success":
                    raise _error(done, prompt)
                files = home.move(reported_files(done["outputs"]), run, into / f"comfyui-{run[:8]}")
                return trail.result(files)
            finally:
                home.clear()

    def _follow(
        self, child: Child, job: Mapping[str, Any], trail: Trail, observer: Observer
    ) -> Mapping[str, Any]:
        """Until the prompt has ended; what the child says of it."""
        try:
            child.send("run", job=job)
            while True:
                observer.check()
                message = child.receive(LISTEN_SECONDS)
                if message is None:
                    continue
                if message["is"] == "event":
                    trail.take(message["name"], message["data"])
                elif message["is"] == "done" and message["id"] == job["id"]:
                    return message
        except EngineLost:
            self._drop()
            raise
        except BaseException:
            # Whoever waited has no use for it any more; also what is raised into this thread from outside.
            self._end_prompt(child, job["id"])
            raise

    def _end_prompt(self, child: Child, run: str) -> None:
        """Interrupt a prompt and wait for its end; kill the child when it does not listen."""
        child.send("interrupt", id=run)
        ends = time.monotonic() + self._interrupt_seconds
        try:
            while (left := ends - time.monotonic()) > 0:
                message = child.receive(left)
                if message is not None and message["is"] == "done" and message["id"] == run:
                    if message["unwell"]:
                        break
                    return
        except EngineLost:
            pass
        else:
            log.warning("ComfyUI did not listen for %.1f s: it is killed", self._interrupt_seconds)
        self._drop()

    @contextmanager
    def _turn(self, check: Callable[[], None]) -> Iterator[None]:
        """One prompt at a time; who waits is asked whether the work still has a use."""
        check()
        while not self._lock.acquire(timeout=LISTEN_SECONDS):
            check()
        try:
            yield
        finally:
            self._lock.release()

    def _started(self, check: Callable[[], None] = lambda: None) -> tuple[Child, Home]:
        if self._child is not None and self._child.ready and not self._child.alive:
            log.warning("ComfyUI has ended while nothing ran: a new one is started")
            self._drop()
        if self._child is None or self._home is None:
            if self._scratch is None:
                self._scratch = ScratchRoot(self._scratch_root)
            self._home = Home(self._scratch.path / f"home-{uuid4().hex[:8]}")
            try:
                self._child = Child(self._settings, self._home.path)
            except EngineUnavailable:
                self._drop()
                raise
        if not self._child.ready:
            try:
                self._child.wait_ready(check)
            except EngineUnavailable:
                self._drop()
                raise
            self._home.settle()
        return self._child, self._home

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None
        if self._home is not None:
            self._home.remove()
            self._home = None

    def free(self) -> None:
        """See :meth:`.engine.ComfyEngine.free`."""
        with self._lock:
            if self._child is None or not self._child.ready:
                return
            self._child.send("free")
            try:
                while (message := self._child.receive(self._settings.boot_seconds)) is not None:
                    if message["is"] == "freed":
                        return
            except EngineLost:
                pass
            self._drop()

    def close(self) -> None:
        """See :meth:`.engine.ComfyEngine.close`."""
        with self._lock:
            if self._child is not None:
                self._child.close()
            self._drop()
            if self._scratch is not None:
                self._scratch.close()
                self._scratch = None


def _error(done: Mapping[str, Any], prompt: Prompt) -> FarmError:
    match done["status"]:
        case "invalid":
            return refusal(prompt, done["error"], done["node_errors"])
        case "interrupted":
            return EngineLost("the prompt was interrupted, and not by the farm")
    error = failure(done["error"])
    if done["unwell"]:
        error.details["canary"] = done["unwell"]
    return error
