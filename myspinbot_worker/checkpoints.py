"""Steps of a long task kept in storage, so that whoever runs the node next goes on from there.

A step is a file, named by the task. Its key is its manifest: what the node was given (a fingerprint of service, params
and input), the step, the file's digest and size; so steps of different work are never taken for each other, and two
attempts that keep the same step at one time harm nothing. Steps live as long as the visit: the note that ends it
(:mod:`.litter`) names their folder, whether the node completed or not.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .artifact import Artifact
from .artifact_keys import steps_folder
from .checksums import checksums
from .errors import ArtifactCorrupt, ArtifactMissing, StorageUnavailable
from .graph.transitions import Claim

if TYPE_CHECKING:
    from .storage import Storage

log = logging.getLogger(__name__)

BUCKET = "staged"

_STEP = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NAME = re.compile(r"(?P<sha256>[0-9a-f]{64})-(?P<size>\d+)(\.[a-z0-9]{1,10})?")


def work_fingerprint(claim: Claim) -> str:
    """What tells one piece of work from another: the service and everything the node was given."""
    digest = hashlib.sha256()
    for text in (claim.service, claim.params, claim.input, *claim.outputs):
        part = (text or "").encode("utf-8", "surrogatepass")
        digest.update(f"{len(part)}:".encode() + part)
    return digest.hexdigest()[:32]


class Checkpoints:
    """The kept steps of one node in one visit.

    Args:
        scratch: Where fetched steps are put.
        uploads: Told before an object is written.
        kept: Told when a step is there that was not there before: the work has got on.
    """

    def __init__(
        self,
        claim: Claim,
        scratch: Path,
        storage: Storage,
        *,
        uploads: Callable[[], None],
        kept: Callable[[], None],
    ) -> None:
        ref = claim.ref
        self._folder = f"{steps_folder(ref.job, claim.node_id, ref.entry)}{work_fingerprint(claim)}/"
        self._scratch = scratch
        self._storage = storage
        self._uploads, self._told = uploads, kept
        self._known: dict[str, list[str]] | None = None

    def artifact(self, step: str) -> Artifact | None:
        """The kept object of a step, looked up but not fetched; ``None`` if there is none.

        Raises:
            StorageError: Storage refused or cannot be reached.
        """
        for name in self._names(step):
            try:
                return self._storage.stat(BUCKET, self._key(step, name))
            except ArtifactMissing:
                continue
        return None

    def fetch(self, step: str) -> Path | None:
        """The file of a step, verified by size and digest; ``None`` if it was not kept or is not what was kept.

        Raises:
            StorageError: Storage refused or cannot be reached.
        """
        for name in self._names(step):
            found = _NAME.fullmatch(name)
            assert found is not None
            path = self._scratch / f"kept-{step}{Path(name).suffix}"
            try:
                self._storage.download(BUCKET, self._key(step, name), path, expected_size=int(found["size"]))
                with path.open("rb") as file:
                    sha256, _ = checksums(file, lambda: None)
                if sha256 == found["sha256"]:
                    return path
                log.warning("the kept step %s is not what was kept; it is made again", step)
            except (ArtifactMissing, ArtifactCorrupt) as error:
                log.warning("the kept step %s cannot be used, it is made again: %s", step, error.message)
            path.unlink(missing_ok=True)
        return None

    def keep(self, step: str, path: Path) -> Artifact | None:
        """Keep a step's file; the same step again changes nothing. ``None`` if storage is away.

        That storage is away costs no work that is done: the step is made again if this attempt is lost.

        Args:
            step: Letters, digits, ``_`` and ``-``; the suffix of ``path`` is kept too.

        Raises:
            StorageError: Storage refused.
        """
        with path.open("rb") as file:
            sha256, _ = checksums(file, lambda: None)
        suffix = path.suffix if re.fullmatch(r"\.[a-z0-9]{1,10}", path.suffix) else ""
        name = f"{sha256}-{path.stat().st_size}{suffix}"
        try:
            names = self._names(step)
            if name in names:
                return self.artifact(step)
            self._uploads()
            artifact = self._storage.upload(path, BUCKET, self._key(step, name))
        except StorageUnavailable as error:
            log.warning("step %s is not kept: %s", step, error.message)
            return None
        # Another file for a step that is there is no progress: a task that keeps dying must not count as getting on.
        if not names:
            self._told()
        names.insert(0, name)
        return artifact

    def _key(self, step: str, name: str) -> str:
        return f"{self._folder}{step}/{name}"

    def _names(self, step: str) -> list[str]:
        """Names of the files kept for a step; storage is asked once an attempt."""
        if not _STEP.fullmatch(step):
            raise ValueError(f"a step's name is made of letters, digits, '_' and '-': {step!r}")
        if self._known is None:
            self._known = {}
            for key in self._storage.list_keys(BUCKET, self._folder):
                parts = key.removeprefix(self._folder).split("/")
                if len(parts) == 2 and _NAME.fullmatch(parts[1]):
                    self._known.setdefault(parts[0], []).append(parts[1])
        return self._known.setdefault(step, [])
