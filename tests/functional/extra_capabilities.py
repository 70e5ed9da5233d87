"""Capabilities that only tests need; loaded by real ingestors and workers through ``farm.actor_modules``.

They talk to the test through Redis keys under ``test:``, so that tests wait for events and not for time.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import wave
from typing import Any, cast
from urllib.parse import unquote

import redis

from myspinbot_worker.capability import Payload, Retry, capability
from myspinbot_worker.comfy.engine import EngineLost
from myspinbot_worker.errors import StorageUnavailable
from myspinbot_worker.media.gate import verify
from myspinbot_worker.media.promise import AudioPromise
from myspinbot_worker.task import Task

log = logging.getLogger(__name__)

SECRET_VARIABLES = ("REDIS_URL", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "FARM_SERVER_TOKEN")


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


def _say_started(task: Task) -> None:
    said = {"pid": os.getpid(), "worker": os.getppid(), "attempt": task.attempt}
    _redis().rpush(f"test:started:{task.job}:{task.node_id}", json.dumps(said))


@capability("test.wait_for_gate", kind="cpu")
def wait_for_gate(task: Task, params: Any_, given: Any_) -> Any_:
    """As ``test.gate``, on the other queue."""
    return gate(task, params, given)


@capability("test.gate", kind="gpu")
def gate(task: Task, params: Any_, given: Any_) -> Any_:
    """Say that a start began, then wait until the test opens the gate (or the task is stopped)."""
    client = _redis()
    name = f"{task.job}:{task.node_id}"
    _say_started(task)
    if fraction := _extra(params).get("progress"):
        task.progress(fraction)
    while not client.blpop([f"test:open:{name}"], timeout=0.2):
        task.check()
    return Any_.model_validate({"attempt": task.attempt})


@capability("test.walk", kind="cpu")
def walk(task: Task, params: Any_, given: Any_) -> Any_:
    """Walk ``params.steps`` steps and keep each.

    ``params.die``: ``after`` each new one, ``before`` any, or ``engine``: lose ComfyUI after each new one.
    """
    client, name = _redis(), f"{task.job}:{task.node_id}"
    _say_started(task)
    if _extra(params).get("die") == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    for step in range(_extra(params)["steps"]):
        kept = task.checkpoints.fetch(f"step-{step}")
        if kept is not None:
            client.rpush(f"test:walked:{name}", f"found {kept.read_text()}")
            continue
        path = task.scratch / "step.txt"
        path.write_text(f"{step}")
        task.keep_step(f"step-{step}", path)
        client.rpush(f"test:walked:{name}", f"made {step}")
        if _extra(params).get("die") == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        if _extra(params).get("die") == "engine":
            raise EngineLost("ComfyUI died")
        if _extra(params).get("wait"):
            while not client.blpop([f"test:open:{name}"], timeout=0.2):
                task.check()
    result = task.scratch / "result.txt"
    result.write_text("walked")
    return Any_.model_validate({"artifact": task.keep(result).model_dump()})


@capability("test.hold_gil", kind="gpu")
def hold_gil(task: Task, params: Any_, given: Any_) -> Any_:
    """Sit in C code for ``params.seconds`` without letting any other thread of this process run."""
    _say_started(task)
    ctypes.PyDLL(None).usleep(int(_extra(params)["seconds"] * 1e6))
    return Any_.model_validate({"attempt": task.attempt})


@capability("test.die", kind="cpu")
def die(task: Task, params: Any_, given: Any_) -> Any_:
    """Take the process along."""
    _redis().incr(f"test:deaths:{task.job}:{task.node_id}")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


@capability("test.die_on_device", kind="gpu")
def die_on_device(task: Task, params: Any_, given: Any_) -> Any_:
    """Take the process along while holding the device."""
    with task.device():
        return die(task, params, given)


@capability("test.write_everywhere", kind="cpu")
def write_everywhere(task: Task, params: Any_, given: Any_) -> Any_:
    """Write garbage to files that are not this task's."""
    for descriptor in range(3, 256):
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\x00\x00\x00\x04junk")
    time.sleep(1 << 20)
    return Any_()


@capability("test.nap", kind="cpu")
def nap(task: Task, params: Any_, given: Any_) -> Any_:
    """Sleep for ``params.seconds``."""
    _say_started(task)
    time.sleep(_extra(params)["seconds"])
    return Any_()


@capability("test.hang", kind="cpu", timeout_seconds=1.0)
def hang(task: Task, params: Any_, given: Any_) -> Any_:
    """Never end by itself, in the way that ``params.how`` says."""
    _say_started(task)
    match _extra(params)["how"]:
        case "checking":
            while True:
                task.check()
                time.sleep(0.01)
        case "computing":
            while True:
                pass
        case "deaf":
            while True:
                with contextlib.suppress(Exception):
                    task.check()
        case "sleeping":
            time.sleep(1 << 20)
        case "holding the GIL":
            ctypes.PyDLL(None).sleep(1 << 20)
        case "in a subprocess":
            subprocess.run([sys.executable, "-c", "import time; time.sleep(1 << 20)"], check=True)
    raise AssertionError("unreachable")


@capability("test.hang_for_ever", kind="cpu")
def hang_for_ever(task: Task, params: Any_, given: Any_) -> Any_:
    """As ``test.hang``, without a time limit."""
    return hang(task, params, given)


@capability("test.exit", kind="cpu")
def leave(task: Task, params: Any_, given: Any_) -> Any_:
    """End the process, or try to, in the way that ``params.how`` says."""
    _redis().incr(f"test:deaths:{task.job}:{task.node_id}")
    match _extra(params)["how"]:
        case "sys.exit":
            sys.exit(3)
        case "os._exit":
            os._exit(3)
        case "a segmentation fault":
            ctypes.string_at(0)
    raise AssertionError("unreachable")


@capability("test.eat", kind="cpu", retry=Retry(max_attempts=3, backoff_seconds=0.05))
def eat(task: Task, params: Any_, given: Any_) -> Any_:
    """Run out of memory ``params.times`` times."""
    client = _redis()
    made = int(client.incr(f"test:meals:{task.job}:{task.node_id}"))
    client.rpush(f"test:eaters:{task.job}:{task.node_id}", os.getppid())
    if made <= _extra(params)["times"]:
        bytearray(1 << 60)
    return Any_.model_validate({"meals": made})


@capability("test.connect", kind="cpu")
def connect(task: Task, params: Any_, given: Any_) -> Any_:
    """Connect to where nobody listens."""
    with socket.create_connection(("127.0.0.1", 1)):
        return Any_()


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


@capability("test.make_sound", kind="cpu", retry=Retry(max_attempts=9, backoff_seconds=0.05))
def make_sound(task: Task, params: Any_, given: Any_) -> Any_:
    """Owe a sound and make silence ``params.times`` times; the output has the object and its digest."""
    made = int(_redis().incr(f"test:sounds:{task.job}:{task.node_id}"))
    path = task.scratch / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((b"\0\0" if made <= _extra(params)["times"] else b"\0\x20\0\xe0") * 8000)
    digest = verify(path, AudioPromise(rate=16000)).digest
    return Any_.model_validate({"kept": task.keep(path, sha256=digest).model_dump(), "digest": digest})


@capability("test.quote_secrets", kind="cpu", retry=Retry(max_attempts=2, backoff_seconds=0.05))
def quote_secrets(task: Task, params: Any_, given: Any_) -> Any_:
    """Fail as a careless library does: message, details and log quote what the process is configured with."""
    found = [value for name, value in os.environ.items() if name in SECRET_VARIABLES]
    said = " ".join([*found, *map(unquote, found)])
    log.error("about to fail with %s", said)
    match _extra(params)["how"]:
        case "message":
            raise ValueError(f"cannot log in with {said}")
        case "details":
            raise StorageUnavailable(
                "cannot log in", details={"tried": found, "by name": {"x": [said]}, said: 1}
            )
        case "chain":
            try:
                raise KeyError(said)
            except KeyError as error:
                raise RuntimeError("cannot log in") from error
        case "bad output":
            return cast(Any_, said)
        case how:
            raise AssertionError(how)
