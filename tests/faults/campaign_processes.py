"""Processes of the farm that are started again whenever they end, as an orchestrator does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
MARK = "CAMPAIGN"
"""In the environment of every process, so that none can hide."""
_SETTINGS = ("FARM_", "MINIO_", "REDIS_", "WORKER_", "dramatiq_")
"""The operator's own settings are not part of a campaign."""
_PAUSE = 0.3
"""Before a process is started again that ended by itself."""
_TERMINATED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit codes of a process that was asked to stop, perhaps while it was starting."""


@dataclass(frozen=True, slots=True)
class End:
    """A process that ended otherwise than it should."""

    name: str
    why: str
    last_lines: str


class Program:
    """One of the farm's commands, in a session of its own.

    Args:
        name: For people, and of its log.
        up: What its log says ...
        times: ... so often, once it is up.
        env: On top of our environment.
        log: What all its processes print.
        say: Told of its ends.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        up: str,
        times: int,
        env: Mapping[str, str],
        log: Path,
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self.starts = 0
        self.wrong_ends: list[End] = []
        self._command = command
        self._up = up.encode()
        self._times = times
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS)}
        self._env = {**inherited, "PYTHONUNBUFFERED": "1", **env}
        self._log = log
        self._say = say
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._killed = self._asked = self._was_up = False
        self._frozen = 0
        self._spawned_at = 0
        self._child = self._spawn()
        self._watcher = threading.Thread(target=self._watch, name=f"watch-{name}", daemon=True)
        self._watcher.start()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        self._killed = self._asked = self._was_up = False
        self._frozen = 0
        with self._log.open("ab") as log:
            self._spawned_at = log.tell()
            return subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _watch(self) -> None:
        while True:
            code = self._child.wait()
            with self._lock:
                wrong = self._wrong(code)
                if wrong:
                    self.wrong_ends.append(End(self.name, wrong, self._last_lines()))
                self._say(f"{self.name} ended with {code}{', which it should not' if wrong else ''}")
            if wrong and not self._closing.is_set():
                self._closing.wait(_PAUSE)
            with self._lock:
                if self._closing.is_set():
                    return
                self._child = self._spawn()

    def _wrong(self, code: int) -> str:
        if self._killed:
            return ""
        if not self._asked:
            return f"it ended by itself with {code}"
        return "" if code in _TERMINATED else f"asked to stop it ended with {code}"

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def at_work(self) -> bool:
        """Whether it is up, and nothing has befallen it."""
        with self._lock:
            if self._killed or self._asked or self._frozen or self._child.poll() is not None:
                return False
            if not self._was_up:
                with self._log.open("rb") as log:
                    log.seek(self._spawned_at)
                    self._was_up = log.read().count(self._up) >= self._times
            return self._was_up

    def workers(self) -> list[psutil.Process]:
        """The worker processes of a ``dramatiq`` command."""
        try:
            found = psutil.Process(self.pid).children()
            return [process for process in found if "dramatiq" in process.cmdline()]
        except psutil.Error:
            return []

    def kill(self) -> None:
        """End it at once; what runs its tasks has to notice."""
        with self._lock:
            self._killed = True
            self._signal(signal.SIGKILL)

    def kill_one(self, process: psutil.Process) -> None:
        """Kill one of its processes, which may end them all."""
        with self._lock:
            self._killed = True
            quietly(process.kill)

    def ask_to_stop(self) -> None:
        with self._lock:
            # A second time would be taken for impatience.
            if not self._asked:
                self._asked = True
                self._signal(signal.SIGTERM, group=False)

    def freeze(self) -> Callable[[], None]:
        """Stop the whole session; how to let it go on."""
        with self._lock:
            session = self._session()

        def each(action: Callable[[psutil.Process], None]) -> None:
            for process in session:
                quietly(lambda process=process: action(process))  # type: ignore[misc]

        return self._freeze(lambda: each(psutil.Process.suspend), lambda: each(psutil.Process.resume))

    def freeze_one(self, process: psutil.Process) -> Callable[[], None]:
        """Stop one of its processes; how to let it go on."""
        return self._freeze(process.suspend, process.resume)

    def _freeze(self, freeze: Callable[[], None], thaw: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            child = self._child
            self._frozen += 1
            quietly(freeze)

        def go_on() -> None:
            with self._lock:
                if self._child is child:
                    self._frozen -= 1
                quietly(thaw)

        return go_on

    def ask_to_stop_for_good(self) -> None:
        self._closing.set()
        self.ask_to_stop()

    def stop(self, seconds: float) -> None:
        """Ask it to stop for good; kill what has not after so many seconds."""
        self.ask_to_stop_for_good()
        self._watcher.join(seconds)
        if self._watcher.is_alive():
            with self._lock:
                self.wrong_ends.append(End(self.name, "asked to stop it did not", self._last_lines()))
            self.kill()
            self._watcher.join()

    def kill_for_good(self) -> None:
        self._closing.set()
        self.kill()
        self._watcher.join()

    def _signal(self, number: signal.Signals, *, group: bool = True) -> None:
        """Nobody else has the id of a process that was not waited for yet."""
        if self._child.poll() is None:
            (os.killpg if group else os.kill)(self._child.pid, number)

    def _session(self) -> list[psutil.Process]:
        """All its processes: those that run tasks are groups of their own."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(process.pid) == self._child.pid:
                    found.append(process)
        return found

    def _last_lines(self) -> str:
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - 4000))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-15:])


def tasks_of(worker: psutil.Process) -> list[psutil.Process]:
    """The processes in which a worker runs tasks."""
    try:
        return list(worker.children())
    except psutil.Error:
        return []


def quietly(action: Callable[[], None]) -> None:
    """Whoever is gone cannot be signalled."""
    with contextlib.suppress(psutil.NoSuchProcess):
        action()


def marked(mark: str) -> list[psutil.Process]:
    """Every live process that was started, by whomever, in this campaign."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_behind(mark: str, seconds: float) -> list[str]:
    """Processes that are there although all should have ended; they are killed.

    Args:
        seconds: How long they may take to notice.
    """
    deadline = time.monotonic() + seconds
    while (left := marked(mark)) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.1)
    told = []
    for process in left:
        try:
            told.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=5)
    return told
