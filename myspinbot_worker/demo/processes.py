"""The farm's own processes, started and ended like the embedded servers: they never outlive the demo."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ..embedded_server import START_SECONDS, EmbeddedServer


class FarmProcess(EmbeddedServer):
    """A Python process of the farm that answers HTTP once it is up.

    Args:
        name: For messages and for the name of its log.
        arguments: After ``python``.
        port_variable: The setting for its HTTP port.
        path: What to ask to know that it is up.
        boot_seconds: How much longer than other servers it may take.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        arguments: list[str],
        env: Mapping[str, str],
        port_variable: str,
        path: str,
        boot_seconds: float = 0.0,
    ) -> None:
        super().__init__(folder / name)
        self.name = name
        self.start_seconds = START_SECONDS + boot_seconds
        self._command = arguments
        self._env = dict(env)
        self._port_variable = port_variable
        self._path = path
        self._asked_port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Who presses Ctrl-C does not want to wait for a video; the farm can be killed at any moment.
        if kind is KeyboardInterrupt:
            self.kill()
        super().__exit__(kind, error, traceback)

    def _program(self) -> Path:
        return Path(sys.executable)

    def _arguments(self, port: int) -> list[str]:
        return self._command

    def _launch(self, program: Path, port: int) -> None:
        self._asked_port = port
        super()._launch(program, port)

    def _environment(self) -> Mapping[str, str]:
        return {
            **os.environ,
            **self._env,
            self._port_variable: str(self._asked_port),
            "PYTHONUNBUFFERED": "1",
        }

    def _answers(self, port: int, pid: int) -> bool:
        try:
            url = f"http://127.0.0.1:{port}{self._path}"
            with urllib.request.urlopen(url, timeout=1) as reply:  # nosec B310
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def ingestor(folder: Path, env: Mapping[str, str]) -> FarmProcess:
    return FarmProcess(
        folder, "ingestor", ["-m", "myspinbot_worker", "ingest"], env, "FARM_SERVER_PORT", "/health"
    )


def worker(folder: Path, env: Mapping[str, str], number: int, boot_seconds: float = 0.0) -> FarmProcess:
    """One ``dramatiq myspinbot_worker.actors`` of one process and one thread.

    Args:
        boot_seconds: How long its engines may take to start.
    """
    command = ["-m", "dramatiq", "myspinbot_worker.actors", "--processes", "1", "--threads", "1"]
    return FarmProcess(
        folder, f"worker-{number}", command, env, "FARM_METRICS_PORT", "/metrics", boot_seconds
    )
