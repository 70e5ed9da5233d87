"""Failed nodes of jobs that failed: found in the history, told by the jobs' snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis

from ..admission import parse_graph
from ..errors import FarmError
from ..graph.document import Document, Node
from ..graph.plan import CycleError, make_plan
from ..graph.resume import failed_nodes
from ..graph.scanner import DocumentError
from ..inspection import Inspector, error_of
from ..job_state import Concluded
from ..keys import job as job_key
from .troubles import Trouble, of_reason

_MOST_VISITS = 20_000
_PAGE = 100


class FailedNodes:
    """Reads failed nodes; a job that goes on or ended otherwise since then has none.

    Args:
        client: Must not decode responses.
    """

    def __init__(self, client: redis.Redis, inspector: Inspector) -> None:
        self._client: Any = client
        self._inspector = inspector

    def all(self) -> Iterator[Trouble]:
        """Every failed node that was neither retried nor dropped, newest first."""
        failed = list(_last_failed(self._inspector.concluded(_MOST_VISITS)))
        for at in range(0, len(failed), _PAGE):
            page = failed[at : at + _PAGE]
            with self._client.pipeline(transaction=False) as pipe:
                for visit in page:
                    pipe.hget(job_key(visit.job), "graph")
                    pipe.exists(self._inspector.keys.run(visit.job))
                replies = pipe.execute()
            yield from self._unhandled(
                trouble
                for visit, graph, opened in zip(page, replies[::2], replies[1::2], strict=True)
                if not opened
                for trouble in troubles_of(visit, graph)
            )

    def _unhandled(self, found: Iterable[Trouble]) -> Iterator[Trouble]:
        troubles = list(found)
        with self._client.pipeline(transaction=False) as pipe:
            for trouble in troubles:
                pipe.zscore(self._inspector.keys.handled, trouble.id)
            for trouble, handled in zip(troubles, pipe.execute(), strict=True):
                if handled is None:
                    yield trouble

    def node(self, trouble: Trouble) -> Node | None:
        """The node as the job's snapshot has it."""
        graph = self._client.hget(job_key(trouble.job or ""), "graph")
        document = _document(graph)
        if document is None:
            return None
        return next((node for node in document.nodes if node.id == trouble.node), None)


def _last_failed(visits: Sequence[Concluded]) -> Iterator[Concluded]:
    """Visits that failed and were their job's last, newest first."""
    seen = set()
    for visit in visits:
        if visit.job not in seen:
            seen.add(visit.job)
            if visit.verdict == "failed":
                yield visit


def troubles_of(visit: Concluded, graph: bytes | None) -> Iterator[Trouble]:
    """The failed nodes of a visit.

    Args:
        graph: The job's snapshot, ``None`` if it has expired.
    """
    at_ms = visit.ended_ms or 0
    if graph is None:
        if told := of_reason(visit.job, visit.entry, visit.reason, at_ms):
            yield told
        return
    document = _document(graph)
    if document is None:
        return
    for node in failed_nodes(document, make_plan(document)):
        error = error_of(node.raw.get("error")) or {}
        yield Trouble(
            f"{visit.entry}.{node.index}",
            "node",
            str(error.get("code", "unknown")),
            str(error.get("message", "")),
            at_ms,
            visit.entry,
            visit.job,
            node.id,
            node.service,
        )


def _document(graph: bytes | None) -> Document | None:
    """The graph, ``None`` if it is none: both planes write snapshots, and anybody can."""
    try:
        document = parse_graph(graph.decode()) if graph is not None else None
        if document is not None:
            make_plan(document)
    except (DocumentError, CycleError, FarmError, UnicodeDecodeError):
        return None
    return document
