"""The farm's own tasks for benchmarks; workers load them by ``farm.actor_modules``.

Times are the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import os
import time
from typing import Any

import redis

from myspinbot_worker.capability import Payload, capability
from myspinbot_worker.task import Task

MARKS = "benchmark:marks"
"""List to which tasks push when they began, and a busy one also when it ended (s)."""

_client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))


class Anything(Payload):
    """Whatever it is given."""


@capability("benchmark.noop", kind="cpu")
def noop(task: Task, params: Anything, given: Anything) -> Anything:
    """Nothing."""
    return Anything()


@capability("benchmark.mark", kind="cpu")
def mark(task: Task, params: Anything, given: Anything) -> Anything:
    """Say when the first line ran."""
    _client.rpush(MARKS, repr(time.monotonic()))
    return Anything()


@capability("benchmark.busy", kind="gpu")
def busy(task: Task, params: Anything, given: Anything) -> Anything:
    """Be on the device for ``seconds``; say when it began and when it ended."""
    began = time.monotonic()
    with task.device():
        time.sleep(_given(params, "seconds"))
    _client.rpush(MARKS, f"{began!r} {time.monotonic()!r}")
    return Anything()


@capability("benchmark.large", kind="cpu")
def large(task: Task, params: Anything, given: Anything) -> Anything:
    """Return ``size`` bytes of text."""
    return Anything.model_validate({"text": "x" * int(_given(params, "size"))})


def _given(params: Anything, name: str) -> Any:
    return (params.model_extra or {})[name]
