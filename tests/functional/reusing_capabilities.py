"""Capabilities for the tests of what is kept and used again; loaded through ``farm.actor_modules``."""

from __future__ import annotations

import os
import time

import redis

from myspinbot_worker.capability import ObjectPath, Payload, capability
from myspinbot_worker.storage import Artifact
from myspinbot_worker.task import Task


class ReadParams(Payload):
    path: str


class Text(Payload):
    text: str


@capability("test.read", kind="cpu")
def read(task: Task, params: ReadParams, given: Payload) -> Text:
    """The text of the object ``params.path``."""
    return Text(text=task.fetch(params.path).read_text())


class RenderParams(Payload):
    source: ObjectPath
    seed: int | None = None
    seconds: float = 0.0
    besides: str = ""
    hidden: tuple[str, ...] = ()


class RenderInput(Payload):
    clip: Artifact | None = None
    currentProgress: float | None = None


class RenderOutput(Payload):
    picture: Artifact
    currentProgress: float


@capability("test.render", kind="gpu", reuse=True, seed="seed")
def render(task: Task, params: RenderParams, given: RenderInput) -> RenderOutput:
    """Something of all it is given; takes ``params.seconds`` of the device, counted.

    ``params.hidden`` is the name of an object in parts, which nobody else can tell to be one.
    """
    parts = [task.fetch(params.source).read_text()]
    if given.clip is not None:
        parts.append(task.fetch(given.clip).read_text())
    for path in (params.besides, "/".join(params.hidden)):
        if path:
            parts.append(task.fetch(path).read_text())
    with task.device(), redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.incr("test:rendered")
        time.sleep(params.seconds)
    made = task.scratch / "picture.txt"
    made.write_text("+".join(parts) + f" by {params.seed}")
    return RenderOutput(
        picture=task.keep(made, name="frames/picture.txt"),
        currentProgress=task.current_progress(given.currentProgress),
    )
