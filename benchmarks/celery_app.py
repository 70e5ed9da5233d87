"""Plain Celery tasks to compare the farm with; ``celery -A benchmarks.celery_app worker`` loads them."""

from __future__ import annotations

import os
import time

import redis
from celery import Celery

QUEUE = "celery"
DONE = "celery:done"
"""List to which a marking task pushes when it began (monotonic s)."""

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery("benchmarks", broker=URL)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
_client = redis.Redis.from_url(URL)


@app.task  # type: ignore[untyped-decorator]
def noop() -> None:
    """Nothing."""


@app.task  # type: ignore[untyped-decorator]
def count(key: str) -> None:
    """Say that it ran: Celery acknowledges before a task runs, so its queue does not tell."""
    _client.incr(key)


@app.task  # type: ignore[untyped-decorator]
def mark() -> None:
    """Say when it began."""
    _client.rpush(DONE, repr(time.monotonic()))
