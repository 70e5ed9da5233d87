"""What a running attempt tells the farm by way of Redis. A Redis that is away for a while fails no task."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import redis

from .farm import Farm
from .graph.transitions import Claim
from .metrics import WorkerMetrics
from .redis_clients import passes
from .supervision import Wire

log = logging.getLogger(__name__)


class Reports:
    """Of one attempt.

    Attributes:
        kept: Whether it kept a step that was not there before.
        uploaded: Whether it may have written an object.
    """

    def __init__(self, farm: Farm, metrics: WorkerMetrics, claim: Claim) -> None:
        self._farm = farm
        self._metrics = metrics
        self._claim = claim
        self.kept = False
        self.uploaded = False

    def wire(self) -> Wire:
        return Wire(
            renew=self._renew,
            kept=self._keep,
            publish=self._publish,
            uploads=self._upload,
            moved=self._metrics.moved,
            node_times=self._record_node_times,
            looked_up=self._metrics.looked_up,
            known=self._farm.reuse_index.find,
        )

    def _renew(self, fraction: float | None) -> str:
        claim = self._claim
        with _redis_may_be_away():
            # Told again each time: the renewal that was to tell it first may have met a Redis that was away.
            return self._farm.store.renew(claim.ref, claim.token, fraction, kept=self.kept)
        return "ok"

    def _keep(self) -> str:
        self.kept = True
        return self._renew(None)

    def _upload(self) -> None:
        self.uploaded = True

    def _publish(self, text: str) -> None:
        with _redis_may_be_away():
            self._farm.store.publish_data(self._claim.ref, self._claim.token, text)

    def _record_node_times(self, seconds: Mapping[str, float]) -> None:
        with _redis_may_be_away():
            self._farm.node_times.record(seconds)


def node_times(farm: Farm) -> Mapping[str, float]:
    """How long ComfyUI's node classes took (s); a hint, and no Redis is waited for to have it."""
    with _redis_may_be_away():
        return farm.node_times.read()
    return {}


def say_redis_is_away(error: Exception) -> None:
    log.warning("Redis: %s", error)


@contextmanager
def _redis_may_be_away() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        if not passes(error):
            raise
        say_redis_is_away(error)
