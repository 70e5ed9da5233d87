"""The Dramatiq broker of the farm: Dramatiq's own, with a consumer that waits instead of polling.

Four things differ from the stock Redis broker, each for a reason measured on it:

* A worker holds only as many messages as it can work on (:class:`Slots`), over all its queues together and
  whatever ``dramatiq_queue_prefetch`` says: a message waiting behind a ten-minute task while another GPU is
  idle is a defect.
* Its consumer blocks on Redis for a message and on a condition for a free slot; the stock one sleeps with a
  growing back-off in both places.
* Messages keep the id they are given, so that sending one twice is visible and harmless.
* A thread that has done with a message can take the next one in the same step (:mod:`.relay`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import dramatiq
import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis, dq_name
from dramatiq.errors import ConnectionClosed
from redis.backoff import ExponentialBackoff

from .graph.transitions import Claim, Refused
from .redis_clients import BLOCK_SECONDS, passes

log = logging.getLogger(__name__)

T = TypeVar("T")

MESSAGE_ID = "redis_message_id"
"""The message option under which Dramatiq's Redis broker files a message."""

_MESSAGES_A_TRIP = 500
_PAUSED_SECONDS = 0.5
"""Between two looks whether a queue is paused."""
_CLOCK_SECONDS = 60.0
"""Between two looks at Redis' clock."""
_BEATS_A_TIMEOUT = 4
"""Heartbeats within the time after which a silent process counts as dead."""
_RECONNECTING = ExponentialBackoff(cap=1.0, base=0.02)


class Slots:
    """How many messages this process may hold: in all, and of single queues.

    A held message is known by a key of its delivery, so a slot is freed once however often its message is
    acknowledged, and one message delivered twice takes two.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._total = 1
        self._by_queue: dict[str, int] = {}
        self._held: dict[Hashable, str] = {}
        self._reserved: list[str] = []
        self._waiting: list[str] = []

    def configure(self, total: int, by_queue: dict[str, int]) -> None:
        """Set the limits; a queue not named in ``by_queue`` is limited by ``total`` alone."""
        with self._changed:
            self._total, self._by_queue = total, dict(by_queue)
            self._changed.notify_all()

    def _free(self, queue: str) -> bool:
        busy = [*self._held.values(), *self._reserved]
        return len(busy) < self._total and busy.count(queue) < self._by_queue.get(queue, self._total)

    def reserve(self, queue: str, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a slot and reserve it."""
        with self._changed:
            self._waiting.append(queue)
            try:
                if not self._changed.wait_for(lambda: self._free(queue), timeout):
                    return False
            finally:
                self._waiting.remove(queue)
            self._reserved.append(queue)
            return True

    def may_pass_on(self, queue: str, done: Hashable) -> bool:
        """Whether a message's slot may go to the next of its queue: held, not to be given up, and nobody's turn."""
        with self._changed:
            if done not in self._held:
                return False
            busy = [*self._held.values(), *self._reserved]
            within = len(busy) <= self._total and busy.count(queue) <= self._by_queue.get(queue, self._total)
            return within and all(other == queue for other in self._waiting)

    def pass_on(self, done: Hashable, following: Hashable) -> None:
        """Hold a message in the slot of another, which was never free in between."""
        with self._changed:
            self._held[following] = self._held.pop(done)

    def fill(self, queue: str, delivery: Hashable | None) -> None:
        """Turn a reservation into a held message, or give it back with ``None``."""
        with self._changed:
            self._reserved.remove(queue)
            if delivery is not None:
                self._held[delivery] = queue
            else:
                self._changed.notify_all()

    def release(self, delivery: Hashable) -> None:
        with self._changed:
            if self._held.pop(delivery, None) is not None:
                self._changed.notify_all()


class Delivered(MessageProxy):
    """A message of the farm in a worker's hand.

    Attributes:
        answer: What came of claiming its node, if that was done as it was taken.
        acknowledged: Whether Redis knows that it is done with.
        followed: Whether its slot has passed on to another.
        ahead: Whether it waits for a lane, its node being claimed.
    """

    def __init__(self, message: dramatiq.Message[Any], answer: Claim | Refused | None = None) -> None:
        super().__init__(message)
        self.answer = answer
        self.acknowledged = False
        self.followed = False
        self.ahead = False


class FarmConsumer(Consumer):
    """Takes messages off one queue, one at a time, as slots allow."""

    def __init__(self, broker: FarmBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self.broker = broker
        self.queue = queue_name
        self.is_delay_queue = queue_name.endswith(".DQ")
        self._delayed = 0
        self._failures = 0
        self._stirred = True
        if self.is_delay_queue:
            # Dramatiq replaces a consumer that met an error, and forgets the delayed messages it held.
            broker.held[queue_name].clear()
        self._lost = True
        """Whether the reply to a fetch may be among what was lost."""
        if broker.take_claimed is None:
            with _connection_errors():
                broker.return_unheld(queue_name)

    def ack(self, message: MessageProxy) -> None:
        with _connection_errors(), self._released(message):
            if not (isinstance(message, Delivered) and message.acknowledged):
                self.broker.do_ack(self.queue, message.options[MESSAGE_ID])

    def nack(self, message: MessageProxy) -> None:
        with _connection_errors(), self._released(message):
            self.broker.do_nack(self.queue, message.options[MESSAGE_ID])

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        held = list(messages)
        if not held:
            return
        ids = [message.options[MESSAGE_ID] for message in held]
        with _connection_errors():
            for message in held:
                if isinstance(message, Delivered) and isinstance(message.answer, Claim):
                    self.broker.give_back(message.answer)
            self.broker.do_requeue(self.queue, *ids)
        for message in held:
            self._let_go(message)

    def __next__(self) -> MessageProxy | None:
        """The next message, ``None`` if none came; a Redis that is away is waited for.

        Dramatiq would build a new consumer after three seconds, and forget the delayed messages of this one.
        """
        try:
            self.broker.beat()
            if self._failures:
                self._lost = self._stirred = True
                if self.is_delay_queue or self.broker.take_claimed is None:
                    self.broker.return_unheld(self.queue)
            message = self._next_delayed() if self.is_delay_queue else self._next()
        except redis.RedisError as error:
            if not passes(error):
                raise
            self._failures += 1
            log.warning("queue %s: Redis: %s", self.queue, error)
            time.sleep(_RECONNECTING.compute(self._failures))
            return None
        self._failures = 0
        return message

    def _next(self) -> MessageProxy | None:
        if not self._stirred and not self._wait(BLOCK_SECONDS):
            return None
        self._stirred = True
        slots = self.broker.slots
        if self.broker.is_paused(self.queue):
            time.sleep(_PAUSED_SECONDS)
            return None
        if not slots.reserve(self.queue, BLOCK_SECONDS):
            return None
        message = None
        try:
            message = self._take()
        finally:
            slots.fill(self.queue, id(message) if message else None)
        if message is None:
            self._stirred = self._wait(BLOCK_SECONDS)
        return message

    def _next_delayed(self) -> MessageProxy | None:
        # Dramatiq looks at the delayed messages it holds each time this returns.
        patience = 0.2 if self._delayed else BLOCK_SECONDS
        if not self._stirred and not self._wait(patience):
            return None
        message = self._fetch()
        if message is not None:
            self._delayed += 1
        self._stirred = message is not None or self._wait(patience)
        return message

    def _take(self) -> MessageProxy | None:
        """A message, its node claimed with it if that can be; what was lost with a reply is given again."""
        if self.broker.take_claimed is None:
            return self._fetch()
        looked, message = self.broker.take_claimed(self.queue, self._lost)
        self._lost = False
        return message if looked or message is not None else self._fetch()

    def _fetch(self) -> MessageProxy | None:
        while True:
            with self.broker.taking:
                data = self.broker.do_fetch(self.queue, 1)
                if not data:
                    return None
                if data[0] is not None:
                    message = Delivered(dramatiq.Message.decode(data[0]))
                    self.broker.held[self.queue].add(message.options[MESSAGE_ID])
                    return message
            # The id was queued twice and its message is done; Dramatiq's fetch has noted it as ours.
            self.broker.return_unheld(self.queue)

    def _wait(self, seconds: float) -> bool:
        """Until the queue holds a message; whether it does. Moving its head onto its own head is a blocking look."""
        key = self.broker.queue_key(self.queue)
        client: Any = self.broker.client  # its annotation knows whole seconds only
        return client.blmove(key, key, seconds, "LEFT", "LEFT") is not None

    @contextmanager
    def _released(self, message: MessageProxy) -> Iterator[None]:
        try:
            yield
        finally:
            self._delayed = max(0, self._delayed - 1)
            self._let_go(message)

    def _let_go(self, message: MessageProxy) -> None:
        self.broker.held[self.queue].discard(message.options[MESSAGE_ID])
        self.broker.slots.release(id(message))


@contextmanager
def _connection_errors() -> Iterator[None]:
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]


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
