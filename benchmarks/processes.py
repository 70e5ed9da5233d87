"""The processes under measurement; they end with the benchmarks, however those end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from myspinbot_worker.embedded_server import EmbeddedServer

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0
"""Seconds a program may take until it is up: it is measured only then."""
_SETTINGS = ("FARM_", "MINIO_", "REDIS_", "WORKER_", "dramatiq_")
"""The operator's own settings of farm and Dramatiq do not belong to what is measured."""


class Program(EmbeddedServer):
    """A Python program that is up once its log says so.

    Args:
        folder: For its log.
        name: For messages and the log's name.
        arguments: After ``python``.
        env: On top of our own environment.
        up: What the log says ...
        times: ... so often, once it is up.
    """

    start_seconds = PATIENCE

    def __init__(
        self, folder: Path, name: str, arguments: list[str], env: Mapping[str, str], up: str, times: int = 1
    ) -> None:
        super().__init__(folder / name)
        self.name = name
        self._command = arguments
        self._env = dict(env)
        self._up = up
        self._times = times
        self._started_at = 0

    @property
    def url(self) -> str:
        """It serves nothing."""
        return ""

    @property
    def last_lines(self) -> str:
        """The end of its log, for error messages."""
        return self._tail(self._started_at)

    def _program(self) -> Path:
        return Path(sys.executable)

    def _arguments(self, port: int) -> list[str]:
        return self._command

    def _environment(self) -> Mapping[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
        return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self._env}

    def _launch(self, program: Path, port: int) -> None:
        self._started_at = self.log.stat().st_size if self.log.exists() else 0
        super()._launch(program, port)

    def _answers(self, port: int, pid: int) -> bool:
        return self._tail(self._started_at, 1000).count(self._up) >= self._times


def ingestor(folder: Path, env: Mapping[str, str]) -> Program:
    """``myspinbot-worker ingest``."""
    return Program(folder, "ingestor", ["-m", "myspinbot_worker", "ingest"], env, " reads ")


def workers(folder: Path, env: Mapping[str, str], count: int, queue: str = "cpu") -> Program:
    """``dramatiq`` with the farm's actors, for one queue: ``count`` processes of one thread."""
    return _dramatiq(folder, f"workers-{queue}", "myspinbot_worker.actors", queue, env, count)


def gpu_workers(folder: Path, env: Mapping[str, str], count: int, threads: int) -> Program:
    """The same for the GPU queue, with so many threads a process."""
    return _dramatiq(folder, "workers-gpu", "myspinbot_worker.actors", "gpu", env, count, threads)


def stock_workers(folder: Path, env: Mapping[str, str], count: int) -> Program:
    """``dramatiq`` with the plain actors it is compared with."""
    return _dramatiq(folder, "stock", "benchmarks.stock_dramatiq", "default", env, count)


def celery_workers(folder: Path, env: Mapping[str, str], count: int) -> Program:
    """``celery worker`` with so many processes of its default kind."""
    command = [
        "-m",
        "celery",
        "-A",
        "benchmarks.celery_app",
        "worker",
        "-c",
        str(count),
        "--loglevel",
        "INFO",
    ]
    return Program(folder, "celery", command, env, " ready.")


def _dramatiq(
    folder: Path, name: str, module: str, queue: str, env: Mapping[str, str], count: int, threads: int = 1
) -> Program:
    command = ["-m", "dramatiq", module, "-Q", queue, "-p", str(count), "-t", str(threads)]
    return Program(folder, name, command, env, "Worker process is ready for action", count)
