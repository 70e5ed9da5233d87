"""The ingestor process: the loop, its reconciler, its HTTP server, its signals."""

from __future__ import annotations

import logging
import signal
from types import FrameType
from typing import TYPE_CHECKING

from .api import ApiServer, beating, loop_patience, redis_check, storage_check, withheld_services
from .farm import Farm
from .ingestor import Ingestor
from .keys import QUEUES
from .metrics import FarmCollector, IngestorMetrics, new_registry
from .redis_clients import BLOCK_SECONDS

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)


def serve(farm: Farm) -> None:
    """Run an ingestor until SIGTERM or SIGINT.

    Raises:
        OSError: The HTTP address is taken.
    """
    settings = farm.settings
    token = settings.server.token.get_secret_value()
    registry = new_registry()
    ingestor = Ingestor(farm, IngestorMetrics(registry))
    registry.register(FarmCollector(farm.store, farm.broker, QUEUES))

    def app() -> FastAPI:
        from .pages import build_app

        return build_app(
            registry,
            alive={
                "loop": beating(lambda: ingestor.beat, loop_patience(BLOCK_SECONDS)),
                "reconciler": beating(
                    lambda: ingestor.reconciler.beat, loop_patience(settings.farm.reconcile_seconds)
                ),
            },
            ready={"redis": redis_check(farm), "storage": storage_check(farm)},
            token=token,
            secrets=farm.secrets,
            withheld=withheld_services(farm),
        )

    def stop(number: int, frame: FrameType | None) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        ingestor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with ApiServer(app, settings.server.host, settings.server.port, token):
        ingestor.run()
