"""One attempt's part in the reuse of results: look for an earlier one, take its objects over, note a new one.

Runs where the task runs, under its lease and its deadline, before the device is taken. Nothing here fails a task
that could run: what cannot be had of the earlier result means that the task runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import Any

from pydantic import ValidationError

from .artifact import Artifact
from .capability import Capability
from .errors import StorageError
from .reuse import Fingerprint, Memo, Place, fingerprint, memo_text, with_artifacts
from .settings import Settings
from .task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewMemo:
    """A result to note in the index under its fingerprint."""

    digest: str
    text: str


def context_of(settings: Settings) -> dict[str, Any]:
    """What besides a node's payloads its result depends on."""
    return {
        "engine": settings.farm.engine,
        "preview_services": settings.farm.preview_services,
        "comfyui": settings.comfyui.model_dump(mode="json"),
        "farm": installed("myspinbot-worker"),
    }


class Reuse:
    """See the module.

    Args:
        context: See :func:`context_of`.
        ask: The memo of a fingerprint's digest, ``None`` if there is none.

    Attributes:
        told: JSON text for the node's ``telemetry.reused`` once an earlier result was taken; empty before.
        memo: Once the task ran: its result, if it may stand for others.
    """

    def __init__(
        self, task: Task, capability: Capability, context: Mapping[str, Any], ask: Callable[[str], str | None]
    ) -> None:
        self.told = ""
        self.memo: NewMemo | None = None
        self._task = task
        self._capability = capability
        self._context = context
        self._ask = ask
        self._fingerprint: Fingerprint | None = None

    def find(self, params: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
        """The output of an earlier result, its objects now this attempt's own; ``None``: the task has to run.

        Raises:
            StorageError: Objects that were taken over for nothing could not be removed.
        """
        storage = self._task.storage
        try:
            self._fingerprint = fingerprint(
                self._capability, params, given, self._context, storage.version, storage.config.buckets
            )
        except StorageError as error:
            log.info("no earlier result is looked for: %s", error.message)
        if self._fingerprint is None or (text := self._ask(self._fingerprint.digest)) is None:
            return None
        try:
            memo = Memo.model_validate_json(text)
        except ValidationError:
            log.warning("the index of results holds something that is none")
            return None
        if (taken := self._take_over(memo)) is None:
            return None
        output = with_artifacts(memo.output, taken)
        if "currentProgress" in output:
            said = given.get("currentProgress")
            output["currentProgress"] = self._task.current_progress(
                said if isinstance(said, int | float) else None
            )
        self.told = memo.told
        return json.dumps(output, allow_nan=False)

    def _take_over(self, memo: Memo) -> dict[Place, Artifact | None] | None:
        taken: dict[Place, Artifact | None] = {}
        done: list[Artifact] = []
        try:
            for item in memo.objects:
                copy = self._task.take_over(item.bucket, item.key, item.version)
                done.append(copy)
                taken[item.bucket, item.key] = copy
        except StorageError as error:
            log.info("the result of node %s of job %s is gone: %s", memo.node, memo.job, error.message)
            for artifact in done:
                self._task.storage.remove(artifact.bucket, artifact.key)
            return None
        return taken

    def ran(self, output: Mapping[str, Any]) -> None:
        """Note the task's own result, unless it read what its fingerprint does not hold."""
        task, known = self._task, self._fingerprint
        if known is None:
            return
        for place, version in task.fetched.items():
            if place in task.uploaded:
                continue
            if place not in known.inputs or not known.inputs[place].is_also(version):
                log.info("the result is not kept for others: the task read %s/%s besides", *place)
                return
        try:
            text = memo_text(
                task.job, task.node_id, task.folder, datetime.now(UTC).isoformat(timespec="seconds"),
                output, task.storage.version, task.uploaded,
            )  # fmt: skip
        except StorageError as error:
            log.info("the result is not kept for others: %s", error.message)
            return
        self.memo = NewMemo(known.digest, text) if text is not None else None
