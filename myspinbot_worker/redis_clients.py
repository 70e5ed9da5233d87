"""Redis connections: how long they wait, and which of Redis' refusals pass by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

T = TypeVar("T")

TRANSIENT: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
"""Errors of a Redis that is away, loading, full or a replica: the same command may succeed later."""

_PASSING = (
    "MISCONF",
    "NOREPLICAS",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "BUSY ",
    "LOADING",
    "OOM",
    "READONLY",
    "UNBLOCKED",
)

BLOCK_SECONDS = 2.0
"""How long one blocking read waits; also bounds how long a stop takes."""


class _Direct(redis.Redis):
    """Sends commands over its one connection with nothing around them.

    What redis-py does for each (pool, lock, retries, telemetry) takes longer than Redis takes for a short one.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        connection: Any = self.connection
        connection.send_command(*args)
        return connection.read_response()


def connect(url: str, *, text: bool, resend: bool = True, alone: bool = False) -> redis.Redis:
    """A client whose reads outlast every blocking command we send.

    Args:
        text: Decode replies as UTF-8; entries of others' making must be read without.
        resend: Send a command once more whose reply was lost. All our scripts may run twice.
        alone: One connection, made at once, for scripts; threads must not share it, and nothing is sent again.
    """
    kind = _Direct if alone else redis.Redis
    return kind.from_url(
        url,
        decode_responses=text,
        socket_timeout=BLOCK_SECONDS + 8,
        socket_connect_timeout=5,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), int(resend)),
        retry_on_error=[ConnectionError, TimeoutError] if resend else [],
        single_connection_client=alone,
    )


class Stopped(Exception):
    """Waiting for Redis was given up because the process stops."""


def passes(error: BaseException) -> bool:
    """Whether a Redis error passes by itself (a full disk does too, once somebody clears it)."""
    return isinstance(error, TRANSIENT) or (
        isinstance(error, redis.ResponseError) and str(error).startswith(_PASSING)
    )


def until_done(action: Callable[[], T], stop: threading.Event, on_error: Callable[[Exception], None]) -> T:
    """``action()``'s result, tried again with backoff while Redis is away.

    Args:
        stop: Ends the waiting.
        on_error: Told of every failed try.

    Raises:
        Stopped: ``stop`` was set before the action succeeded.
    """
    backoff = ExponentialBackoff(cap=2.0, base=0.05)
    failures = 0
    while True:
        try:
            return action()
        except redis.RedisError as error:
            if not passes(error):
                raise
            failures += 1
            on_error(error)
            if stop.wait(backoff.compute(failures)):
                raise Stopped from error
