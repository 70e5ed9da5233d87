"""Scratch folders that go with the node, whatever happens to the worker.

Every worker process owns one folder under the scratch root and holds a lock on it that dies with the process;
a folder whose lock is free belongs to a dead worker and is swept when another one starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

log = logging.getLogger(__name__)

_LOCK = ".lock"
_TASK, _EMPTY = "task-", "empty-"
_NEW = "starting-"
_STARTING_SECONDS = 60.0


class ScratchRoot:
    """This process' scratch folder.

    Args:
        root: Shared by all workers of a host; created if missing.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        # Locked before it has the name that a sweep looks for: a starting worker must not look dead.
        making = Path(tempfile.mkdtemp(prefix=_NEW, dir=root))
        self._lock = os.open(making / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = making.rename(root / f"worker-{os.getpid()}-{making.name.removeprefix(_NEW)}")
        self._numbers = count(1)
        self._empty: list[str] = []

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, removed with all its content at the end of the block."""
        path = self._new(f"{self.path}{os.sep}{_TASK}{next(self._numbers)}")
        try:
            yield Path(path)
        finally:
            if not self._keep(path):
                shutil.rmtree(path, ignore_errors=True)
                if os.path.lexists(path):
                    log.error("scratch folder %s could not be removed", path)

    # Texts and not paths below: this is done for every task, and making a folder anew may take longer than the task.

    def _new(self, path: str) -> str:
        """A new folder, or one that was left empty, under a new name."""
        with contextlib.suppress(IndexError, OSError):
            os.rename(self._empty.pop(), path)  # noqa: PTH104
            if _is_empty(path):
                return path
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, 0o700)  # noqa: PTH102
        return path

    def _keep(self, path: str) -> bool:
        """Keep a folder for later if it is empty; whoever still has its name finds nothing under it."""
        kept = f"{self.path}{os.sep}{_EMPTY}{next(self._numbers)}"
        try:
            if not _is_empty(path):
                return False
            os.rename(path, kept)  # noqa: PTH104
        except OSError:
            return False
        self._empty.append(kept)
        return True

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _is_empty(folder: str) -> bool:
    with os.scandir(folder) as found:
        return next(found, None) is None


def sweep(root: Path) -> int:
    """Remove the folders of dead workers; how many."""
    swept = 0
    for folder in root.glob("worker-*"):
        if _is_dead(folder):
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    for folder in root.glob(f"{_NEW}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _STARTING_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
    return swept


def _is_dead(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # Named only after it was locked: without a lock it is half removed.
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
