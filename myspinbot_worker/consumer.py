"""The consumer of the farm's broker: waits on Redis for a message and on its slots for room, and never polls."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dramatiq
import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import ConnectionClosed
from redis.backoff import ExponentialBackoff

from .graph.transitions import Claim, Refused
from .redis_clients import BLOCK_SECONDS, passes

if TYPE_CHECKING:
    from .broker import FarmBroker
    from .running import Running

log = logging.getLogger(__name__)

MESSAGE_ID = "redis_message_id"
"""The message option under which Dramatiq's Redis broker files a message."""

_PAUSED_SECONDS = 0.5
"""Between two looks at a queue that is paused."""
_RECONNECTING = ExponentialBackoff(cap=1.0, base=0.02)


class Delivered(MessageProxy):
    """A message of the farm in a worker's hand.

    Attributes:
        answer: What came of claiming its node, if that was done as it was taken.
        acknowledged: Whether Redis knows that it is done with.
        followed: Whether its slot has passed on to another.
        ahead: Whether it waits for a lane, its node being claimed.
        running: Its node's attempt, once that was begun.
    """

    def __init__(self, message: dramatiq.Message[Any], answer: Claim | Refused | None = None) -> None:
        super().__init__(message)
        self.answer = answer
        self.acknowledged = False
        self.followed = False
        self.ahead = False
        self.running: Running | None = None


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
                if not isinstance(message, Delivered):
                    continue
                if message.running is not None:
                    self.broker.abandon(message.running)
                    message.running = None
                if isinstance(message.answer, Claim):
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
