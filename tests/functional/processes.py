"""A real process whose log lines are events to wait for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds before an event that should come is given up; no test waits for its length."""


class Process:
    """A process whose log lines are events to wait for. Its whole session ends with it."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], folder: Path = ROOT) -> None:
        self.name = name
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.told_to_stop = False
        self._child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"log-{name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()

    def wait_for(self, pattern: str, count: int = 1, patience: float = PATIENCE) -> list[str]:
        """Wait until ``count`` log lines match ``pattern``; these lines."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [line for line in self.lines if re.search(pattern, line)]
            return len(found) >= count or self._child.poll() is not None

        with self._changed:
            self._changed.wait_for(there, patience)
        assert len(found) >= count, f"{self.name} did not say {pattern!r}:\n" + "\n".join(self.lines[-40:])
        return found

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.poll()

    def children(self) -> list[psutil.Process]:
        """All live processes of this one's session but itself."""
        return [p for p in psutil.process_iter(["pid"]) if p.pid != self.pid and _session(p.pid) == self.pid]

    def worker_pids(self) -> list[int]:
        """The processes that run tasks: children of the ``dramatiq`` command."""
        return [
            int(found.group(1))
            for line in self.lines
            if (found := re.search(r"PID (\d+)\].*ready for action", line))
        ]

    def signal(self, number: signal.Signals) -> None:
        self.told_to_stop |= number is signal.SIGTERM
        self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL for the whole session: what a power cut of this container would do."""
        os.killpg(self.pid, signal.SIGKILL)
        self._finish()

    def stop(self) -> int:
        """SIGTERM, as an orchestrator would; the exit code. Nothing of the session may remain."""
        # Dramatiq takes a second SIGTERM for impatience and kills its workers.
        if self._child.poll() is None and not self.told_to_stop:
            self.signal(signal.SIGTERM)
        self._finish()
        remaining = self.children()
        psutil.wait_procs(remaining, timeout=PATIENCE)
        left = [p for p in remaining if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        for process in left:
            process.kill()
        assert not left, f"{self.name} left processes behind: {left}"
        assert self._child.returncode is not None
        return self._child.returncode

    def stop_when_done(self) -> int:
        """Wait for an end that was brought about otherwise; the exit code."""
        self._finish()
        assert self._child.returncode is not None
        return self._child.returncode

    def _finish(self) -> None:
        try:
            self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._child.wait()
            raise AssertionError(f"{self.name} did not end:\n" + "\n".join(self.lines[-40:])) from None
        finally:
            self._reader.join(PATIENCE)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
