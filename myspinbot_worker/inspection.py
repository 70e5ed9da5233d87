"""What can be seen of jobs in Redis: open runs, ended visits, and the state of one job. Only ever reads.

A job leaves traces in several places: its open run, its entry on the data stream, the ``job:<id>`` snapshot
both planes write, the farm's history and its dead letters. :meth:`Inspector.job` puts them together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import redis

from .graph.document import Document
from .graph.transitions import StreamNames
from .job_state import Concluded, JobState, NodeState, RunSummary
from .keys import Keys
from .keys import job as job_key

_PAGE = 200
_MOST_RECORDS = 20_000
"""How far back the history is searched for a job."""
_MOST_ENTRIES = 200
"""How far back the data stream and the dead letters are searched: their records carry whole graphs."""

_TRIES = 5

_STATES = {"W": "waiting", "Q": "ready", "R": "running", "C": "completed", "F": "failed", "S": "skipped"}
_TERMINAL = frozenset({"completed", "failed", "skipped"})
_RUN_FIELDS = (
    "entry", "admitted", "started", "size", "progress", "running", "queued", "cancelled", "failing", "over"
)  # fmt: skip
_NODE_FIELDS = ("s", "t", "f", "a", "x", "k", "b")


@dataclass(frozen=True, slots=True)
class Inspector:
    """Reads jobs.

    Args:
        client: Must not decode responses: some of what is read others wrote.
    """

    client: redis.Redis
    keys: Keys
    streams: StreamNames

    # Lists.

    def open_runs(self, limit: int) -> tuple[list[RunSummary], int]:
        """The newest open runs, newest first, and how many there are in all."""
        entries = {_text(entry): _text(job) for entry, job in self.client.hgetall(self.keys.runs).items()}
        newest = sorted(entries, key=_entry_order, reverse=True)[:limit]
        with self.client.pipeline(transaction=False) as pipe:
            for entry in newest:
                pipe.hmget(self.keys.run(entries[entry]), _RUN_FIELDS)
            heads = [dict(zip(_RUN_FIELDS, values, strict=True)) for values in pipe.execute()]
        # A run that was concluded meanwhile, or whose job has another by now, is left out.
        still = [
            (entries[entry], head)
            for entry, head in zip(newest, heads, strict=True)
            if head["entry"] is not None and _text(head["entry"]) == entry
        ]
        with self.client.pipeline(transaction=False) as pipe:
            for job, head in still:
                pipe.hmget(self.keys.run(job), [f"s:{index}" for index in range(int(head["size"]))])
            states = pipe.execute()
        return [_summary(job, head, found) for (job, head), found in zip(still, states, strict=True)], len(
            entries
        )

    def concluded(self, limit: int) -> list[Concluded]:
        """The visits that ended last, newest first."""
        return [
            _concluded(record, fields)
            for record, fields in self._newest(self.keys.history, page=limit, most=limit)
        ]

    # One job.

    def job(self, job: str, entry: str | None = None) -> JobState:
        """The state of a job.

        Args:
            entry: Ask about the visit of this stream entry only; default: about the present or last one.
        """
        snapshot = self._snapshot(job)
        opened = self.open_run(job)
        if opened is not None and entry in (None, opened[0].entry):
            run, nodes = opened
            return replace(
                snapshot, phase="open", entry=run.entry, run=run, nodes=nodes, progress=run.progress
            )
        waiting = self.waiting_entry(job) if entry is None else entry if self._is_waiting(entry) else None
        if waiting is not None:
            return replace(snapshot, phase="waiting", entry=waiting)
        # Last, because a visit may have ended while the rest was read.
        last = self._ended(job, entry)
        if last is not None:
            return replace(snapshot, phase="ended", entry=last.entry, last=last)
        return snapshot

    def open_run(self, job: str) -> tuple[RunSummary, tuple[NodeState, ...]] | None:
        """A job's open run and its nodes, ``None`` if there is none."""
        # The run may be concluded, and the job's next one be admitted, between the two questions.
        for _ in range(_TRIES):
            size = self.client.hget(self.keys.run(job), "size")
            if size is None:
                return None
            names = [f"{letter}:{index}" for index in range(int(size)) for letter in _NODE_FIELDS]
            with self.client.pipeline(transaction=True) as pipe:
                pipe.hmget(self.keys.run(job), _RUN_FIELDS)
                pipe.hmget(self.keys.run(job), names)
                pipe.get(self.keys.graph(job))
                values, fields, graph = pipe.execute()
            head = dict(zip(_RUN_FIELDS, values, strict=True))
            if head["size"] == size and graph is not None:
                break
        else:
            return None
        run = dict(zip(names, fields, strict=True))
        document = _document(_text(graph))
        failed = [
            index
            for index in range(int(size))
            if run[f"a:{index}"] is not None or _state(run[f"s:{index}"]) == "failed"
        ]
        errors: dict[int, bytes | None] = {}
        if failed:
            texts: Any = self.client.hmget(self.keys.payload(job), [f"e:{index}" for index in failed])
            errors = dict(zip(failed, texts, strict=True))
        summary = _summary(job, head, [run[f"s:{index}"] for index in range(int(size))])
        return summary, tuple(_live_node(node.index, document, run, errors) for node in document.nodes)

    def _snapshot(self, job: str) -> JobState:
        """What ``job:<id>`` and the keys beside it say."""
        key = job_key(job)
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hmget(key, ["graph", "created"])
            pipe.get(f"{key}:status")
            pipe.get(f"{key}:progress")
            (graph, created), status, progress = pipe.execute()
        known = any(value is not None for value in (graph, created, status, progress))
        return JobState(
            job=job,
            phase="elsewhere" if known else "unknown",
            nodes=tuple(nodes_of_graph(_text(graph))) if graph is not None else (),
            status=None if status is None else _text(status),
            progress=_number(progress),
            created_ms=_whole(created),
        )

    def _is_waiting(self, entry: str) -> bool:
        return bool(self.client.xrange(self.streams.data, entry, entry, count=1))

    def waiting_entry(self, job: str) -> str | None:
        """The newest entry of a job on the data stream that was not dealt with."""
        for entry, fields in self._newest(self.streams.data, page=20, most=_MOST_ENTRIES):
            if _text(fields.get(b"jobId", b"")) == job and self._is_untaken(entry):
                return _text(entry)
        return None

    def _is_untaken(self, entry: bytes) -> bool:
        """Whether the group has yet to deal with an entry: others may leave what was acknowledged."""
        group = self.streams.group.encode()
        try:
            groups = {item["name"]: item for item in self.client.xinfo_groups(self.streams.data)}
        except redis.ResponseError:
            return True
        # Replies that are not decoded have their names as bytes or text, depending on the client's version.
        known = {_as_bytes(name): item for name, item in groups.items()}
        if group not in known:
            return True
        delivered = _text(known[group]["last-delivered-id"])
        if _entry_order(_text(entry)) > _entry_order(delivered):
            return True
        return bool(self.client.xpending_range(self.streams.data, self.streams.group, entry, entry, 1))

    def _ended(self, job: str, entry: str | None) -> Concluded | None:
        found = self._from_history(job, entry)
        if found is None or entry is None:
            rejected = self._from_dead_letters(job, entry)
            if rejected is not None and (found is None or (rejected.ended_ms or 0) > (found.ended_ms or 0)):
                return rejected
        return found

    def _from_history(self, job: str, entry: str | None) -> Concluded | None:
        for record, fields in self._newest(self.keys.history, page=_PAGE, most=_MOST_RECORDS):
            if _text(fields.get(b"job", b"")) == job:
                found = _concluded(record, fields)
                if entry in (None, found.entry):
                    return found
            if entry is not None and _entry_order(_text(record)) < _entry_order(entry):
                break  # Ended before the entry was written.
        return None

    def _from_dead_letters(self, job: str, entry: str | None) -> Concluded | None:
        for record, fields in self._newest(self.keys.dead, page=20, most=_MOST_ENTRIES):
            if _text(fields.get(b"jobId", b"")) != job:
                continue
            rejected = Concluded(
                job=job,
                entry=_text(fields.get(b"entry", b"")),
                verdict="rejected",
                reason=_text(fields.get(b"reason", b"")),
                ended_ms=_milliseconds(record),
            )
            if entry in (None, rejected.entry):
                return rejected
        return None

    def _newest(self, stream: str, page: int, most: int) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
        """Records of a stream, newest first."""
        end = "+"
        for _ in range(0, most, page):
            records: Any = self.client.xrevrange(stream, max=end, count=page)
            yield from ((record, fields or {}) for record, fields in records)
            if len(records) < page:
                return
            end = "(" + _text(records[-1][0])


def nodes_of_graph(text: str) -> Iterator[NodeState]:
    """The nodes of a graph's JSON text, as its own fields tell; anything else than a graph has none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    nodes = value.get("nodes") if isinstance(value, dict) else None
    for index, node in enumerate(nodes if isinstance(nodes, list) else ()):
        if not isinstance(node, dict):
            continue
        status = str(node.get("status", "pending"))
        retries = node.get("retries")
        attempt = retries.get("attempt", 0) if isinstance(retries, dict) else 0
        error = node.get("error") if isinstance(node.get("error"), dict) else None
        yield NodeState(
            index=index,
            id=str(node.get("id", "")),
            service=str(node.get("service", "")),
            state="waiting" if status == "pending" else status,
            ours=node.get("plane") == "python",
            fraction=1.0 if status in _TERMINAL else 0.0,
            attempts=attempt if isinstance(attempt, int) else 0,
            worker=_worker_of(error),
            error=error,
        )


@lru_cache(maxsize=4)
def _document(text: str) -> Document:
    # A watcher looks at the same graph several times a second.
    return Document.parse(text)


def _summary(job: str, head: Mapping[str, Any], states: Sequence[bytes | None]) -> RunSummary:
    return RunSummary(
        job=job,
        entry=_text(head["entry"]),
        admitted_ms=_whole(head["admitted"]) or 0,
        started_ms=_whole(head["started"]),
        nodes=int(head["size"]),
        done=sum(_state(state) in _TERMINAL for state in states),
        running=_whole(head["running"]) or 0,
        ready=_whole(head["queued"]) or 0,
        progress=_number(head["progress"]) or 0.0,
        cancelled=head["cancelled"] is not None,
        failing=head["failing"] == b"1",
        over=head["over"] == b"1",
    )


def _live_node(
    index: int, document: Document, run: Mapping[str, bytes | None], errors: Mapping[int, bytes | None]
) -> NodeState:
    node = document.nodes[index]
    state = _state(run[f"s:{index}"])
    text = errors.get(index)
    error = error_of(_text(text) if text is not None else node.raw.get("error"))
    holder = run[f"k:{index}"]
    return NodeState(
        index=index,
        id=node.id,
        service=node.service,
        state=state,
        ours=node.plane == "python",
        fraction=1.0 if state in _TERMINAL else _number(run[f"f:{index}"]) or 0.0,
        attempts=node.attempt + (_whole(run[f"t:{index}"]) or 0),
        lost=_whole(run[f"x:{index}"]) or 0,
        worker=_text(holder) if holder is not None else _worker_of(error),
        started_ms=_whole(run[f"b:{index}"]),
        # A completed node's earlier failures are no longer of interest, as in the graph itself.
        error=None if state == "completed" else error,
    )


def _concluded(record: bytes, fields: Mapping[bytes, bytes]) -> Concluded:
    return Concluded(
        job=_text(fields.get(b"job", b"")),
        entry=_text(fields.get(b"entry", b"")),
        verdict=_text(fields.get(b"verdict", b"")),
        reason=_text(fields.get(b"reason", b"")),
        admitted_ms=_whole(fields.get(b"admitted")),
        ended_ms=_milliseconds(record),
        nodes=_whole(fields.get(b"nodes")) or 0,
    )


def _worker_of(error: Mapping[str, Any] | None) -> str | None:
    details = (error or {}).get("details")
    worker = details.get("worker") if isinstance(details, dict) else None
    return worker if isinstance(worker, str) else None


def error_of(text: str | None) -> dict[str, Any] | None:
    """A node's error, ``None`` if there is none or it is no object."""
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _state(letter: bytes | None) -> str:
    return _STATES.get(_text(letter), "waiting") if letter is not None else "waiting"


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _as_bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _number(value: bytes | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _whole(value: bytes | None) -> int | None:
    number = _number(value)
    return None if number is None or number != number or abs(number) == float("inf") else int(number)


def _milliseconds(record: bytes | str) -> int:
    return int(_text(record).partition("-")[0])


def _entry_order(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    try:
        return int(milliseconds), int(sequence or 0)
    except ValueError:
        return 0, 0
