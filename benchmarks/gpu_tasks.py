"""Tasks that behave as GPU tasks do and compute nothing; loaded by the farm under measurement.

They sleep where a real one would transfer, load or compute, and write down when: in Redis, on the clock that all
processes of one machine share.
"""

from __future__ import annotations

import json
import os
import time
from functools import cache

import redis

from myspinbot_worker.capability import Payload, capability
from myspinbot_worker.task import Task

MODELS = ("benchmark.one", "benchmark.two", "benchmark.three")
REUSABLE = "benchmark.reusable"
RECORD = "benchmark:device"
"""List: of each task the service, when it began, and when it took and gave back the device (s)."""


class Durations(Payload):
    """Seconds."""

    fetch: float = 0.0
    load: float = 0.0
    compute: float
    upload: float = 0.0


class Nothing(Payload):
    """Nothing."""


_loaded = ""


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(os.environ["REDIS_URL"])


def _work(task: Task, params: Durations) -> Nothing:
    global _loaded
    began = time.monotonic()
    time.sleep(params.fetch)
    with task.device():
        taken = time.monotonic()
        if _loaded != task.service:
            time.sleep(params.load)
            _loaded = task.service
        time.sleep(params.compute)
        given_back = time.monotonic()
    _client().rpush(RECORD, json.dumps([task.service, began, taken, given_back]))
    time.sleep(params.upload)
    return Nothing()


@capability(MODELS[0], kind="gpu")
def one(task: Task, params: Durations, given: Nothing) -> Nothing:
    """Work with a first model."""
    return _work(task, params)


@capability(MODELS[1], kind="gpu")
def two(task: Task, params: Durations, given: Nothing) -> Nothing:
    """Work with a second model."""
    return _work(task, params)


@capability(MODELS[2], kind="gpu")
def three(task: Task, params: Durations, given: Nothing) -> Nothing:
    """Work with a third model."""
    return _work(task, params)


@capability(REUSABLE, kind="gpu", reuse=True)
def reusable(task: Task, params: Durations, given: Nothing) -> Nothing:
    """Work whose result stands for others of the same params."""
    return _work(task, params)
