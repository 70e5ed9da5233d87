"""Redis as the control plane sees it: the two streams, the consumer group, ``job:<id>``.

What comes from there was written by others: it is read as bytes, and nothing is taken for granted. What the
farm says there (Pub/Sub, hand-backs) it says from the scripts of :mod:`.graph.store`, in one step with the
transition it tells of.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from .graph.transitions import StreamNames
from .keys import job as job_key

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the data stream; its fields are whatever somebody wrote."""

    id: str
    fields: Mapping[bytes, bytes]


class Bridge:
    """The farm's side of the wire.

    Args:
        client: Must not decode responses.
    """

    def __init__(self, client: redis.Redis, streams: StreamNames) -> None:
        # redis-py's annotations do not know which clients decode.
        self._client: Any = client
        self.streams = streams

    def ensure_group(self) -> bool:
        """Create the consumer group, at id 0 so that entries written before the farm started are not lost.

        Returns:
            Whether it was not there.
        """
        try:
            self._client.xgroup_create(self.streams.data, self.streams.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return False
        return True

    def read(self, consumer: str, count: int, block_seconds: float) -> list[Entry]:
        """New entries for this consumer, waiting for the first; they stay pending until a terminal act.

        Raises:
            redis.ResponseError: ``NOGROUP`` if the group is gone.
        """
        batches = self._client.xreadgroup(
            self.streams.group,
            consumer,
            {self.streams.data: ">"},
            count=count,
            block=round(block_seconds * 1000),
        )
        return [_entry(item) for _, entries in batches or [] for item in entries]

    def pending(self, idle_seconds: float) -> Iterator[list[str]]:
        """Pages of ids of entries that nobody has touched for a while."""
        start = b"-"
        while page := self._client.xpending_range(
            self.streams.data, self.streams.group, start, "+", _PAGE, idle=round(idle_seconds * 1000)
        ):
            yield [item["message_id"].decode() for item in page]
            start = b"(" + page[-1]["message_id"]

    def adopt(self, consumer: str, entries: list[str], idle_seconds: float) -> list[Entry]:
        """Make pending entries this consumer's; of several that try, one gets each."""
        claimed = self._client.xclaim(
            self.streams.data, self.streams.group, consumer, round(idle_seconds * 1000), entries
        )
        return [_entry(item) for item in claimed]

    def silent_consumers(self, seconds: float) -> list[str]:
        """Consumers that have nothing pending and have not read for ``seconds``."""
        return [
            item["name"].decode()
            for item in self._client.xinfo_consumers(self.streams.data, self.streams.group)
            if item["pending"] == 0 and item["idle"] > seconds * 1000
        ]

    def submit(self, job: str, graph: str) -> str:
        """Put a graph on the data stream, as the control plane does; the entry's id."""
        fields = {"jobId": job, "created": str(time.time_ns() // 1_000_000), "graph": graph}
        entry: bytes = self._client.xadd(self.streams.data, fields)
        return entry.decode()

    def snapshot(self, job: str) -> bytes | None:
        """The latest graph of a job, as either plane wrote it."""
        graph: bytes | None = self._client.hget(job_key(job), "graph")
        return graph


def _entry(item: tuple[bytes, Mapping[bytes, bytes] | None]) -> Entry:
    return Entry(item[0].decode(), item[1] or {})
