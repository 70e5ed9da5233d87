"""Tasks that run in the test's own process, with real storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.engines import EngineSet
from myspinbot_worker.storage import Storage, StorageConfig
from myspinbot_worker.task import Task
from tests.unit.attempts import Desk, claim

BUCKETS = ("input", "staged", "output")


class Moves(Desk):
    """A desk at which artifacts may be moved and steps kept."""

    def uploads(self) -> None:
        """Nothing to remember."""

    def kept(self) -> None:
        """Nothing to remember."""

    def moved(self, direction: str, size: int) -> None:
        """Nothing to remember."""


@contextmanager
def storage_with(server: EmbeddedS3, folder: str) -> Iterator[Storage]:
    """Storage for a test's own ``folder`` and for the job of :func:`inline_task`; both are emptied at the end."""
    made = Storage(
        StorageConfig(server.endpoint, server.access_key, server.secret_key, use_ssl=False, buckets=BUCKETS)
    )
    yield made
    for bucket in BUCKETS:
        made.remove_prefix(bucket, folder)
        made.remove_prefix(bucket, "job-1")
    made.close()


def inline_task(storage: Storage, tmp_path: Path, engines: EngineSet) -> Task:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Task(claim(), scratch, storage, Moves(), engines=lambda: engines)
