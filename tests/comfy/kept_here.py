"""Kept steps in a folder instead of object storage."""

from __future__ import annotations

import shutil
from pathlib import Path


class KeptHere:
    """:class:`myspinbot_worker.engines.KeptSteps`; what is kept outlives an attempt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folder_of_attempt = folder
        self.kept: list[str] = []
        self.fetched: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def fetch(self, step: str) -> Path | None:
        for path in self._folder.glob(f"{step}.*"):
            self.fetched.append(step)
            return Path(shutil.copy(path, self.folder_of_attempt / f"fetched-{path.name}"))
        return None

    def keep(self, step: str, path: Path) -> None:
        self.kept.append(step)
        shutil.copy(path, self._folder / f"{step}{path.suffix}")
