"""The embedded ComfyUI's process: started, talked to, killed with all that it started."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import EngineUnavailable
from .engine import EngineLost

log = logging.getLogger(__name__)
output_log = logging.getLogger("comfyui")

LISTEN_SECONDS = 0.05
"""How long nobody is asked whether the work still has a use."""

_LAUNCH = Path(__file__).with_name("host") / "launch.py"
_MARK = "MYSPINBOT_COMFYUI"
"""An environment variable by which all that a child started is known, whoever its parent is by now."""

_TAIL_LINES = 20
_END_SECONDS = 5.0
_LAST_WORDS_SECONDS = 2.0
_LARGEST_MESSAGE = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """How the child is started; what it has no use for stays out, so its fields are those of ``host/boot.py``.

    Attributes:
        python: The interpreter that has ComfyUI's packages.
        boot_seconds: Longest start.
    """

    root: Path
    python: Path | None = None
    arguments: tuple[str, ...] = ()
    models: tuple[Path, ...] = ()
    custom_nodes: tuple[Path, ...] = ()
    keep_warm: tuple[str, ...] = ()
    idle_free_seconds: float = 0.0
    boot_seconds: float = 300.0

    def for_host(self, home: Path) -> str:
        """The settings as the child's program reads them."""
        given = asdict(self)
        del given["python"], given["boot_seconds"]
        return json.dumps(given | {"home": home}, default=str)


class Child:
    """One process of the embedded ComfyUI, started; it can be used after :meth:`wait_ready`.

    Args:
        home: An empty folder of its own.

    Raises:
        EngineUnavailable: It cannot be started.
    """

    def __init__(self, settings: ChildSettings, home: Path) -> None:
        self._settings = settings
        self._began = time.monotonic()
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._killed = False
        self._mark = uuid4().hex
        ours, theirs = socket.socketpair()
        command = [
            str(settings.python or sys.executable),
            str(_LAUNCH),
            str(os.getpid()),
            str(theirs.fileno()),
            settings.for_host(home),
        ]
        started: Future[subprocess.Popen[bytes]] = Future()
        # It dies with the thread that starts it, so that must be one that outlives it, not any that wants a prompt run.
        self._reader = threading.Thread(
            target=self._start_and_read,
            args=(command, theirs.fileno(), started),
            name="comfyui-output",
            daemon=True,
        )
        self._reader.start()
        try:
            self._process = started.result()
        except OSError as error:
            ours.close()
            raise EngineUnavailable(f"ComfyUI cannot be started: {error}") from None
        finally:
            theirs.close()
        self._connection: Connection[bytes, bytes] = Connection(ours.detach())
        self.ready = False
        self.catalog: Mapping[str, Mapping[str, Any]] = {}
        self.outputs: frozenset[str] = frozenset()

    def wait_ready(self, check: Callable[[], None] = lambda: None) -> None:
        """Until it has booted.

        Args:
            check: Called every now and then; what it raises ends the wait, not the boot.

        Raises:
            EngineUnavailable: It does not start, or is a ComfyUI that the farm cannot work with.
        """
        if self.ready:
            return
        ready = self._booted(check)
        self.catalog = ready["catalog"]
        self.outputs = frozenset(name for name, told in self.catalog.items() if told.get("output_node"))
        self.ready = True
        log.info(
            "ComfyUI %s is ready after %.1f s (%d node classes)",
            ready["version"], time.monotonic() - self._began, len(self.catalog),
        )  # fmt: skip
        for name in ready["not_kept"]:
            log.warning(
                "nothing is called %s in this ComfyUI: its models are loaded again by every run", name
            )
        if ready["failed"]:
            log.warning("parts of ComfyUI that could not be loaded: %s", ", ".join(ready["failed"]))

    def _booted(self, check: Callable[[], None]) -> Mapping[str, Any]:
        root, patience = self._settings.root, self._settings.boot_seconds
        message = None
        while message is None:
            check()
            if time.monotonic() - self._began > patience:
                self.kill()
                raise EngineUnavailable(
                    f"ComfyUI in {root} was not ready within {patience:.0f} s (comfyui.boot_seconds)"
                )
            try:
                message = self.receive(LISTEN_SECONDS)
            except EngineLost as lost:
                raise EngineUnavailable(f"ComfyUI in {root} does not start: {lost.message}") from None
        if message["is"] == "refused":
            self.kill()
            raise EngineUnavailable("; ".join(message["why"]))
        return message

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is there. What it said while nobody listened is passed over."""
        # Its end of the connection tells first: its exit code may be in another thread's hands just now.
        try:
            while self._connection.poll(0):
                self._connection.recv_bytes(_LARGEST_MESSAGE)
        except (EOFError, OSError):
            return False
        return self._process.poll() is None

    def send(self, do: str, **data: Any) -> None:
        """Tell it something; a dead one is found out by :meth:`receive`."""
        with suppress(OSError):
            self._connection.send_bytes(json.dumps({"do": do, **data}).encode())

    def receive(self, timeout: float) -> Mapping[str, Any] | None:
        """What it says next, ``None`` if nothing within ``timeout`` seconds.

        Raises:
            EngineLost: It is gone.
        """
        try:
            if not self._connection.poll(max(0.0, timeout)):
                return None
            message: Mapping[str, Any] = json.loads(self._connection.recv_bytes(_LARGEST_MESSAGE))
        except (EOFError, OSError, ValueError):
            # One that is ending by itself has an exit code to tell.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_WORDS_SECONDS)
            code = self._process.returncode
            self.kill()
            raise EngineLost(
                f"ComfyUI {self._how_it_ended(code)}", details={"output": list(self._tail)}
            ) from None
        return message

    def _how_it_ended(self, code: int | None) -> str:
        if code is None:
            return "closed its connection"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        last = next((line for line in reversed(self._tail) if line.strip()), "")
        return f"{how}{f' ({last[:300]})' if last else ''}"

    def _start_and_read(
        self, command: list[str], descriptor: int, started: Future[subprocess.Popen[bytes]]
    ) -> None:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment() | {_MARK: self._mark},
                pass_fds=[descriptor],
            )
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(process)
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                self._tail.append(text)
                output_log.debug("%s", text)
        process.wait()

    def close(self) -> None:
        """Let it end, by force if it does not."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill it and what its packs started."""
        if self._killed:
            return
        self._killed = True
        self._connection.close()
        if self._process.poll() is None:
            _end([self._process.pid, *_descendants(self._process.pid)])
            self._process.wait()
        # A dead one has no descendants any more, but may have left some behind.
        _end(list(_marked(f"{_MARK}={self._mark}".encode())))
        self._reader.join(_END_SECONDS)


def _environment() -> dict[str, str]:
    """The child's environment: without the farm's secrets and its own Python path."""
    hidden = ("REDIS_", "MINIO_", "FARM_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {"PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def _end(family: Iterable[int]) -> None:
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped, none can start another
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _marked(entry: bytes) -> Iterator[int]:
    """The processes that have this in the environment they were started with, as Linux tells it."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if entry in environment.read_bytes().split(b"\0"):
                yield int(environment.parent.name)


def _descendants(pid: int) -> Iterator[int]:
    """The processes below one, as Linux tells them."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                yield int(child)
                yield from _descendants(int(child))
