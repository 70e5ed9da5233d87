"""Capabilities that only tests need; loaded by real ingestors and workers through ``farm.actor_modules``.

They talk to the test through Redis keys under ``test:``, so that tests wait for events and not for time.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from typing import Any

import redis

from myspinbot_worker.capability import Payload, Retry, capability
from myspinbot_worker.errors import StorageUnavailable
from myspinbot_worker.task import Task


class Any_(Payload):
    """Whatever it is given."""


def _redis() -> redis.Redis:
    return redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)


def _extra(payload: Payload) -> dict[str, Any]:
    return payload.model_extra or {}


@capability("test.echo", kind="cpu")
def echo(task: Task, params: Any_, given: Any_) -> Any_:
    """Return ``params.output``, and record which input each start saw."""
    client = _redis()
    client.rpush(f"test:inputs:{task.job}:{task.node_id}", json.dumps(_extra(given)))
    return Any_.model_validate(_extra(params).get("output", {"from": task.node_id}))


@capability("test.fail", kind="cpu", retry=Retry(max_attempts=3, backoff_seconds=0.05))
def fail(task: Task, params: Any_, given: Any_) -> Any_:
    """Fail ``params.times`` times (always, if absent); ``params.retryable`` says how."""
    made = int(_redis().incr(f"test:fails:{task.job}:{task.node_id}"))
    if made <= _extra(params).get("times", 1 << 30):
        message = _extra(params).get("message", "told to fail")
        raise StorageUnavailable(message) if _extra(params).get("retryable") else ValueError(message)
    return Any_.model_validate({"attempts": made})


@capability("test.gate", kind="gpu")
def gate(task: Task, params: Any_, given: Any_) -> Any_:
    """Say that a start began, then wait until the test opens the gate (or the task is stopped)."""
    client = _redis()
    name = f"{task.job}:{task.node_id}"
    client.rpush(f"test:started:{name}", json.dumps({"pid": os.getpid(), "attempt": task.attempt}))
    if fraction := _extra(params).get("progress"):
        task.progress(fraction)
    while not client.blpop([f"test:open:{name}"], timeout=0.2):
        task.check()
    return Any_.model_validate({"attempt": task.attempt})


@capability("test.hold_gil", kind="gpu")
def hold_gil(task: Task, params: Any_, given: Any_) -> Any_:
    """Sit in C code for ``params.seconds`` without letting any other thread of this process run."""
    _redis().rpush(f"test:started:{task.job}:{task.node_id}", json.dumps({"attempt": task.attempt}))
    ctypes.PyDLL(None).usleep(int(_extra(params)["seconds"] * 1e6))
    return Any_.model_validate({"attempt": task.attempt})


@capability("test.die", kind="cpu")
def die(task: Task, params: Any_, given: Any_) -> Any_:
    """Take the worker process along."""
    _redis().incr(f"test:deaths:{task.job}:{task.node_id}")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


@capability("test.publish", kind="cpu")
def publish(task: Task, params: Any_, given: Any_) -> Any_:
    """Publish every item of ``params.items`` to the data channel."""
    for item in _extra(params)["items"]:
        task.publish(item)
    return Any_()


@capability("test.artifact", kind="cpu", retry=Retry(max_attempts=3, backoff_seconds=0.05))
def artifact(task: Task, params: Any_, given: Any_) -> Any_:
    """Keep one object, then fail as often as told; the output names the object."""
    path = task.scratch / "thing.txt"
    path.write_text(f"attempt {task.attempt}")
    kept = task.keep(path, bucket="staged")
    if task.attempt <= _extra(params).get("fail_first", 0):
        raise StorageUnavailable("told to fail after uploading")
    return Any_.model_validate({"kept": kept.model_dump(), "text": task.fetch(kept).read_text()})
