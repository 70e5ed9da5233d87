"""The tasks of a campaign; what each makes is known beforehand. They record every start in Redis."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import uuid
from functools import cache
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry as Patience

from myspinbot_worker.capability import Payload, Retry, capability
from myspinbot_worker.errors import ArtifactCorrupt, StorageUnavailable
from myspinbot_worker.storage import Artifact
from myspinbot_worker.task import Task

from .campaign_values import ARTIFACT, STARTS, artifacts, content_of, digest, output_of

OFTEN = Retry(max_attempts=20, backoff_seconds=0.1, max_backoff_seconds=1.0)
"""Storage and Redis are away often; that must not fail a job."""
HANG_SECONDS = 1.0
"""A task that hangs should end after this long."""


class Params(Payload):
    """How a node behaves."""

    salt: str
    seconds: float = 0.0
    bytes: int = 0
    times: int | None = None
    passes: bool = False
    how: str = ""


class Given(Payload):
    """Whatever it is."""


@cache
def client_of(process: int) -> redis.Redis:
    """A client that waits for a Redis that is away, as no fault may become one of the task's."""
    return redis.Redis.from_url(
        os.environ["REDIS_URL"],
        retry=Patience(ExponentialBackoff(cap=0.2, base=0.01), 300),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )


def begin(task: Task, given: Given) -> dict[str, Any]:
    """Record a start; the input."""
    value = given.model_extra or {}
    start = {
        "job": task.job,
        "node": task.node_id,
        "entry": task._claim.ref.entry,
        "attempt": task.attempt,
        "digest": digest(value),
        "at": time.time(),
        "pid": os.getpid(),
        "id": uuid.uuid4().hex,
    }
    client_of(os.getpid()).rpush(STARTS, json.dumps(start))
    return value


def tries(task: Task) -> int:
    """How often this node got here."""
    return int(client_of(os.getpid()).incr(f"test:tries:{task.job}:{task.node_id}"))


def result(task: Task, params: Params, value: dict[str, Any], **more: Any) -> Given:
    return Given.model_validate(output_of(task.node_id, params.salt, value) | more)


@capability("campaign.echo", kind="cpu", retry=OFTEN)
def echo(task: Task, params: Params, given: Given) -> Given:
    """Done at once."""
    return result(task, params, begin(task, given))


@capability("campaign.work", kind="gpu", retry=OFTEN)
def work(task: Task, params: Params, given: Given) -> Given:
    """Take a while, and tell of it."""
    value = begin(task, given)
    with task.device():
        for step in range(1, 6):
            time.sleep(params.seconds / 5)
            task.progress(step / 5)
            task.check()
    task.publish({"node": task.node_id})
    return result(task, params, value)


@capability("campaign.keep", kind="cpu", retry=OFTEN)
def keep(task: Task, params: Params, given: Given) -> Given:
    """Keep an object."""
    value = begin(task, given)
    path = task.scratch / "made.bin"
    path.write_bytes(content_of(task.job, task.node_id, params.bytes))
    kept = task.keep(path)
    return result(task, params, value, **{ARTIFACT + task.node_id: kept.model_dump()})


@capability("campaign.fetch", kind="cpu", retry=OFTEN)
def fetch(task: Task, params: Params, given: Given) -> Given:
    """Fetch every object of the input and see that it is the right one."""
    value = begin(task, given)
    for artifact in artifacts(value):
        node_id = artifact["key"].split("/")[1]
        found = task.fetch(Artifact.model_validate(artifact)).read_bytes()
        if found != content_of(task.job, node_id, artifact["size_bytes"]):
            raise ArtifactCorrupt(f"{artifact['key']} holds something else")
    return result(task, params, value)


@capability("campaign.raise", kind="cpu", retry=OFTEN)
def fail(task: Task, params: Params, given: Given) -> Given:
    """Fail so often, or always."""
    value = begin(task, given)
    if params.times is None or tries(task) <= params.times:
        if not params.passes:
            raise ValueError("told to fail")
        raise StorageUnavailable("told to fail")
    return result(task, params, value)


@capability("campaign.die", kind="cpu", retry=OFTEN)
def die(task: Task, params: Params, given: Given) -> Given:
    """Take this process along so often, or always."""
    value = begin(task, given)
    if params.times is None or tries(task) <= params.times:
        match params.how:
            case "exit":
                sys.exit(3)
            case "os_exit":
                os._exit(4)
        os.kill(os.getpid(), signal.SIGKILL)
    return result(task, params, value)


@capability("campaign.hang", kind="gpu", retry=OFTEN, timeout_seconds=HANG_SECONDS)
def hang(task: Task, params: Params, given: Given) -> Given:
    """Never end by itself."""
    begin(task, given)
    while True:
        if params.how == "gil":
            ctypes.PyDLL(None).sleep(60)
        time.sleep(60)
