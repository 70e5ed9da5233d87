"""The steps of a pipeline: prompts run one after the other, each result kept under a name that says what made it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ..engines import KeptSteps
from ..errors import BadOutput
from .engine import OutputFile, RunResult
from .template import Template


class Chain:
    """Digest of everything a step depends on; so a step that was made otherwise is never taken for this one."""

    def __init__(self, *parts: object) -> None:
        self._digest = hashlib.sha256()
        for part in parts:
            self._add(str(part).encode("utf-8", "surrogatepass"))

    def _add(self, part: bytes) -> None:
        self._digest.update(f"{len(part)}:".encode() + part)

    def add_file(self, path: Path) -> Chain:
        """Go on from a file's content."""
        with path.open("rb") as file:
            self._add(hashlib.file_digest(file, "sha256").digest())
        return self

    def name(self, step: str) -> str:
        """The step's name at this point."""
        return f"{step}-{self._digest.hexdigest()[:16]}"


class NothingKept:
    """Where nobody keeps anything: every step is made."""

    def fetch(self, step: str) -> Path | None:
        return None

    def keep(self, step: str, path: Path) -> object:
        return None


def keeper(kept: KeptSteps | None) -> KeptSteps:
    return kept if kept is not None else NothingKept()


def recipe(prompt: Template) -> str:
    """A prompt but for its files: what else a result depends on."""
    told = {
        node: (it["class_type"], sorted(it["inputs"].items(), key=lambda item: item[0]))
        for node, it in prompt.items()
    }
    return repr(sorted((node, class_type, _values(inputs)) for node, (class_type, inputs) in told.items()))


def _values(inputs: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    return [
        (name, repr(value) if isinstance(value, str | int | float | bool | list | dict) else "a file")
        for name, value in inputs
    ]


def only_file(result: RunResult, node: str) -> Path:
    """The one file that an output node wrote.

    Raises:
        BadOutput: It wrote none, or several.
    """
    files = files_of(result, node)
    if len(files) != 1:
        raise BadOutput(f"node {node} of the workflow wrote {len(files) or 'no'} files, one was expected")
    return files[0].path


def files_of(result: RunResult, node: str) -> list[OutputFile]:
    """The files that an output node wrote, in its order."""
    return [file for file in result.files if file.node == node]
