"""Every Redis key and channel the farm touches, its lifetime and its reason, in one place.

Keys the control plane also reads (``job:<id>``, the streams, the Pub/Sub channels) keep the names of the wire
contract; everything else lives under the farm's namespace. A job id holds no colon (it is refused at the
door), so no two jobs' keys can collide.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one namespace (``farm`` by default)."""

    namespace: str = "farm"

    # One run; from admission until its conclusion, which deletes all three.

    def run(self, job: str) -> str:
        """Hash: the run's counters and, per node index i, ``s:i`` state, ``t:i`` token and the rest (admit.lua)."""
        return f"{self.namespace}:run:{job}"

    def payload(self, job: str) -> str:
        """Hash: per node index i, the JSON text of ``p:i`` params, ``i:i`` input, ``o:i`` output, ``e:i`` error."""
        return f"{self.namespace}:run:{job}:payload"

    def graph(self, job: str) -> str:
        """String: the graph as it was admitted; the stream entry may be trimmed by others."""
        return f"{self.namespace}:run:{job}:graph"

    # Indexes over all open runs; members leave with the node or run they name.

    @property
    def runs(self) -> str:
        """Hash: stream entry id → job id of every open run."""
        return f"{self.namespace}:runs"

    @property
    def outbox(self) -> str:
        """Sorted set: every ready, unclaimed node → when (Redis ms) to see that its message exists."""
        return f"{self.namespace}:outbox"

    @property
    def leases(self) -> str:
        """Sorted set: every running node → when (Redis ms) its lease runs out."""
        return f"{self.namespace}:leases"

    @property
    def over(self) -> str:
        """Sorted set: job id of every run that is over but not concluded → since when (Redis ms)."""
        return f"{self.namespace}:over"

    # Records of what has ended.

    def seen(self, job: str) -> str:
        """Set: fingerprints of the job's concluded entries; expires with ``job:<id>``. Unmasks doubled entries."""
        return f"{self.namespace}:seen:{job}"

    @property
    def dead(self) -> str:
        """Stream: entries that could not be understood, with the reason; capped at ``dead_letters_kept``."""
        return f"{self.namespace}:dead"

    @property
    def history(self) -> str:
        """Stream: one record per concluded run; capped at ``history_kept``."""
        return f"{self.namespace}:history"

    @property
    def counters(self) -> str:
        """Hash: totals over the farm's life that no process can count alone (redeliveries, fenced results, …)."""
        return f"{self.namespace}:counters"

    @property
    def broker(self) -> str:
        """Namespace of Dramatiq's own keys (queues, unacknowledged messages, heartbeats)."""
        return f"{self.namespace}:dramatiq"


def job(job_id: str) -> str:
    """Hash both planes read: ``graph`` (latest snapshot) and ``created``; expires after ``jobs.ttl``."""
    return f"job:{job_id}"


@dataclass(frozen=True, slots=True)
class NodeRef:
    """Which node of which run; its text form is what the outbox, the leases and messages carry."""

    entry: str
    index: int
    job: str

    def __str__(self) -> str:
        return f"{self.entry}|{self.index}|{self.job}"

    @classmethod
    def parse(cls, text: str) -> NodeRef:
        entry, index, job_id = text.split("|", 2)
        return cls(entry, int(index), job_id)

    def message_id(self, token: int) -> str:
        """The Dramatiq message id of the node's start number ``token``: the same whoever sends it."""
        return f"{self.entry}|{self.index}|{token}"
