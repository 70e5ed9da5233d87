"""Plain Dramatiq actors to compare the farm with; ``dramatiq benchmarks.stock_dramatiq`` loads them."""

from __future__ import annotations

import os
import time

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

NAMESPACE = "stock"
QUEUE = "default"
DONE = "stock:done"
"""List to which the last actor of a chain, and a marking one, push when they began (monotonic s)."""

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
broker = RedisBroker(url=URL, namespace=NAMESPACE)  # type: ignore[no-untyped-call]
dramatiq.set_broker(broker)
_client = redis.Redis.from_url(URL)


@dramatiq.actor
def noop() -> None:
    """Nothing."""


@dramatiq.actor
def hop(left: int) -> None:
    """Send the next hop; the last one says when it began."""
    if left > 1:
        hop.send(left - 1)
    else:
        _client.rpush(DONE, repr(time.monotonic()))
