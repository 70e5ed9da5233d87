"""ComfyUI on a server: prompts go there over HTTP, events come over a WebSocket, and neither has to last."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from ..errors import BadOutput, EngineUnavailable, OutOfMemory
from .engine import Catalog, EngineLost, Observer, OutputFile, Prompt, RunResult
from .events import ReportedFile, Trail, failure, refusal, reported_files
from .remote_http import Away, BadAnswer, Server
from .remote_run import RemotePrompt
from .remote_wait import AGAIN_SECONDS, CHECK_SECONDS, Waiting
from .staging import staged

log = logging.getLogger(__name__)

_FREED = {"unload_models": True, "free_memory": True}
_FREE_SECONDS = 2.0
_LAST_TRY_SECONDS = 0.5
_LARGEST_FILE = 64 * 1024**3
_SAFE_NAME = re.compile(r"\w[\w .+-]{0,119}", re.ASCII)


class RemoteEngine:
    """:class:`.engine.ComfyEngine` on a ComfyUI server, which may serve others too.

    Args:
        url: ``http(s)://[user:password@]host[:port]``; the credentials (basic authentication) are never shown.
        patience_seconds: How long a server that was there may be away before a prompt counts as lost.
        interrupt_seconds: How long an interrupted prompt may take to end; then it is left to itself.
        largest_file: Largest output file (bytes).
    """

    def __init__(
        self,
        url: str,
        *,
        patience_seconds: float = 30.0,
        interrupt_seconds: float = 3.0,
        largest_file: int = _LARGEST_FILE,
    ) -> None:
        self._server = Server(url)
        self._patience_seconds = patience_seconds
        self._interrupt_seconds = interrupt_seconds
        self._largest_file = largest_file
        self._lock = threading.Lock()
        self._catalog: Catalog | None = None
        self._was_reached = False
        self._owner = ""

    def catalog(self) -> Catalog:
        """See :meth:`.engine.ComfyEngine.catalog`; asked for anew after the server was away."""
        with self._lock:
            if self._catalog is None:
                try:
                    found = self._server.get("object_info")
                except (Away, BadAnswer) as error:
                    raise EngineUnavailable(str(error)) from None
                if not all(isinstance(about, dict) for about in found.values()):
                    raise EngineUnavailable(f"{self._server.name} answers /object_info with odd node classes")
                self._catalog, self._was_reached = found, True
            return self._catalog

    def run(
        self, prompt: Prompt, into: Path, observer: Observer, *, owner: str = "", needs_bytes: int = 0
    ) -> RunResult:
        """See :meth:`.engine.ComfyEngine.run`."""
        # A canonical UUID is the only spelling of an id that newer servers take.
        run = str(uuid4())
        waiting = Waiting(observer, self._patience_seconds)
        with self._held(observer):
            self._reach(waiting, needs_bytes if owner != self._owner else 0)
            self._owner = owner
            try:
                return self._run(prompt, run, into, waiting)
            except Away as error:
                self._catalog = None
                raise EngineLost(str(error)) from None
            except BadAnswer as error:
                if error.is_lasting:
                    raise EngineUnavailable(str(error)) from None
                raise EngineLost(str(error)) from None
            except EngineLost:
                self._catalog = None
                raise

    def _run(self, prompt: Prompt, run: str, into: Path, waiting: Waiting) -> RunResult:
        trail = Trail(prompt, waiting.observer)
        ready = staged(prompt, run, self._uploader(run, waiting))
        sent = RemotePrompt(self._server, run, trail, waiting)
        try:
            refused = sent.post(ready)
            if refused:
                raise refusal(prompt, *refused)
            outputs = sent.follow()
        except (Away, EngineLost):
            # It may be there again just now, with a prompt that nobody waits for.
            sent.end(min(_LAST_TRY_SECONDS, self._interrupt_seconds))
            raise
        except BaseException:
            # Whoever waited has no use for it any more; also what is raised into this thread from outside.
            sent.end(self._interrupt_seconds)
            raise
        finally:
            sent.close()
        if trail.status == "interrupted":
            raise EngineLost("the prompt was interrupted, and not by the farm")
        if trail.status == "error":
            error = failure(trail.error)
            if isinstance(error, OutOfMemory):
                self._tell_free()
            raise error
        folder = into / f"comfyui-{run[:8]}"
        folder.mkdir(parents=True)
        items = enumerate(reported_files(outputs), 1)
        return trail.result(tuple(self._fetched(item, folder, number, waiting) for number, item in items))

    def free(self) -> None:
        """See :meth:`.engine.ComfyEngine.free`."""
        with self._lock:
            self._tell_free()

    def close(self) -> None:
        """Let go of the server, which runs on."""
        with self._lock:
            self._server.close()

    @contextmanager
    def _held(self, observer: Observer) -> Iterator[None]:
        while not self._lock.acquire(timeout=CHECK_SECONDS):
            observer.check()
        try:
            observer.check()
            yield
        finally:
            self._lock.release()

    def _reach(self, waiting: Waiting, needs_bytes: int) -> None:
        """See that the server is there, and has so much device memory free.

        Raises:
            EngineUnavailable: It is not there; one that has been there before is waited for.
        """
        ask = waiting.patiently if self._was_reached else waiting.once
        try:
            stats = ask(lambda _: self._server.get("system_stats"))
            self._was_reached = True
            if needs_bytes and (least := _least_free(stats)) is not None and least < needs_bytes:
                self._tell_free()
                # The server does it when it next looks for work: sooner than it takes the prompt, if it is waited for.
                ends = time.monotonic() + _FREE_SECONDS
                while time.monotonic() < ends and (least or 0) < needs_bytes:
                    waiting.pause(AGAIN_SECONDS / 2)
                    least = _least_free(waiting.once(lambda _: self._server.get("system_stats")))
        except (Away, BadAnswer) as error:
            self._catalog = None
            raise EngineUnavailable(str(error)) from None

    def _tell_free(self) -> None:
        try:
            self._server.post("free", _FREED)
        except (Away, BadAnswer) as error:
            log.warning("models stay loaded: %s", error)

    def _uploader(self, run: str, waiting: Waiting) -> Callable[[Path], str]:
        placed: list[Path] = []

        def place(path: Path) -> str:
            placed.append(path)
            name = f"{len(placed)}{path.suffix}"
            return waiting.patiently(lambda stop: self._server.upload(path, f"farm/{run}", name, stop))

        return place

    def _fetched(self, item: ReportedFile, folder: Path, number: int, waiting: Waiting) -> OutputFile:
        """A copy of a reported file, under a name of our own making.

        Raises:
            BadOutput: It is not there, too large, or outside ComfyUI's folders.
        """
        name, subfolder = (PurePosixPath(text.replace("\\", "/")) for text in (item.name, item.subfolder))
        if item.place not in ("output", "temp", "input") or _leaves(name) or _leaves(subfolder):
            raise BadOutput(
                f"node {item.node!r} names a file outside its folders: {item.subfolder}/{item.name}"
            )
        kept = name.name if _SAFE_NAME.fullmatch(name.name) else "file"
        target = folder / f"{number:03}-{kept}"
        waiting.patiently(lambda stop: self._server.download(item, target, self._largest_file, stop))
        return OutputFile(item.node, item.kind, target)


def _leaves(path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts or "\0" in str(path) or ":" in str(path)


def _least_free(stats: Any) -> int | None:
    devices = stats.get("devices")
    if not isinstance(devices, list):
        return None
    free = [device.get("vram_free") for device in devices if isinstance(device, dict)]
    return min((value for value in free if isinstance(value, int)), default=None)
