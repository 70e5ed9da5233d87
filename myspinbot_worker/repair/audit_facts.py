"""Reads what an audit compares. Only ever reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import redis

from ..graph.document import Document
from ..graph.scanner import DocumentError
from ..graph.store import RunStore
from ..graph.transitions import Balance
from .audit import Facts, PendingEntry, RunFacts
from .scripts import Scripts, text

_PAGE = 500
_ENTRIES_A_CALL = 50
"""The script that reads entries has their documents in its hands."""
_RUNS_A_TRIP = 50
_PAYLOADS = ("params", "input", "retries")


def read_facts(client: redis.Redis, store: RunStore, grace_ms: int, most_open: int) -> Facts:
    """One look at everything that should match.

    The parts are read one after the other: on a farm at work something may have moved in between, so what does
    not match counts only when it is seen twice.

    Args:
        client: Must not decode responses.
        grace_ms: How long what passes by itself may take.
        most_open: How many runs may be open at one time.
    """
    reader = _Reader(client, store)
    balance = store.balance()
    index = reader.index()
    runs = {run.job: run for run in reader.runs(index.values())}
    seconds, microseconds = reader.client.time()
    return Facts(
        now_ms=seconds * 1000 + microseconds // 1000,
        grace_ms=grace_ms,
        balance=balance,
        index=index,
        runs=runs,
        pending=tuple(reader.pending(index)),
        leases=reader.scores(store.keys.leases),
        outbox=reader.scores(store.keys.outbox),
        over=reader.scores(store.keys.over),
        left=tuple(reader.left(balance)),
        full=len(index) >= most_open,
    )


class _Reader:
    def __init__(self, client: redis.Redis, store: RunStore) -> None:
        self.client: Any = client
        self._store = store
        self._run = Scripts(client)

    def index(self) -> dict[str, str]:
        found = self.client.hgetall(self._store.keys.runs)
        return {text(entry): text(job) for entry, job in found.items()}

    def scores(self, key: str) -> dict[str, float]:
        return {text(member): score for member, score in self.client.zrange(key, 0, -1, withscores=True)}

    def runs(self, indexed: Iterable[str]) -> Iterator[RunFacts]:
        """Runs that are in the index, and any other."""
        keys = self._store.keys
        prefix = keys.run("")
        jobs = set(indexed)
        for key in self.client.scan_iter(f"{prefix}*", count=_PAGE):
            job = text(key)[len(prefix) :]
            if ":" not in job:  # payloads and graphs
                jobs.add(job)
        wanted = sorted(jobs)
        for at in range(0, len(wanted), _RUNS_A_TRIP):
            page = wanted[at : at + _RUNS_A_TRIP]
            with self.client.pipeline(transaction=False) as pipe:
                for job in page:
                    pipe.hgetall(keys.run(job))
                    pipe.exists(keys.graph(job))
                    pipe.exists(keys.payload(job))
                replies = pipe.execute()
            for job, run, graph, payload in zip(
                page, replies[::3], replies[1::3], replies[2::3], strict=True
            ):
                if run:
                    yield self._facts(job, run, bool(graph), bool(payload))

    def _facts(self, job: str, run: dict[bytes, bytes], has_graph: bool, has_payload: bool) -> RunFacts:
        size = int(run.get(b"size", 0))
        return RunFacts(
            job=job,
            entry=text(run.get(b"entry", b"")),
            states="".join(text(run.get(b"s:%d" % i, b"?")) for i in range(size)),
            running=int(run.get(b"running", 0)),
            over=run.get(b"over") == b"1",
            halted=b"cancelled" in run or (run.get(b"failing") == b"1" and run.get(b"keep") == b"0"),
            has_graph=has_graph,
            lacks_payload=has_graph and not has_payload and self._wants_payload(job),
        )

    def _wants_payload(self, job: str) -> bool:
        """Whether the run of a graph has payloads to keep from its beginning."""
        graph = self.client.get(self._store.keys.graph(job))
        try:
            document = Document.parse(text(graph or b""))
        except (DocumentError, KeyError, TypeError):
            return False
        return any(node.plane == "python" and any(map(node.raw.get, _PAYLOADS)) for node in document.nodes)

    def pending(self, index: dict[str, str]) -> Iterator[PendingEntry]:
        """Entries that were read; those without a run with their job."""
        streams = self._store.streams
        start = b"-"
        while True:
            try:
                page = self.client.xpending_range(streams.data, streams.group, start, "+", _PAGE)
            except redis.ResponseError as error:
                if str(error).startswith("NOGROUP"):
                    return
                raise
            for item in page:
                entry = text(item["message_id"])
                job = index.get(entry) or self._job(entry)
                yield PendingEntry(entry, item["time_since_delivered"], item["times_delivered"], job)
            if len(page) < _PAGE:
                return
            start = b"(" + page[-1]["message_id"]

    def _job(self, entry: str) -> str | None:
        found = self._run("entries", [self._store.streams.data], entry, entry, 1)
        return text(found[0][1]) if found else None

    def left(self, balance: Balance) -> Iterator[tuple[str, str]]:
        """Entries that the group was given and is done with, and that are still there."""
        streams = self._store.streams
        length = self.client.xlen(streams.data) if self.client.exists(streams.data) else 0
        if length <= (balance.unread or 0) + (balance.pending or 0):
            return
        last = self._last_delivered()
        start = "-"
        while last and (page := self._run("entries", [streams.data], start, last, _ENTRIES_A_CALL)):
            for entry, job in page:
                if not self.client.xpending_range(streams.data, streams.group, entry, entry, 1):
                    yield text(entry), text(job)
            start = "(" + text(page[-1][0])

    def _last_delivered(self) -> str | None:
        streams = self._store.streams
        for group in self.client.xinfo_groups(streams.data):
            if text(group["name"]) == streams.group:
                return text(group["last-delivered-id"])
        return None
