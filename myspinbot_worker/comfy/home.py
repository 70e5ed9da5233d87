"""The folders an embedded ComfyUI reads and writes: the same for its whole life, empty between two prompts.

Nodes remember where the output folder was when they were made, and are kept from prompt to prompt, so it must not
change. What a prompt made is therefore moved out after it has ended.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import BadOutput
from .engine import OutputFile
from .events import ReportedFile

PLACES = ("input", "output", "temp")


class Home:
    """The folder of one child; :mod:`.host.boot` makes the places in it.

    Args:
        path: Does not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._found_at_start: frozenset[Path] = frozenset()

    def settle(self) -> None:
        """The child has booted: what it and its packs have made by now stays."""
        self._found_at_start = frozenset(path for place in PLACES for path in (self.path / place).rglob("*"))

    def place(self, path: Path, run: str) -> str:
        """Put a file where ComfyUI looks for inputs; its name there.

        A name of this run only: a loader that does not look at the content would otherwise be answered from the cache
        with another file, and one that reads late with a file that is gone.
        """
        folder = self.path / "input"
        name = f"{run}-{sum(1 for _ in folder.iterdir()) + 1}{path.suffix}"
        try:
            os.link(path, folder / name)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, folder / name)
        return name

    def move(self, reported: Iterator[ReportedFile], run: str, into: Path) -> tuple[OutputFile, ...]:
        """What a prompt made, now in the attempt's folder.

        Args:
            run: The first folder of names that are of this run; left out there.

        Raises:
            BadOutput: A file is not there, or somewhere else.
        """
        moved: dict[Path, Path] = {}
        files = []
        for item in reported:
            root = (self.path / item.place).resolve()
            path = (root / item.subfolder / item.name).resolve()
            if item.place not in PLACES or not path.is_relative_to(root):
                raise BadOutput(f"node {item.node!r} names a file outside its folders: {_named(item)}")
            if path not in moved:
                if not path.is_file():
                    raise BadOutput(f"node {item.node!r} names a file that does not exist: {_named(item)}")
                inner = path.relative_to(root)
                own = inner.relative_to(run) if inner.is_relative_to(run) else inner
                moved[path] = into / item.place / own
                moved[path].parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, moved[path])
            files.append(OutputFile(item.node, item.kind, moved[path]))
        return tuple(files)

    def clear(self) -> None:
        """Remove what a prompt has left."""
        for place in PLACES:
            self._clear(self.path / place)

    def _clear(self, folder: Path) -> None:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path in self._found_at_start:
                if path.is_dir() and not path.is_symlink():
                    self._clear(path)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """The child is dead."""
        shutil.rmtree(self.path, ignore_errors=True)


def _named(item: ReportedFile) -> str:
    return f"{item.subfolder}/{item.name}" if item.subfolder else item.name
