"""The index of results that may be used again, in Redis: bounded by age and number, and never relied on."""

from __future__ import annotations

import logging
from typing import Any

import redis

from .keys import Keys
from .redis_clients import passes
from .reuse_attempt import NewMemo

log = logging.getLogger(__name__)


class ReuseIndex:
    """Memos by the digest of their fingerprint.

    Args:
        client: Must decode responses.
        seconds: How long a memo is kept.
        most: How many are kept; the oldest go first.
    """

    def __init__(self, client: redis.Redis, keys: Keys, seconds: int, most: int) -> None:
        self._client: Any = client
        self._keys = keys
        self._seconds = seconds
        self._most = most

    def find(self, digest: str) -> str | None:
        """The memo's text; ``None`` if there is none, or Redis is away."""
        try:
            found: str | None = self._client.get(self._keys.memo(digest))
        except redis.RedisError as error:
            if not passes(error):
                raise
            log.warning("no earlier result is looked for: Redis: %s", error)
            return None
        return found

    def remember(self, memo: NewMemo) -> None:
        """Keep a memo, if Redis is there; whoever dies in between leaves what expires."""
        keys, client = self._keys, self._client
        try:
            seconds, _ = client.time()
            with client.pipeline(transaction=True) as pipe:
                pipe.set(keys.memo(memo.digest), memo.text, ex=self._seconds)
                pipe.zadd(keys.memos, {memo.digest: seconds})
                pipe.expire(keys.memos, self._seconds)
                pipe.zrangebyscore(keys.memos, "-inf", seconds - self._seconds)
                pipe.zrange(keys.memos, 0, -self._most - 1)
                *_, expired, surplus = pipe.execute()
            if doomed := {*expired, *surplus}:
                with client.pipeline(transaction=True) as pipe:
                    pipe.delete(*map(keys.memo, doomed))
                    pipe.zrem(keys.memos, *doomed)
                    pipe.execute()
        except redis.RedisError as error:
            if not passes(error):
                raise
            log.warning("a result is not kept for others: Redis: %s", error)
