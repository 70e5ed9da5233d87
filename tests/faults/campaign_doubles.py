"""Dramatiq messages queued a second time: waiting, running and done ones, under their own id or another."""

from __future__ import annotations

import itertools
import random
from typing import Any

import dramatiq
import redis
from dramatiq.message import Message

from myspinbot_worker.broker import FarmBroker
from myspinbot_worker.consumer import MESSAGE_ID

from .campaign_control_plane import KEYS

QUEUES = ("cpu", "gpu")
_REMEMBERED = 50
"""Messages of nodes that may be done by now."""


class Doubler:
    """Remembers messages, and queues one of them again."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._broker = FarmBroker(self._client, KEYS.broker, 60_000, [])
        self._seen: list[Message[Any]] = []
        self._numbers = itertools.count()

    def close(self) -> None:
        self._client.close()

    def double(self, chance: random.Random) -> str:
        """Queue a message again; its id, or nothing if there was none or Redis is away."""
        try:
            for queue in QUEUES:
                found: Any = self._client.hvals(f"{KEYS.broker}:{queue}.msgs")
                self._seen += [dramatiq.Message.decode(data) for data in found[:10]]
            if not self._seen:
                return ""
            message = chance.choice(self._seen)
            message_id = message.options[MESSAGE_ID]
            if chance.random() < 0.5:
                message_id += f"-double-{next(self._numbers)}"
            self._broker.enqueue(message.copy(options={MESSAGE_ID: message_id}))
        except (redis.ConnectionError, redis.TimeoutError):
            # The connection was cut by an earlier fault; the next try has another.
            return ""
        self._seen = self._seen[-_REMEMBERED:]
        return str(message_id)
