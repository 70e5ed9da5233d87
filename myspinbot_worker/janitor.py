"""Removes what attempts without a result left in storage; one thread of each ingestor, safe in parallel."""

from __future__ import annotations

import logging
import threading
import time

import redis

from .errors import FarmError
from .farm import Farm
from .litter import Litter, clear
from .redis_clients import passes

log = logging.getLogger(__name__)

_PAGE = 100
_LOOK_SECONDS = 5.0


class Janitor:
    """Looks every few seconds.

    Attributes:
        beat: When it last looked, on the monotonic clock (s).
    """

    def __init__(self, farm: Farm, stopping: threading.Event) -> None:
        self._farm = farm
        self._stopping = stopping
        self.beat = time.monotonic()

    def run(self) -> None:
        """Look until stopped; what cannot be removed now is tried again."""
        period = min(_LOOK_SECONDS, self._farm.settings.farm.reconcile_seconds)
        while not self._stopping.wait(period):
            self.beat = time.monotonic()
            try:
                self.look()
            except FarmError as error:
                log.warning("objects of attempts without a result stay for now: %s", error.message)
            except redis.RedisError as error:
                if not passes(error):
                    raise
                log.warning("Redis: %s", error)

    def look(self) -> None:
        """Clear every folder that is due.

        Raises:
            StorageError: Storage refused or cannot be reached.
        """
        store = self._farm.store
        for text in store.due_litter(_PAGE):
            if self._stopping.is_set():
                return
            self.beat = time.monotonic()
            clear(self._farm.storage, Litter.parse(text))
            store.forget_litter(text)
