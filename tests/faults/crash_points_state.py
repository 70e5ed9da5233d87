"""All that a Redis database holds, as text in which two plays that came to the same point do not differ."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

import redis

_RANDOM = re.compile(r"\b[0-9a-f]{32}\b")
_TIME = re.compile(r"\b1\d{12}\b(?!-)")
_WORKER = re.compile(re.escape(os.uname().nodename) + r":\d+")


def state_of(client: redis.Redis, entries: Iterable[str]) -> str:
    """Every key's content, without the times, random names and process ids in it.

    Times are left out because a play's first shift takes no time; those that were let pass are all 0.

    Args:
        entries: Ids of the data stream's entries in their order; they stand in many keys.
    """
    untyped: Any = client
    keys = sorted(untyped.keys())
    with untyped.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        kinds = pipe.execute()
        for key, kind in zip(keys, kinds, strict=True):
            _ask(pipe, key, kind)
        found = pipe.execute()
    if "process:data" in keys:
        groups = untyped.xinfo_groups("process:data")
        found += [(group["name"], group["last-delivered-id"]) for group in groups]
        if groups:
            pending = untyped.xpending_range("process:data", "workers", "-", "+", 1000)
            found += [(item["message_id"], item["consumer"]) for item in pending]
    text = repr([*zip(keys, map(_plain, kinds, found[: len(keys)]), strict=True), *found[len(keys) :]])
    for number, entry in enumerate(entries):
        text = text.replace(entry, f"entry-{number}")
    return _WORKER.sub("worker", _TIME.sub("time", _RANDOM.sub("random", text)))


def _ask(pipe: Any, key: str, kind: str) -> None:
    match kind:
        case "hash":
            pipe.hgetall(key)
        case "list":
            pipe.lrange(key, 0, -1)
        case "set":
            pipe.smembers(key)
        case "zset":
            pipe.zrange(key, 0, -1, withscores=True)
        case "stream":
            pipe.xrange(key)
        case _:
            pipe.get(key)


def _plain(kind: str, value: Any) -> Any:
    if kind == "hash":
        return sorted(value.items())
    if kind == "set":
        return sorted(value)
    if kind == "zset":
        # Members that were put in at one time may come in any order.
        return sorted((member, score and "later") for member, score in value)
    return [fields for _, fields in value] if kind == "stream" else value
