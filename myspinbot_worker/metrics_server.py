"""The metrics middleware: every worker process serves its own ``/metrics``."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import dramatiq
from prometheus_client import CollectorRegistry, make_wsgi_app

from .http_token import CHALLENGE, REFUSAL, exposure, may_read

log = logging.getLogger(__name__)

_PORTS_TRIED = 64

Page = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application."""


class MetricsServer(dramatiq.Middleware):
    """Serves on the first free port from ``port`` on, since one command may run several processes.

    Args:
        port: 0 serves nothing.
        token: What a request must bring along; empty: nothing. :func:`ask_for_token` sets it later.
    """

    def __init__(  # nosec B107
        self, host: str, port: int, registry: CollectorRegistry, token: str = ""
    ) -> None:
        self._host, self._port, self._registry = host, port, registry
        self.token = token
        self._running: tuple[WSGIServer, Thread] | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._port == 0:
            return
        page = guarded(make_wsgi_app(self._registry), self.token)
        for port in range(self._port, min(self._port + _PORTS_TRIED, 65536)):
            try:
                server = make_server(self._host, port, page, _server_class(self._host), _Quiet)
            except OSError:
                continue
            thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
            thread.start()
            self._running = server, thread
            log.info("metrics on http://%s:%d/metrics", self._host, port)
            if warning := exposure(self._host, self.token):
                log.warning("metrics: %s", warning)
            return
        log.error("no free port for metrics from %d on", self._port)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()


def ask_for_token(broker: dramatiq.Broker, token: str) -> None:
    """Make the metrics server of a broker's worker ask for a token."""
    for middleware in broker.middleware:
        if isinstance(middleware, MetricsServer):
            middleware.token = token


def guarded(page: Page, token: str) -> Page:
    """``page`` for those who bring the token along."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # Whatever path is asked for, the answer is the metrics.
        if may_read("/metrics", environ.get("HTTP_AUTHORIZATION", ""), token):
            return page(environ, start_response)
        headers = {"Content-Type": "application/json", **CHALLENGE}
        start_response("401 Unauthorized", list(headers.items()))
        return [json.dumps({"error": REFUSAL}).encode()]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    """One slow reader holds up no other."""

    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server_class(host: str) -> type[WSGIServer]:
    return _Server6 if ":" in host else _Server


class _Quiet(WSGIRequestHandler):
    """Says nothing of each request; gives up a client that sends none."""

    timeout = 30

    def log_message(self, format: str, *args: object) -> None:
        pass
