"""The metrics middleware: every worker process serves its own ``/metrics``."""

from __future__ import annotations

import logging
from threading import Thread
from wsgiref.simple_server import WSGIServer

import dramatiq
from prometheus_client import CollectorRegistry, start_http_server

log = logging.getLogger(__name__)

_PORTS_TRIED = 64


class MetricsServer(dramatiq.Middleware):
    """Serves on the first free port from ``port`` on, since one command may run several processes.

    Args:
        port: 0 serves nothing.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self._host, self._port, self._registry = host, port, registry
        self._running: tuple[WSGIServer, Thread] | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._port == 0:
            return
        for port in range(self._port, min(self._port + _PORTS_TRIED, 65536)):
            try:
                self._running = start_http_server(port, self._host, registry=self._registry)
            except OSError:
                continue
            log.info("metrics on http://%s:%d/metrics", self._host, port)
            return
        log.error("no free port for metrics from %d on", self._port)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
