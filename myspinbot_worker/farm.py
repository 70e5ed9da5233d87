"""The farm's parts, built from the settings: the one place where they are put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import dramatiq
import redis

from .artifact_cache import ArtifactCache
from .bridge import Bridge
from .broker import FarmBroker
from .capability import Registry, registry
from .comfy.node_times import RecordedTimes
from .dispatcher import Dispatcher
from .graph.ending import Ending, Handoff
from .graph.messages import Messages
from .graph.store import RunStore
from .graph.transitions import Limits, StreamNames
from .keys import QUEUES, Keys
from .offering import TIMES_A_LIFETIME
from .offers import Offers
from .redis_clients import connect
from .reuse_index import ReuseIndex
from .settings import Settings
from .task import worker_name

if TYPE_CHECKING:
    from .storage import Storage


def storage_of(settings: Settings) -> Storage:
    """Object storage as the settings have it."""
    # Its client library takes a third of an ingestor's start, which needs it only later.
    from .storage import Storage, StorageConfig

    given = settings.storage
    return Storage(
        StorageConfig(
            endpoint=given.endpoint,
            access_key=given.access_key.get_secret_value(),
            secret_key=given.secret_key.get_secret_value(),
            use_ssl=given.use_ssl,
            buckets=given.buckets,
            ca_file=given.ca_file,
            max_bytes=settings.farm.max_artifact_bytes,
        )
    )


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Values that must not reach logs, errors or graphs, in every spelling the settings have them."""
    url = urlsplit(settings.redis.url)
    spelled = [url.password or ""]
    spelled += [value for name, value in _query(url.query) if "pass" in name.lower()]
    spelled.append(urlsplit(settings.comfyui.url or "").password or "")
    found = (
        settings.storage.access_key.get_secret_value(),
        settings.storage.secret_key.get_secret_value(),
        settings.server.token.get_secret_value(),
        *spelled,
        *map(unquote, spelled),
    )
    quoted = [form[1:-1] for secret in found for form in (repr(secret), json.dumps(secret))]
    # Shorter ones would hide half of what is said, and the secret with it could be guessed.
    # The longer first: one may begin with another.
    kept = {secret for secret in (*found, *quoted) if len(secret) >= 4}
    return tuple(sorted(kept, key=lambda secret: (-len(secret), secret)))


def _query(query: str) -> list[tuple[str, str]]:
    """Names and values of a URL's query as they are spelled there."""
    return [(name, value) for name, _, value in (part.partition("=") for part in query.split("&"))]


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
                max_open_runs=settings.farm.max_open_runs,
                job_ttl_seconds=settings.jobs.ttl_seconds,
                dead_letters_kept=settings.farm.dead_letters_kept,
                history_kept=settings.farm.history_kept,
            ),
            self.registry.queues,
        )

    @cached_property
    def offers(self) -> Offers:
        lifetime = TIMES_A_LIFETIME * self.settings.farm.heartbeat_seconds
        return Offers(self.client, self.store.keys, round(1000 * lifetime))

    @cached_property
    def taking_client(self) -> redis.Redis:
        """Redis for one thread at a time, replies decoded; connects at once.

        A command whose reply was lost is not sent again: it takes messages."""
        return connect(self.settings.redis.url, text=True, resend=False, alone=True)

    @cached_property
    def broker(self) -> FarmBroker:
        broker = FarmBroker(
            connect(self.settings.redis.url, text=False, resend=False),
            self.store.keys.broker,
            round(self.settings.farm.heartbeat_seconds * 1000),
            self.middleware,
            self.store.keys.paused,
        )
        for queue in QUEUES:
            broker.declare_queue(queue)
        return broker

    @cached_property
    def node_times(self) -> RecordedTimes:
        return RecordedTimes(self.client, self.store.keys)

    @cached_property
    def storage(self) -> Storage:
        return storage_of(self.settings)

    @cached_property
    def cache(self) -> ArtifactCache | None:
        """What this machine keeps of downloads, if it keeps any."""
        farm = self.settings.farm
        return ArtifactCache(self.storage, farm.cache_dir, farm.cache_bytes) if farm.cache_bytes else None

    @cached_property
    def reuse_index(self) -> ReuseIndex:
        farm = self.settings.farm
        return ReuseIndex(self.client, self.store.keys, farm.reuse_seconds, farm.reuse_most)

    def dispatcher(
        self, on_conclude: Callable[[Ending, float | None], None] = lambda ending, cancelled: None
    ) -> Dispatcher:
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
        return secrets_of(self.settings)
