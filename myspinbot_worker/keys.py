"""Every Redis key and channel the farm touches, its lifetime and its reason, in one place.

Keys the control plane also reads (``job:<id>``, the streams, the Pub/Sub channels) keep the names of the wire
contract; everything else lives under the farm's namespace. A job id holds no colon (it is refused at the
door), so no two jobs' keys can collide.
"""

from __future__ import annotations

from dataclasses import dataclass

QUEUES = ("gpu", "cpu")
"""One Dramatiq queue per kind of device."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one namespace (``farm`` by default)."""

    namespace: str = "farm"

    # One run; from admission until its conclusion, which deletes all three.

    def run(self, job: str) -> str:
        """Hash: the run's counters and, per node index i, ``s:i`` state, ``t:i`` token and the rest (admit.lua)."""
        return f"{self.namespace}:run:{job}"

    def payload(self, job: str) -> str:
        """Hash: per node index i, the JSON text of ``p:i`` params, ``i:i`` input, ``o:i`` output, ``e:i`` error,
        ``m:i`` whose result it has."""
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

    @property
    def cancels(self) -> str:
        """Sorted set: job id to cancel → when (Redis ms) it was asked for; 0 when another program adds it.

        ``ZADD farm:cancel 0 <jobId>`` cancels a job from anywhere. A job without an open run is cancelled at its next
        visit; a request that meets none within the lifetime of ``job:<id>`` is dropped.
        """
        return f"{self.namespace}:cancel"

    @property
    def litter(self) -> str:
        """Sorted set: folders in storage that attempts without a result may have left → when to look (Redis ms)."""
        return f"{self.namespace}:litter"

    @property
    def paused(self) -> str:
        """Set: queues from which no worker takes a message."""
        return f"{self.namespace}:paused"

    @property
    def offers(self) -> str:
        """Set: names of worker processes that made an offer; dead ones leave when somebody looks."""
        return f"{self.namespace}:offers"

    def offer(self, worker: str) -> str:
        """String: JSON of what one worker process can run, and what not; expires unless it is made again."""
        return f"{self.namespace}:offer:{worker}"

    def passed(self, queue: str) -> str:
        """Hash: the head of a queue that workers passed over, how often and since when; gone when nothing waits."""
        return f"{self.namespace}:passed:{queue}"

    @property
    def probe(self) -> str:
        """String: written to see whether Redis takes writes; gone after a millisecond."""
        return f"{self.namespace}:probe"

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
    def handled(self) -> str:
        """Sorted set: ids of dead letters and failed nodes an operator retried or dropped → when (Redis ms).

        Capped at as many as ``dead_letters_kept`` and ``history_kept`` together: it tells a second time from
        the first."""
        return f"{self.namespace}:handled"

    @property
    def memos(self) -> str:
        """Sorted set: digest of every result that may be used again → since when (Redis s).

        Capped at ``reuse_most`` members and ``reuse_seconds`` of age; gone that long after the last."""
        return f"{self.namespace}:reuse"

    def memo(self, digest: str) -> str:
        """String: one such result; expires after ``reuse_seconds``."""
        return f"{self.namespace}:reuse:{digest}"

    @property
    def counters(self) -> str:
        """Hash: totals over the farm's life that no process can count alone (redeliveries, fenced results, …)."""
        return f"{self.namespace}:counters"

    @property
    def node_times(self) -> str:
        """Hash: ComfyUI node class → decaying average of how long it took (s); never expires, at most 5,000 fields.

        Workers write it after a prompt; progress and remaining times of later prompts are weighted by it."""
        return f"{self.namespace}:comfy:times"

    @property
    def broker(self) -> str:
        """Namespace of Dramatiq's own keys (queues, unacknowledged messages, heartbeats)."""
        return f"{self.namespace}:dramatiq"

    # Of Dramatiq's own, those that the scripts touch too: they send and take messages in one step with a transition.

    def queue(self, name: str) -> str:
        """List: ids of the messages that wait."""
        return f"{self.broker}:{name}"

    def queued_messages(self, name: str) -> str:
        """Hash: message id → text, until it is acknowledged."""
        return f"{self.broker}:{name}.msgs"

    def unacknowledged(self, process: str, name: str) -> str:
        """Set: ids of the messages of a queue that a process has in hand."""
        return f"{self.broker}:__acks__.{process}.{name}"

    @property
    def heartbeats(self) -> str:
        """Sorted set: process → when it last took or acknowledged something (Redis ms)."""
        return f"{self.broker}:__heartbeats__"


def job(job_id: str) -> str:
    """Hash both planes read: ``graph`` (latest snapshot) and ``created``; expires after ``jobs.ttl``."""
    return f"job:{job_id}"


@dataclass(frozen=True)
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
