"""The Dramatiq broker of the farm: Dramatiq's own, with a consumer that waits instead of polling.

Four things differ from the stock Redis broker, each for a reason measured on it:

* A worker holds only as many messages as it can work on (:class:`.slots.Slots`), over all its queues together and
  whatever ``dramatiq_queue_prefetch`` says: a message waiting behind a ten-minute task while another GPU is
  idle is a defect.
* Its consumer blocks on Redis for a message and on a condition for a free slot; the stock one sleeps with a
  growing back-off in both places.
* Messages keep the id they are given, so that sending one twice is visible and harmless.
* A thread that has done with a message can take the next one in the same step (:mod:`.relay`).
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis, dq_name

from .consumer import MESSAGE_ID, Delivered, FarmConsumer
from .graph.transitions import Claim
from .slots import Slots

if TYPE_CHECKING:
    from .running import Running

T = TypeVar("T")

_MESSAGES_A_TRIP = 500
_PAUSED_SECONDS = 0.5
"""Between two looks whether a queue is paused."""
_CLOCK_SECONDS = 60.0
"""Between two looks at Redis' clock."""
_BEATS_A_TIMEOUT = 4
"""Heartbeats within the time after which a silent process counts as dead."""


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


class FarmBroker(RedisBroker):
    """See the module.

    Args:
        client: Must not decode responses, nor send a command again whose reply was lost: a fetch done twice
            would take two messages and see one.
        namespace: Prefix of Dramatiq's keys.
        heartbeat_ms: After how long without a command a process' unacknowledged messages are taken back.
        paused_key: Set of the queues from which nothing is taken; empty: there is none.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        heartbeat_ms: int,
        middleware: Sequence[dramatiq.Middleware],
        paused_key: str = "",
    ) -> None:
        # Maintenance is the reconciler's (see maintain): by chance, as Dramatiq does it, it may come an hour late.
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            namespace=namespace,
            heartbeat_timeout=heartbeat_ms,
            maintenance_chance=0,
            middleware=list(middleware),
        )
        self.slots = Slots()
        self.held: defaultdict[str, set[str]] = defaultdict(set)
        """Per queue, ids of the messages this process has in hand."""
        self.taking = threading.RLock()
        """Held from a message's leaving its queue until it is in hand: what is in neither was lost with a reply."""
        self.give_back: Callable[[Claim], object] = lambda claim: None
        """Told of a node that was claimed with its message, which nobody will work on here."""
        self.abandon: Callable[[Running], object] = lambda running: None
        """Ends an attempt that was begun, which nobody will watch over."""
        self.take_claimed: Callable[[str, bool], tuple[bool, Delivered | None]] | None = None
        """See :meth:`.relay.Relay.first`; without one, messages come without a claim."""
        self._relaying = 0
        self._beat_at = float("-inf")
        self._paused_key = paused_key
        self._paused: frozenset[str] = frozenset()
        self._paused_at = self._clock_at = float("-inf")
        self._clock_ahead_ms = 0
        self._thread = threading.local()
        self._dispatch_script = self.scripts["dispatch"]
        self.scripts["dispatch"] = self._dispatch_by_redis_time

    @property
    def consumer_class(self) -> type[FarmConsumer]:
        return FarmConsumer

    def _dispatch_by_redis_time(self, keys: list[str], args: list[Any]) -> Any:
        """Dramatiq's script, but heartbeats carry Redis' time: hosts' clocks may be minutes apart."""
        self._set_clock()
        command, timestamp, *rest = args
        return self._dispatch_script(
            keys=keys,
            args=[command, timestamp + self._clock_ahead_ms, *rest],
            client=getattr(self._thread, "pipeline", None),
        )

    def _set_clock(self) -> None:
        now = time.monotonic()
        if now - self._clock_at >= _CLOCK_SECONDS:
            answer: Any = self.client.time()
            seconds, microseconds = answer
            self._clock_ahead_ms = seconds * 1000 + microseconds // 1000 - current_millis()
            self._clock_at = now

    def beat(self) -> None:
        """Tell that this process lives, often enough whether or not it takes messages."""
        now = time.monotonic()
        if now - self._beat_at >= self.heartbeat_timeout / 1000 / _BEATS_A_TIMEOUT:
            self._set_clock()
            self.client.zadd(
                f"{self.namespace}:__heartbeats__", {self.broker_id: current_millis() + self._clock_ahead_ms}
            )
            self._beat_at = now

    @contextmanager
    def relaying(self) -> Iterator[None]:
        """While the reply to a taking may be lost and asked for again: what it took is not given up meanwhile."""
        with self.taking:
            self._relaying += 1
        try:
            yield
        finally:
            with self.taking:
                self._relaying -= 1

    def is_paused(self, queue: str) -> bool:
        """Whether nothing is to be taken from a queue, as of less than a second ago."""
        now = time.monotonic()
        if self._paused_key and now - self._paused_at >= _PAUSED_SECONDS:
            members: Any = self.client.smembers(self._paused_key)
            self._paused = frozenset(member.decode() for member in members)
            self._paused_at = now
        return queue in self._paused

    def queue_key(self, queue: str) -> str:
        return f"{self.namespace}:{queue}"

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Queue a message under the id in its options (a new one if it has none).

        Args:
            delay: Milliseconds before it may be taken.
        """
        queue = message.queue_name
        options = {MESSAGE_ID: message.options.get(MESSAGE_ID) or message.message_id}
        if delay is not None:
            queue = dq_name(queue)
            options["eta"] = current_millis() + delay
        message = message.copy(queue_name=queue, options=options)
        self.emit_before("enqueue", message, delay)
        self.do_enqueue(queue, options[MESSAGE_ID], message.encode())
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_first(self, messages: Iterable[dramatiq.Message[Any]]) -> None:
        """Put messages at the head of their queues: what they are for has waited its turn before."""
        with self.client.pipeline(transaction=True) as pipe:
            for message in messages:
                self.emit_before("enqueue", message, None)
                key, message_id = self.queue_key(message.queue_name), message.options[MESSAGE_ID]
                pipe.hset(f"{key}.msgs", message_id, message.encode())
                pipe.lpush(key, message_id)
                self.emit_after("enqueue", message, None)
            pipe.execute()

    def enqueue_all(self, messages: Iterable[dramatiq.Message[Any]]) -> None:
        """Queue many messages in few round trips."""
        for batch in _batches(messages, _MESSAGES_A_TRIP):
            if len(batch) == 1:
                self.enqueue(batch[0])  # a pipeline asks once more whether the server knows its scripts
                continue
            with self.client.pipeline(transaction=False) as pipe:
                self._thread.pipeline = pipe
                try:
                    for message in batch:
                        self.enqueue(message)
                finally:
                    self._thread.pipeline = None
                pipe.execute()

    def missing(self, messages: Sequence[tuple[str, str]]) -> list[bool]:
        """For each (queue, message id), whether no such message is queued or being worked on."""
        with self.client.pipeline(transaction=False) as pipe:
            for queue, message_id in messages:
                pipe.hexists(f"{self.queue_key(queue)}.msgs", message_id)
            return [not found for found in pipe.execute()]

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue."""
        return int(self.client.llen(self.queue_key(queue)))

    def return_unheld(self, queue: str) -> None:
        """Give up what counts as this process' and is not in hand; Dramatiq queues again what is not done.

        The reply to a fetch was lost, or an id was queued twice and its message is done.
        """
        acks = f"{self.namespace}:__acks__.{self.broker_id}.{queue}"
        with self.taking:
            if self._relaying:
                return
            members: Any = self.client.smembers(acks)
            fetched = {member.decode() for member in members}
            lost = fetched - self.held[queue]
            if lost:
                self.do_requeue(queue, *sorted(lost))

    def silent_processes(self) -> bool:
        """Whether there is a process that may have left something unacknowledged."""
        self._set_clock()
        latest = current_millis() + self._clock_ahead_ms - self.heartbeat_timeout
        return bool(self.client.zrangebyscore(f"{self.namespace}:__heartbeats__", 0, latest, 0, 1))

    def maintain(self, queue: str) -> None:
        """Take back what dead processes left unacknowledged."""
        for name in (queue, dq_name(queue)):
            self._thread.maintaining = True
            try:
                self.do_fetch(name, 0)
            finally:
                self._thread.maintaining = False

    def _should_do_maintenance(self, command: str) -> int:
        return int(getattr(self._thread, "maintaining", False))
