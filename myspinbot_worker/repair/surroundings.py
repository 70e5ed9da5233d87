"""Reads what is around a job: its entry's place on the stream, its nodes' leases and messages. Only ever reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import redis

from ..inspection import Inspector
from ..job_state import JobState
from ..keys import QUEUES as QUEUES
from ..keys import NodeRef
from .explain import MOST_NODES, Place, Surroundings
from .scripts import Scripts, text

_PAGE = 50
"""The script that reads entries has their documents in its hands."""
_MOST_AHEAD = 100_000


def look_around(
    client: redis.Redis, inspector: Inspector, job: JobState, *, ingestors: int, workers: int, most_open: int
) -> Surroundings:
    """What is around a job.

    Args:
        client: Must not decode responses.
        ingestors, workers: How many gave a sign of life lately.
        most_open: How many runs may be open at one time.
    """
    any_client: Any = client  # redis-py's annotations do not know which clients decode
    seconds, microseconds = any_client.time()
    now_ms = seconds * 1000 + microseconds // 1000
    if job.phase == "waiting" and job.entry is not None:
        around = _on_the_stream(any_client, inspector, job.entry, now_ms, ingestors, workers)
        return replace(around, full=any_client.hlen(inspector.keys.runs) >= most_open)
    over = any_client.zscore(inspector.keys.over, job.job)
    return Surroundings(
        now_ms,
        ingestors,
        workers,
        places=_places(any_client, inspector, job, now_ms),
        over_ms=None if over is None else now_ms - round(over),
        paused=frozenset(text(queue) for queue in any_client.smembers(inspector.keys.paused)),
    )


def _on_the_stream(
    client: Any, inspector: Inspector, entry: str, now_ms: int, ingestors: int, workers: int
) -> Surroundings:
    streams = inspector.streams
    last = "0-0"
    try:
        for group in client.xinfo_groups(streams.data):
            if text(group["name"]) == streams.group:
                last = text(group["last-delivered-id"])
        taken = client.xpending_range(streams.data, streams.group, entry, entry, 1)
    except redis.ResponseError:  # no stream, or no group yet
        taken = []
    if taken:
        return Surroundings(
            now_ms,
            ingestors,
            workers,
            read_ms=taken[0]["time_since_delivered"],
            reads=taken[0]["times_delivered"],
        )
    run, ahead = Scripts(client), 0
    start = f"({last}"
    while ahead < _MOST_AHEAD and (page := run("entries", [streams.data], start, f"({entry}", _PAGE)):
        ahead += len(page)
        start = "(" + text(page[-1][0])
    return Surroundings(now_ms, ingestors, workers, ahead=ahead)


def _places(client: Any, inspector: Inspector, job: JobState, now_ms: int) -> dict[int, Place]:
    """Of the nodes that are told of: the first ones that are running or ready."""
    keys = inspector.keys
    nodes = [
        node
        for state in ("running", "ready")
        for node in [node for node in job.nodes if node.state == state][:MOST_NODES]
    ]
    if job.run is None or not nodes:
        return {}
    tokens = client.hmget(keys.run(job.job), [f"t:{node.index}" for node in nodes])
    found = {}
    for node, token in zip(nodes, tokens, strict=True):
        ref = NodeRef(job.run.entry, node.index, job.job)
        message = ref.message_id(int(token or 0) + (node.state == "ready"))
        with client.pipeline(transaction=False) as pipe:
            pipe.zscore(keys.leases, str(ref))
            pipe.zscore(keys.outbox, str(ref))
            for name in QUEUES:
                pipe.hexists(f"{keys.broker}:{name}.msgs", message)
                pipe.lpos(f"{keys.broker}:{name}", message)
            lease, due, *queued = pipe.execute()
        there: list[tuple[str | None, int | None]] = [
            (name, place)
            for name, known, place in zip(QUEUES, queued[::2], queued[1::2], strict=True)
            if known
        ]
        queue, ahead = there[0] if there else (None, None)
        found[node.index] = Place(
            lease_ms=None if lease is None else round(lease) - now_ms,
            due_ms=None if due is None else round(due) - now_ms,
            queue=queue,
            ahead=ahead,
        )
    return found
