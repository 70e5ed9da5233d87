"""What every benchmark runs on: a Redis of its own, and the processes it asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from myspinbot_worker.embedded import EmbeddedRedis

from .processes import Program, celery_workers, gpu_workers, ingestor, stock_workers, workers

PATIENCE = 240.0
"""Seconds without any advance after which a benchmark is given up."""


class BenchmarkError(Exception):
    """The farm did not do what was waited for."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rounds: int = 5
    singles: int = 1000
    fan: int = 2000
    chains: int = 20
    growth: tuple[int, ...] = (100, 1000, 10_000)
    idle_seconds: float = 20.0
    pickups: int = 200
    messages: int = 2000
    ingest_nodes: int = 10_000
    busy: int = 100
    outputs: int = 50
    admitted: int = 10_000
    imports: int = 5
    staged: int = 40
    modelled: int = 120
    model_scale: float = 1.0
    videos: tuple[int, int] = (10, 120)
    transfers: int = 3
    transfer_bytes: int = 1 << 30


QUICK = Effort(
    rounds=2, singles=60, fan=250, chains=3, growth=(100, 500), idle_seconds=5.0, pickups=15, messages=200,
    busy=20, outputs=5, admitted=1000, imports=2, staged=8, modelled=40,
    model_scale=0.2, videos=(1, 4), transfers=2, transfer_bytes=64 << 20,
)  # fmt: skip


@dataclass
class Stage:
    """A Redis and the farm on it.

    Args:
        folder: For logs and data.
        server: Runs.
        client: Decodes replies.
        effort: How much to measure.
        say: Told what is being done.
    """

    folder: Path
    server: EmbeddedRedis
    client: redis.Redis
    effort: Effort
    say: Callable[[str], None]
    _running: dict[str, tuple[int, Program]] = field(default_factory=dict)

    def farm(self, processes: int, queue: str = "cpu") -> None:
        """One ingestor and one ``dramatiq`` command of so many worker processes, and nothing else."""
        name = f"workers-{queue}"
        self._only("ingestor", name)
        self._run("ingestor", 1, lambda: ingestor(self.folder, self._environment()))
        self._run(name, processes, lambda: workers(self.folder, self._environment(), processes, queue))

    def gpu_farm(self, processes: int, threads: int, **env: str) -> None:
        """One ingestor and so many workers with a device each, started anew, and nothing else."""
        self._only("ingestor")
        self._run("ingestor", 1, lambda: ingestor(self.folder, self._environment()))
        devices = {"FARM_GPU_DEVICES": ",".join(map(str, range(processes)))}
        given = {**self._environment(), **devices, **env}
        self._run("gpu workers", processes, lambda: gpu_workers(self.folder, given, processes, threads))

    def ingestor(self) -> int:
        """One ingestor and nothing else; its process id."""
        self._only("ingestor")
        self._run("ingestor", 1, lambda: ingestor(self.folder, self._environment()))
        pid = self._running["ingestor"][1].pid
        assert pid is not None
        return pid

    def stock(self, processes: int) -> None:
        """Plain Dramatiq with so many worker processes, and nothing else."""
        self._only("stock")
        self._run("stock", processes, lambda: stock_workers(self.folder, self._environment(), processes))

    def celery(self, processes: int) -> None:
        """Celery with so many worker processes, and nothing else."""
        self._only("celery")
        self._run("celery", processes, lambda: celery_workers(self.folder, self._environment(), processes))

    def stop(self) -> None:
        """End all processes but Redis."""
        self._only()

    def wait(self, condition: Callable[[], bool], what: str, pause: float = 0.002) -> None:
        """Poll until something is true.

        Raises:
            BenchmarkError: It did not become true.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise self.failure(what)
            time.sleep(pause)

    def failure(self, what: str) -> BenchmarkError:
        """An error that carries what the processes said last."""
        said = [f"{name} said last:\n{program.last_lines}" for name, (_, program) in self._running.items()]
        return BenchmarkError("\n\n".join([f"never happened within {PATIENCE:.0f} seconds: {what}", *said]))

    def _run(self, name: str, count: int, make: Callable[[], Program]) -> None:
        running = self._running.get(name)
        if running is not None and running[0] == count and running[1].running:
            return
        if running is not None:
            running[1].stop()
        self.say(f"starting {name}" + (f", {count} processes" if count > 1 else ""))
        program = make()
        self._running[name] = (count, program)
        program.start()

    def _only(self, *names: str) -> None:
        for name in [name for name in self._running if name not in names]:
            self._running.pop(name)[1].stop()

    def _environment(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.server.url,
            "WORKER_HOME": str(self.folder),
            "FARM_SCRATCH_DIR": str(self.folder / "scratch"),
            "FARM_GPU_LOCK_DIR": str(self.folder / "gpu"),
            "FARM_GPU_DEVICES": "none",
            "FARM_SERVER_PORT": "0",
            "FARM_METRICS_PORT": "0",
            "FARM_LOG_LEVEL": "INFO",
            # More than any benchmark opens at one time.
            "FARM_MAX_OPEN_RUNS": "100000",
            "FARM_ACTOR_MODULES": "benchmarks.marks,benchmarks.gpu_tasks",
            # Never asked: the no-op task stores nothing.
            "MINIO_ENDPOINT": "127.0.0.1:9",
            "MINIO_ACCESS_KEY": "unused",
            "MINIO_SECRET_KEY": "unused",  # nosec B105
            "MINIO_USE_SSL": "false",
        }


@contextmanager
def set_up(effort: Effort, say: Callable[[str], None]) -> Iterator[Stage]:
    """A stage in a temporary folder; all that was started ends with the block."""
    with TemporaryDirectory(prefix="farm-benchmarks-") as folder:
        say("starting Redis")
        with (
            EmbeddedRedis(Path(folder) / "redis") as server,
            redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=PATIENCE) as client,
        ):
            stage = Stage(Path(folder), server, client, effort, say)
            try:
                yield stage
            finally:
                stage.stop()
