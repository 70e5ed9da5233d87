"""Where a campaign takes place: a Redis, an S3 server, ingestors and workers, in one folder."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3
from myspinbot_worker.scratch import sweep

from .campaign_processes import MARK, Program, left_behind

BUCKETS = ("input", "staged", "output")
INGESTORS = 2
MOST_LOST = 6
"""How many lost attempts fail a node: by default 3, which chance alone would reach here."""
_STOP_SECONDS = 40.0
"""Beyond the lease: a Dramatiq command hears no signal while it starts, for up to half a minute."""
_NOTICING = 10.0
"""Seconds that what a killed process started has to notice and end."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the farm is.

    Attributes:
        workers: Worker commands ...
        processes: ... of so many processes together ...
        threads: ... of so many threads each.
        lease: Seconds.
    """

    workers: int = 4
    processes: int = 5
    threads: int = 1
    lease: float = 3.0

    def processes_of(self, number: int) -> int:
        """How many of the processes a worker command has."""
        return max(1, (self.processes + self.workers - 1 - number) // self.workers)


@dataclass
class Stage:
    """A farm that runs.

    Args:
        say: Told what happens.
    """

    folder: Path
    size: Size
    redis: EmbeddedRedis
    storage: EmbeddedS3
    say: Callable[[str], None]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    ingestors: list[Program] = field(default_factory=list)
    workers: list[Program] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Processes that were there when all should have ended."""

    @property
    def programs(self) -> list[Program]:
        return [*self.ingestors, *self.workers]

    def start(self) -> None:
        size, python = self.size, sys.executable
        for number in range(INGESTORS):
            command = [python, "-m", "myspinbot_worker", "ingest"]
            self.ingestors.append(self._program(f"ingestor-{number}", command, " reads ", 1))
        for number in range(size.workers):
            processes = size.processes_of(number)
            command = [python, "-m", "dramatiq", "myspinbot_worker.actors"]
            command += ["-p", str(processes), "-t", str(size.threads)]
            self.workers.append(self._program(f"worker-{number}", command, "ready for action", processes))

    def _program(self, name: str, command: list[str], up: str, times: int) -> Program:
        log = self.folder / f"{name}.log"
        return Program(name, command, up, times, self._environment(), log, self.say)

    def stop(self) -> None:
        """Ask all to stop, and see that they do."""
        for program in self.programs:
            program.ask_to_stop_for_good()
        for program in self.programs:
            program.stop(self.size.lease + _STOP_SECONDS)
        self.left += left_behind(self.mark, _NOTICING)

    def kill(self) -> None:
        """Nothing may remain, whatever state it is in."""
        for program in self.programs:
            program.kill_for_good()
        left_behind(self.mark, 0.0)

    def scratch_left(self) -> list[str]:
        """Files of attempts, once all workers have ended."""
        scratch = self.folder / "scratch"
        sweep(scratch)
        return sorted(str(path.relative_to(scratch)) for path in scratch.glob("worker-*"))

    def objects(self) -> dict[str, int]:
        """Every object in storage and its size."""
        root = self.storage.directory
        return {
            str(path.relative_to(root)): path.stat().st_size for path in root.glob("*/**/*") if path.is_file()
        }

    def thaw_storage(self) -> None:
        if (pid := self.storage.pid) is not None:
            os.kill(pid, signal.SIGCONT)

    def _environment(self) -> dict[str, str]:
        return {
            MARK: self.mark,
            "REDIS_URL": self.redis.url,
            "MINIO_ENDPOINT": self.storage.endpoint,
            "MINIO_ACCESS_KEY": self.storage.access_key,
            "MINIO_SECRET_KEY": self.storage.secret_key,
            "MINIO_BUCKETS": ",".join(BUCKETS),
            "MINIO_USE_SSL": "false",
            "WORKER_HOME": str(self.folder),
            "FARM_SCRATCH_DIR": str(self.folder / "scratch"),
            "FARM_GPU_LOCK_DIR": str(self.folder / "gpu"),
            "FARM_GPU_DEVICES": "none",
            "FARM_SERVER_PORT": "0",
            "FARM_METRICS_PORT": "0",
            "FARM_ACTOR_MODULES": "tests.faults.campaign_capabilities",
            "FARM_LEASE_SECONDS": str(self.size.lease),
            "FARM_MAX_LOST_ATTEMPTS": str(MOST_LOST),
            "FARM_NOTICE_SECONDS": "0.3",
            "FARM_INTERRUPT_SECONDS": "0.3",
            "FARM_RECONCILE_SECONDS": "0.3",
            "FARM_RECLAIM_IDLE_SECONDS": "1",
            "FARM_MESSAGE_CHECK_SECONDS": "1",
            "FARM_HEARTBEAT_SECONDS": str(self.size.lease),
            "FARM_HISTORY_KEPT": "10000000",
            "FARM_DEAD_LETTERS_KEPT": "10000000",
        }


@contextmanager
def set_up(folder: Path, size: Size, say: Callable[[str], None]) -> Iterator[Stage]:
    """A stage whose servers run; all that was started ends with the block, however that ends."""
    with (
        EmbeddedRedis(folder / "redis", aof=True, config=("--appendfsync", "always")) as server,
        EmbeddedS3(folder / "storage", buckets=BUCKETS) as storage,
    ):
        stage = Stage(folder, size, server, storage, say)
        try:
            yield stage
        finally:
            stage.kill()
            stage.thaw_storage()
