"""HTTP for operators and orchestrators: ``/health``, ``/ready``, ``/metrics``. Served by the ingestor.

``/health`` answers whether this process lives: its loops turn. ``/ready`` answers whether it can do its work:
Redis and object storage are reachable too. Both say 503 and why when they cannot. Everything but these two asks
for the token of ``server.token``, where there is one.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import redis

from .errors import StorageError
from .farm import Farm
from .http_token import exposure
from .offers import withheld
from .redis_clients import BLOCK_SECONDS

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from .pages import Check

log = logging.getLogger(__name__)


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
            # A full Redis and a replica answer, and refuse to write.
            farm.client.set(farm.store.keys.probe, "", px=1)
            return ""
        except redis.RedisError as error:
            return f"{type(error).__name__}: {error}"

    return check


def withheld_services(farm: Farm) -> Callable[[], Mapping[str, str]]:
    """What ``/ready`` tells of services that no worker can run; nothing while Redis is away, which it tells too."""

    def look() -> Mapping[str, str]:
        try:
            return withheld(farm.offers.all())
        except redis.RedisError:
            return {}

    return look


def storage_check(farm: Farm) -> Check:
    def check() -> str:
        try:
            farm.storage.check()
            return ""
        except StorageError as error:
            return error.message

    return check


class ApiServer:
    """The pages on a thread of their own; the process' signals stay with the main thread.

    The libraries that serve them are imported on that thread: they take as long as all else that an ingestor needs.

    Args:
        make_app: Called there.
        token: What the app asks for; without one a warning is logged where others can reach the address.

    Raises:
        OSError: The address cannot be listened on.
    """

    def __init__(  # nosec B107
        self, make_app: Callable[[], FastAPI], host: str, port: int, token: str = ""
    ) -> None:
        self._exposure = exposure(host, token)
        self._make_app = make_app
        # Bound here, so that a taken port stops the process at its start and not in a thread; who asks early waits.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self.address = f"http://{host}:{self._socket.getsockname()[1]}"
        self._stopping = threading.Event()
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)

    def _serve(self) -> None:
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(self._make_app(), log_config=None, access_log=False))
        self._server = server
        if not self._stopping.is_set():
            server.run(sockets=[self._socket])

    def __enter__(self) -> ApiServer:
        self._thread.start()
        log.info("listening on %s", self.address)
        if self._exposure:
            log.warning("metrics: %s", self._exposure)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()
        self._socket.close()
