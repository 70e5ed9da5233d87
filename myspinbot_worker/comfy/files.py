"""The files of a run: artifacts that go in, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifact import Artifact
from ..errors import BadInput, BadOutput
from ..media.gate import verify
from ..object_names import guess_content_type
from ..task import Task
from .engine import OutputFile, RunResult
from .problems import short

if TYPE_CHECKING:
    from .binding import Media, Output

_MEDIA = ("image", "audio", "video")


def fetch(task: Task, source: Artifact | str, media: Media | None, name: str) -> Path:
    """An artifact as a file of the attempt.

    Args:
        media: What it must be, as far as its name or content type tells.
        name: The field it came in, for the error.

    Raises:
        BadInput: It is something else.
        StorageError: See :mod:`myspinbot_worker.storage`.
    """
    key = source if isinstance(source, str) else source.key
    told = None if isinstance(source, str) else source.content_type
    found = (told or guess_content_type(key)).partition("/")[0]
    if media not in (None, "any") and found in _MEDIA and found != media:
        raise BadInput(
            f"{name}: expected {_with_article(media)}, but {short(key)!r} is {_with_article(found)}"
        )
    return task.fetch(source)


def _with_article(media: str | None) -> str:
    return f"{'a' if media == 'video' else 'an'} {media}" if media != "audio" else "a sound"


def written_by(result: RunResult, node: str, kind: str | None = None) -> list[OutputFile]:
    """What a node wrote, in the order in which it was reported."""
    return [file for file in result.files if file.node == node and kind in (None, file.kind)]


def files_of(
    result: RunResult, name: str, output: Output, check: Callable[[], None] = lambda: None
) -> list[OutputFile]:
    """What an output of a binding wrote, checked before anything is uploaded.

    Args:
        check: Called again and again while files are looked at; may raise.

    Raises:
        BadOutput: It is no file, an empty one, or several where one is expected.
        UntrueOutput: A file does not keep the output's promise.
    """
    files = written_by(result, output.node, output.kind)
    of_kind = f" of kind {output.kind!r}" if output.kind else ""
    if not files:
        raise BadOutput(f"output {name}: node {output.node} wrote no file{of_kind}")
    if len(files) > 1 and not output.many:
        raise BadOutput(
            f"output {name}: node {output.node} wrote {len(files)} files{of_kind}; the binding has no 'many: true'"
        )
    for file in files:
        check_written(file)
        if output.promise is not None:
            verify(file.path, output.promise.promised, check=check)
    return files


def check_written(file: OutputFile) -> None:
    """See that a file is there.

    Raises:
        BadOutput: It is empty or missing.
    """
    if not file.path.is_file() or not file.path.stat().st_size:
        raise BadOutput(f"node {file.node} wrote an empty file: {short(file.path.name)}")


def keep(
    task: Task, files: Sequence[OutputFile], name: str, bucket: str, content_type: str | None = None
) -> list[Artifact]:
    """Upload files as artifacts called ``name``, numbered if there are several."""
    return [
        task.keep(file.path, bucket=bucket, content_type=content_type, name=called)
        for called, file in zip(numbered(files, name), files, strict=True)
    ]


def numbered(files: Sequence[OutputFile], name: str) -> list[str]:
    """What the files of an output are called: its name, with a number if there are several, and their suffixes."""
    called = []
    for number, file in enumerate(files, 1):
        suffix = file.path.suffix if file.path.suffix.isascii() and len(file.path.suffix) <= 16 else ""
        called.append((f"{name}-{number:04}" if len(files) > 1 else name) + suffix)
    return called
