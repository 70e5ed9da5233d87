"""The same measures on plain Dramatiq, which keeps no graph, no leases and no statuses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from .chains import LENGTH
from .figures import Figure
from .stage import Stage
from .stock_dramatiq import DONE, NAMESPACE

Send = Callable[[dramatiq.Message[object]], object]


def stock(stage: Stage) -> Iterator[Figure]:
    """Bare messages a second, milliseconds a hop, idle pick-up."""
    broker = RedisBroker(url=stage.server.url, namespace=NAMESPACE)  # type: ignore[no-untyped-call]
    try:
        yield from _throughput(stage, broker)
        hops = []
        for number in range(stage.effort.chains):
            stage.say(f"stock Dramatiq, chains of {LENGTH}: {number + 1} of {stage.effort.chains}")
            hops.append(_finish(stage, broker.enqueue, LENGTH) * 1000 / LENGTH)
        note = "an actor that sends the next message"
        yield Figure("stock", "hop", f"stock chain of {LENGTH}, one worker", "ms/node", tuple(hops), note)
        times = []
        for number in range(stage.effort.pickups):
            stage.say(f"stock Dramatiq, idle pick-up: {number + 1} of {stage.effort.pickups}")
            time.sleep(random.uniform(0.05, 0.15))
            times.append(_finish(stage, broker.enqueue, 1) * 1000)
        note = "from sending to the actor's push to a list"
        yield Figure("stock", "pickup", "stock idle pick-up, one worker", "ms", tuple(times), note)
    finally:
        broker.close()
        broker.client.close()


def _throughput(stage: Stage, broker: RedisBroker) -> Iterator[Figure]:
    count, key = stage.effort.messages, f"{NAMESPACE}:default"
    # Two first: what follows needs one.
    for processes in (2, 1):
        stage.stock(processes)
        _finish(stage, broker.enqueue, 1)
        rates = []
        for number in range(stage.effort.rounds):
            workers = f"{processes} worker process{'es' if processes > 1 else ''}"
            stage.say(f"stock Dramatiq, {workers}: round {number + 1} of {stage.effort.rounds}")
            messages = [_message("noop", ()) for _ in range(count)]
            with stage.client.pipeline(transaction=False) as pipe:
                # What the broker's own script does with a message, but in one go.
                for message in messages:
                    pipe.hset(f"{key}.msgs", message.options["redis_message_id"], message.encode().decode())
                    pipe.rpush(key, message.options["redis_message_id"])
                start = time.perf_counter()
                pipe.execute()
            stage.wait(lambda: stage.client.hlen(f"{key}.msgs") == 0, "all messages are acknowledged", 0.005)
            rates.append(count / (time.perf_counter() - start))
        note = f"{count} bare no-op messages sent at once, until the last is acknowledged; default prefetch"
        what = f"stock messages, {workers}"
        yield Figure("stock", f"messages_{processes}", what, "messages/s", tuple(rates), note)


def _finish(stage: Stage, send: Send, hops: int) -> float:
    """Send a chain of so many hops; seconds until its last one says so."""
    start = time.perf_counter()
    send(_message("hop", (hops,)))
    if stage.client.blpop([DONE], timeout=30) is None:
        raise stage.failure("stock Dramatiq's chain ends")
    return time.perf_counter() - start


def _message(actor: str, args: tuple[int, ...]) -> dramatiq.Message[object]:
    message: dramatiq.Message[object] = dramatiq.Message(
        queue_name="default", actor_name=actor, args=args, kwargs={}, options={}
    )
    return message.copy(options={"redis_message_id": message.message_id})
