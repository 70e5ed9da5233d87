"""The same measures on plain Dramatiq and plain Celery, which keep no graph, no leases and no statuses."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from . import stock_dramatiq
from .chains import LENGTH
from .figures import Figure
from .idling import commands_a_second
from .stage import BenchmarkError, Stage


class Rival(Protocol):
    """Bare messages through somebody else's workers."""

    name: str
    title: str
    done: str
    """List to which the last task of a chain pushes when it began."""

    def start(self, processes: int) -> None: ...

    def burst(self, count: int) -> float:
        """Messages sent at once; seconds from the first to the last one's end."""
        ...

    def chain(self, length: int) -> None:
        """Send a chain whose last task marks."""
        ...


def stock(stage: Stage) -> Iterator[Figure]:
    """Bare messages a second, milliseconds a hop, idle pick-up and idling of plain Dramatiq."""
    with _stock(stage) as rival:
        yield from _measure(stage, rival)


def celery(stage: Stage) -> Iterator[Figure]:
    """The same of plain Celery."""
    yield from _measure(stage, _celery(stage))


def _measure(stage: Stage, rival: Rival) -> Iterator[Figure]:
    effort, name, title = stage.effort, rival.name, rival.title
    # Two first: what follows needs one.
    for processes in (2, 1):
        rival.start(processes)
        _finish(stage, rival, 1)
        workers = f"{processes} worker process{'es' if processes > 1 else ''}"
        rates = []
        for number in range(effort.rounds):
            stage.say(f"{title}, {workers}: round {number + 1} of {effort.rounds}")
            rates.append(effort.messages / rival.burst(effort.messages))
        note = (
            f"{effort.messages} bare no-op messages sent at once, until the last has ended; default prefetch"
        )
        yield Figure(name, f"messages_{processes}", f"{title}, {workers}", "messages/s", tuple(rates), note)
    hops = []
    for number in range(effort.chains):
        stage.say(f"{title}, chains of {LENGTH}: {number + 1} of {effort.chains}")
        hops.append(_finish(stage, rival, LENGTH) * 1000 / LENGTH)
    yield Figure(name, "hop", f"{title}, chain of {LENGTH}, one worker", "ms/node", tuple(hops))
    times = []
    for number in range(effort.pickups):
        stage.say(f"{title}, idle pick-up: {number + 1} of {effort.pickups}")
        time.sleep(random.uniform(0.05, 0.15))
        times.append(_finish(stage, rival, 1) * 1000)
    note = "from sending to the task's first line"
    yield Figure(name, "pickup", f"{title}, idle pick-up, one worker", "ms", tuple(times), note)
    rate, often = commands_a_second(stage)
    yield Figure(name, "idle", f"{title}, one idle worker", "commands/s", (rate,), often)


def _finish(stage: Stage, rival: Rival, length: int) -> float:
    """Send a chain; seconds until its last task's first line."""
    start = time.monotonic()
    rival.chain(length)
    came: Any = stage.client.blpop([rival.done], timeout=30)
    if came is None:
        raise stage.failure(f"a chain of {rival.title} ends")
    return float(came[1]) - start


class _Dramatiq:
    name, title, done = "stock", "stock Dramatiq", stock_dramatiq.DONE

    def __init__(self, stage: Stage, broker: RedisBroker) -> None:
        self._stage = stage
        self._broker = broker

    def start(self, processes: int) -> None:
        self._stage.stock(processes)

    def burst(self, count: int) -> float:
        key, client = f"{stock_dramatiq.NAMESPACE}:{stock_dramatiq.QUEUE}", self._stage.client
        with client.pipeline(transaction=False) as pipe:
            # What the broker's own script does with a message, but in one go.
            for message in [_message("noop", ()) for _ in range(count)]:
                pipe.hset(f"{key}.msgs", message.options["redis_message_id"], message.encode().decode())
                pipe.rpush(key, message.options["redis_message_id"])
            start = time.perf_counter()
            pipe.execute()
        self._stage.wait(lambda: client.hlen(f"{key}.msgs") == 0, "all messages are acknowledged", 0.005)
        return time.perf_counter() - start

    def chain(self, length: int) -> None:
        self._broker.enqueue(_message("hop", (length,)))


@contextmanager
def _stock(stage: Stage) -> Iterator[Rival]:
    broker = RedisBroker(url=stage.server.url, namespace=stock_dramatiq.NAMESPACE)  # type: ignore[no-untyped-call]
    try:
        yield _Dramatiq(stage, broker)
    finally:
        broker.close()
        broker.client.close()


def _message(actor: str, args: tuple[int, ...]) -> dramatiq.Message[object]:
    message: dramatiq.Message[object] = dramatiq.Message(
        queue_name=stock_dramatiq.QUEUE, actor_name=actor, args=args, kwargs={}, options={}
    )
    return message.copy(options={"redis_message_id": message.message_id})


class _Celery:
    name, title = "celery", "Celery"

    def __init__(self, stage: Stage, app: Any) -> None:
        self._stage = stage
        self._app = app
        self.done: str = app.DONE

    def start(self, processes: int) -> None:
        self._stage.celery(processes)

    def burst(self, count: int) -> float:
        client, key = self._stage.client, "celery:count"
        client.delete(key)
        # Sending takes Celery longer than working: what is sent waits until all of it is there.
        held = "celery-held"
        noop, tell = self._app.noop, self._app.count
        with self._app.app.producer_or_acquire() as producer:
            for _ in range(count - 1):
                noop.apply_async(queue=held, producer=producer)
            tell.apply_async((key,), queue=held, producer=producer)
        start = time.perf_counter()
        client.rename(held, self._app.QUEUE)
        self._stage.wait(lambda: client.get(key) is not None, "all of Celery's tasks have run", 0.005)
        return time.perf_counter() - start

    def chain(self, length: int) -> None:
        from celery import chain

        steps = [self._app.noop.si() for _ in range(length - 1)]
        chain(*steps, self._app.mark.si()).apply_async()


def _celery(stage: Stage) -> Rival:
    try:
        from . import celery_app
    except ImportError as missing:
        raise BenchmarkError(f"Celery is not installed ({missing}); it is part of the dev extra") from None
    celery_app.app.conf.broker_url = stage.server.url
    return _Celery(stage, celery_app)
