"""The Dramatiq broker of the farm: Dramatiq's own, with a consumer that waits instead of polling.

Three things differ from the stock Redis broker, each for a reason measured on it:

* A worker holds only as many messages as it can work on (:class:`Slots`), over all its queues together and
  whatever ``dramatiq_queue_prefetch`` says: a message waiting behind a ten-minute task while another GPU is
  idle is a defect.
* Its consumer blocks on Redis for a message and on a condition for a free slot; the stock one sleeps with a
  growing back-off in both places.
* Messages keep the id they are given, so that sending one twice is visible and harmless.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import dramatiq
import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis, dq_name
from dramatiq.errors import ConnectionClosed

from .redis_clients import BLOCK_SECONDS

T = TypeVar("T")

MESSAGE_ID = "redis_message_id"
"""The message option under which Dramatiq's Redis broker files a message."""

_MESSAGES_A_TRIP = 500


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
            if not self._changed.wait_for(lambda: self._free(queue), timeout):
                return False
            self._reserved.append(queue)
            return True

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


class FarmConsumer(Consumer):
    """Takes messages off one queue, one at a time, as slots allow."""

    def __init__(self, broker: FarmBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self.broker = broker
        self.queue = queue_name
        self.is_delay_queue = queue_name.endswith(".DQ")
        self._delayed = 0
        if self.is_delay_queue:
            # Dramatiq replaces a consumer whose connection broke, and forgets the delayed messages it held.
            broker.held[queue_name].clear()
        with _connection_errors():
            broker.return_unheld(queue_name)

    def ack(self, message: MessageProxy) -> None:
        with _connection_errors(), self._released(message):
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
            self.broker.do_requeue(self.queue, *ids)
        for message in held:
            self._let_go(message)

    def __next__(self) -> MessageProxy | None:
        with _connection_errors():
            return self._next_delayed() if self.is_delay_queue else self._next()

    def _next(self) -> MessageProxy | None:
        slots = self.broker.slots
        if not slots.reserve(self.queue, BLOCK_SECONDS):
            return None
        message = None
        try:
            message = self._fetch()
        finally:
            slots.fill(self.queue, id(message) if message else None)
        if message is None:
            self._wait(BLOCK_SECONDS)
        return message

    def _next_delayed(self) -> MessageProxy | None:
        message = self._fetch()
        if message is not None:
            self._delayed += 1
        else:
            # Dramatiq looks at the delayed messages it holds each time this returns.
            self._wait(0.2 if self._delayed else BLOCK_SECONDS)
        return message

    def _fetch(self) -> MessageProxy | None:
        while data := self.broker.do_fetch(self.queue, 1):
            if data[0] is not None:
                message = MessageProxy(dramatiq.Message.decode(data[0]))
                self.broker.held[self.queue].add(message.options[MESSAGE_ID])
                return message
            # The id was queued twice and its message is done; Dramatiq's fetch has noted it as ours.
            self.broker.return_unheld(self.queue)
        return None

    def _wait(self, seconds: float) -> None:
        """Until the queue holds a message: moving its head onto its own head is a blocking look."""
        key = self.broker.queue_key(self.queue)
        client: Any = self.broker.client  # its annotation knows whole seconds only
        client.blmove(key, key, seconds, "LEFT", "LEFT")

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
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        heartbeat_ms: int,
        middleware: Sequence[dramatiq.Middleware],
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
        self._thread = threading.local()
        script = self.scripts["dispatch"]
        self.scripts["dispatch"] = lambda keys, args: script(
            keys=keys, args=args, client=getattr(self._thread, "pipeline", None)
        )

    @property
    def consumer_class(self) -> type[FarmConsumer]:
        return FarmConsumer

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
        members: Any = self.client.smembers(acks)
        fetched = {member.decode() for member in members}
        lost = fetched - self.held[queue]
        if lost:
            self.do_requeue(queue, *sorted(lost))

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
