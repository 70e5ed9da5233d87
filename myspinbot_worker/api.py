"""HTTP for operators and orchestrators: ``/health``, ``/ready``, ``/metrics``. Served by the ingestor.

``/health`` answers whether this process lives: its loops turn. ``/ready`` answers whether it can do its work:
Redis and object storage are reachable too. Both say 503 and why when they cannot.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from . import __version__
from .errors import StorageError
from .farm import Farm
from .redis_clients import BLOCK_SECONDS, TRANSIENT

log = logging.getLogger(__name__)

Check = Callable[[], str]
"""Says what is wrong; an empty string if nothing is."""


def build_app(registry: CollectorRegistry, alive: dict[str, Check], ready: dict[str, Check]) -> FastAPI:
    """The app.

    Args:
        alive: What ``/health`` asks.
        ready: What ``/ready`` asks besides.
    """
    app = FastAPI(title="myspinbot-worker", version=__version__)

    def answer(checks: dict[str, Check]) -> Response:
        found = {name: check() or "ok" for name, check in checks.items()}
        good = all(state == "ok" for state in found.values())
        body: dict[str, Any] = {
            "status": "ok" if good else "failing",
            "version": __version__,
            "checks": found,
        }
        return JSONResponse(body, status_code=200 if good else 503)

    @app.get("/health", summary="Whether this process lives")
    def health() -> Response:
        return answer(alive)

    @app.get("/ready", summary="Whether this process can do its work")
    def is_ready() -> Response:
        return answer({**alive, **ready})

    @app.get("/metrics", summary="Prometheus metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def beating(last: Callable[[], float], most_seconds: float) -> Check:
    """A check that a loop turned within ``most_seconds``.

    Args:
        last: When it last did, on the monotonic clock.
    """

    def check() -> str:
        silent = time.monotonic() - last()
        return "" if silent <= most_seconds else f"no turn for {silent:.0f} s"

    return check


def loop_patience(period_seconds: float) -> float:
    """How long a loop with the given period may be silent before it counts as dead."""
    return 10 * period_seconds + 5 * BLOCK_SECONDS


def redis_check(farm: Farm) -> Check:
    def check() -> str:
        try:
            farm.client.ping()
            return ""
        except TRANSIENT as error:
            return f"{type(error).__name__}: {error}"

    return check


def storage_check(farm: Farm) -> Check:
    def check() -> str:
        try:
            farm.storage.check()
            return ""
        except StorageError as error:
            return error.message

    return check


class ApiServer:
    """The app on a thread of its own; the process' signals stay with the main thread.

    Raises:
        OSError: The address cannot be listened on.
    """

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False)
        # Bound here, so that a taken port stops the process at its start and not in a thread.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self.address = f"http://{host}:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="api", daemon=True
        )

    def __enter__(self) -> ApiServer:
        self._thread.start()
        log.info("listening on %s", self.address)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
