"""The farm's parts, built from the settings: the one place where they are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote, urlsplit

import dramatiq
import redis

from .bridge import Bridge
from .broker import FarmBroker
from .capability import Registry, registry
from .config import Settings
from .dispatcher import Dispatcher
from .graph.ending import Ending, Handoff
from .graph.messages import Messages
from .graph.store import RunStore
from .graph.transitions import Limits, StreamNames
from .keys import Keys
from .redis_clients import connect
from .storage import Storage, StorageConfig
from .task import worker_name

QUEUES = ("gpu", "cpu")
"""One queue per kind of device."""


def storage_of(settings: Settings) -> Storage:
    """Object storage as the settings have it."""
    given = settings.storage
    return Storage(
        StorageConfig(
            endpoint=given.endpoint,
            access_key=given.access_key.get_secret_value(),
            secret_key=given.secret_key.get_secret_value(),
            use_ssl=given.use_ssl,
            buckets=given.buckets,
        )
    )


@dataclass(frozen=True)
class Farm:
    """Everything a process of the farm is made of. Nothing connects before it is used."""

    settings: Settings
    middleware: Sequence[dramatiq.Middleware] = ()
    registry: Registry = registry

    @cached_property
    def client(self) -> redis.Redis:
        """Redis, replies decoded."""
        return connect(self.settings.redis.url, text=True)

    @cached_property
    def binary_client(self) -> redis.Redis:
        """Redis, replies as bytes: for what others wrote."""
        return connect(self.settings.redis.url, text=False)

    @cached_property
    def bridge(self) -> Bridge:
        return Bridge(self.binary_client, self.store.streams)

    @cached_property
    def store(self) -> RunStore:
        settings = self.settings
        return RunStore(
            self.client,
            Keys(settings.farm.namespace),
            StreamNames(settings.streams.data, settings.streams.control, settings.streams.group),
            Messages(settings.channels.progress, settings.channels.status, settings.channels.data),
            Limits(
                lease_ms=round(settings.farm.lease_seconds * 1000),
                message_check_ms=round(settings.farm.message_check_seconds * 1000),
                max_lost_attempts=settings.farm.max_lost_attempts,
                job_ttl_seconds=settings.jobs.ttl_seconds,
                dead_letters_kept=settings.farm.dead_letters_kept,
                history_kept=settings.farm.history_kept,
            ),
        )

    @cached_property
    def broker(self) -> FarmBroker:
        broker = FarmBroker(
            connect(self.settings.redis.url, text=False, resend=False),
            self.store.keys.broker,
            round(self.settings.farm.heartbeat_seconds * 1000),
            self.middleware,
        )
        for queue in QUEUES:
            broker.declare_queue(queue)
        return broker

    @cached_property
    def storage(self) -> Storage:
        return storage_of(self.settings)

    def dispatcher(self, on_conclude: Callable[[str, Ending], None] = lambda job, ending: None) -> Dispatcher:
        farm = self.settings.farm
        return Dispatcher(
            self.store,
            self.broker,
            self.registry.queue,
            Handoff(farm.handoff_completed, farm.handoff_failed),
            worker_name(),
            on_conclude,
        )

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Values that must not reach logs, errors or graphs."""
        storage = self.settings.storage
        password = urlsplit(self.settings.redis.url).password
        found = (
            storage.access_key.get_secret_value(),
            storage.secret_key.get_secret_value(),
            unquote(password or ""),
        )
        return tuple(secret for secret in found if len(secret) >= 4)
