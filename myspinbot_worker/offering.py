"""Keeps a worker's offer alive, and knows what the other workers offer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

import redis

from .capability import Registry
from .offers import Offer, Offers, withheld
from .redis_clients import passes

log = logging.getLogger(__name__)

TIMES_A_LIFETIME = 3


class Offering:
    """Makes the offer of one worker process until it is withdrawn.

    Attributes:
        withheld: Services that no worker can run → why, as of the last look.

    Args:
        listens: Whether this process takes messages of a queue.
        missing: Service → why it cannot run here; asked again each time, for a runner may be replaced.
        every_seconds: Between two times.
    """

    def __init__(
        self,
        offers: Offers,
        registry: Registry,
        worker: str,
        listens: Callable[[str], bool],
        missing: Callable[[], Mapping[str, str]],
        every_seconds: float,
    ) -> None:
        self._offers = offers
        self._registry = registry
        self._worker = worker
        self._listens = listens
        self._missing = missing
        self._every_seconds = every_seconds
        self._ended = threading.Event()
        self._known: list[Offer] = []
        self.withheld: Mapping[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="offering", daemon=True)

    def begin(self) -> None:
        self._turn()
        self._thread.start()

    def end(self) -> None:
        """Withdraw the offer."""
        self._ended.set()
        self._thread.join()
        try:
            self._offers.withdraw(self._worker)
        except redis.RedisError as error:
            log.warning("the offer of this worker stays until it expires: %s", error)

    @property
    def offer(self) -> Offer:
        missing = self._missing()
        mine = [item.id for item in self._registry if self._listens(item.queue)]
        return Offer(
            self._worker,
            tuple(service for service in mine if service not in missing),
            {service: missing[service] for service in mine if service in missing},
        )

    def others_serve(self, service: str) -> bool:
        """Whether another worker offers a service now."""
        self._turn()
        return any(service in offer.serves for offer in self._known if offer.worker != self._worker)

    def _run(self) -> None:
        while not self._ended.wait(self._every_seconds):
            self._turn()

    def _turn(self) -> None:
        try:
            self._offers.make(self.offer)
            self._known = self._offers.all()
            self.withheld = withheld(self._known)
        except redis.RedisError as error:
            if not passes(error):
                raise
            log.warning("Redis: %s", error)
