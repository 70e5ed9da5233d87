"""Which worker can run which services: told by every worker, asked by who plans and by who cannot run one itself.

A service that a worker cannot run (no ComfyUI, a pack or a model file is missing) is passed on to one that can; one
that no worker can run is left out of the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from .keys import Keys


@dataclass(frozen=True, slots=True)
class Offer:
    """What one worker process says.

    Attributes:
        serves: Services it runs.
        missing: Service → why it does not run it, though it listens to its queue.
    """

    worker: str
    serves: tuple[str, ...]
    missing: Mapping[str, str]


def withheld(offers: Iterable[Offer]) -> dict[str, str]:
    """Services that some worker should run and none can → why."""
    served: set[str] = set()
    missing: dict[str, str] = {}
    for offer in offers:
        served.update(offer.serves)
        for service, why in offer.missing.items():
            missing.setdefault(service, why)
    return {service: why for service, why in missing.items() if service not in served}


class Offers:
    """The offers of all live workers, in Redis.

    Args:
        client: Decodes replies.
        lifetime_ms: How long an offer counts without being made again.
    """

    def __init__(self, client: redis.Redis, keys: Keys, lifetime_ms: int) -> None:
        self._client, self._keys, self._lifetime_ms = client, keys, lifetime_ms

    def make(self, offer: Offer) -> None:
        """Make an offer, or make it again."""
        text = json.dumps({"serves": offer.serves, "missing": dict(offer.missing)})
        with self._client.pipeline(transaction=True) as pipe:
            pipe.set(self._keys.offer(offer.worker), text, px=self._lifetime_ms)
            pipe.sadd(self._keys.offers, offer.worker)
            pipe.execute()

    def withdraw(self, worker: str) -> None:
        with self._client.pipeline(transaction=True) as pipe:
            pipe.delete(self._keys.offer(worker))
            pipe.srem(self._keys.offers, worker)
            pipe.execute()

    def all(self) -> list[Offer]:
        """Offers of live workers; what dead ones left is removed."""
        workers: Any = sorted(self._client.smembers(self._keys.offers))
        if not workers:
            return []
        texts: Any = self._client.mget([self._keys.offer(worker) for worker in workers])
        gone = [worker for worker, text in zip(workers, texts, strict=True) if text is None]
        if gone:
            self._client.srem(self._keys.offers, *gone)
        return [
            Offer(worker, tuple(given["serves"]), given["missing"])
            for worker, text in zip(workers, texts, strict=True)
            if text is not None and (given := json.loads(text))
        ]
