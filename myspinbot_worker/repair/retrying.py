"""Sends a failed or cancelled job on from where it failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from ..admission import parse_graph, read_entry
from ..errors import JobUnknown, RejectedEntry, RetryRefused
from ..graph.document import Document
from ..graph.plan import CycleError
from ..graph.resume import CannotResume, ParamsEdit, Resumed, resume
from ..graph.scanner import DocumentError
from ..graph.transitions import Limits
from ..inspection import Inspector
from ..keys import job as job_key
from .scripts import Scripts, text

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Retried:
    """A job that was sent on, by the entry of that id."""

    job: str
    entry: str
    resumed: Resumed


class JobRetry:
    """Retries jobs.

    Args:
        client: Must not decode responses.
        max_bytes, max_nodes: Of a graph, as the farm takes them.
    """

    def __init__(
        self, client: redis.Redis, inspector: Inspector, limits: Limits, *, max_bytes: int, max_nodes: int
    ) -> None:
        self._client: Any = client
        self._inspector = inspector
        self._limits = limits
        self._size = {"max_bytes": max_bytes, "max_nodes": max_nodes}
        self._run = Scripts(client)

    def retry(
        self, job: str, edits: Mapping[str, ParamsEdit] | None = None, dealt_with: Iterable[str] = ()
    ) -> Retried:
        """Send a job on: its failed nodes and those skipped because of them run, finished ones are kept.

        Of several that try at once, one sends an entry.

        Args:
            edits: Node id to what to change in its params.
            dealt_with: Ids of failed nodes (of :mod:`.failures`) to note as retried.

        Raises:
            JobUnknown: Nothing is known of the job.
            RetryRefused: Why it cannot be retried as asked.
        """
        for _ in range(_TRIES):
            graph, created = self._snapshot(job)
            resumed = self._resumed(job, graph, edits)
            keys, streams = self._inspector.keys, self._inspector.streams
            result = self._run(
                "resume",
                [streams.data, keys.run(job), job_key(job), keys.handled, keys.cancels],
                job,
                graph,
                created,
                resumed.graph,
                self._limits.job_ttl_seconds,
                self._limits.dead_letters_kept + self._limits.history_kept,
                *dealt_with,
            )
            match text(result[0]):
                case "sent":
                    return Retried(job, text(result[1]), resumed)
                case "open":
                    raise _open(job)
        raise RetryRefused(f"job {job}: its snapshot changes all the time")

    def _snapshot(self, job: str) -> tuple[bytes, bytes]:
        run = self._inspector.keys.run(job)
        if self._client.exists(run):
            raise _open(job)
        if waiting := self._inspector.waiting_entry(job):
            raise RetryRefused(f"job {job} waits to be taken up: its entry is {waiting}")
        graph, created = self._client.hmget(job_key(job), "graph", "created")
        if graph is None:
            if self._inspector.job(job).phase == "unknown":
                raise JobUnknown(f"nothing is known of job {job}")
            raise RetryRefused(
                f"job {job} has no snapshot any more: {job_key(job)} lives for {self._limits.job_ttl_seconds} s"
            )
        return graph, created or b""

    def _resumed(self, job: str, graph: bytes, edits: Mapping[str, ParamsEdit] | None) -> Resumed:
        try:
            document = self._document(graph)
        except (DocumentError, CycleError, RejectedEntry, UnicodeDecodeError) as error:
            raise RetryRefused(f"job {job}: its snapshot is no usable graph: {error}") from None
        try:
            resumed = resume(document, edits)
            fields = {b"jobId": job.encode(), b"created": b"1", b"graph": resumed.graph.encode()}
            read_entry("0-0", fields, **self._size)
        except CannotResume as error:
            raise RetryRefused(f"job {job}: {error}") from None
        except (RejectedEntry, CycleError) as error:
            raise RetryRefused(f"job {job}: the farm would refuse the graph: {error}") from None
        return resumed

    def _document(self, graph: bytes) -> Document:
        return parse_graph(graph.decode(), self._size["max_nodes"])


def _open(job: str) -> RetryRefused:
    return RetryRefused(f"job {job} has an open run")
