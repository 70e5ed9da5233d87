"""The pages of :mod:`.api`; imported where they are served, for the ingestor can begin without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from . import __version__
from .http_token import CHALLENGE, REFUSAL, may_read
from .redaction import redact_text

Check = Callable[[], str]
"""Says what is wrong; an empty string if nothing is."""


def build_app(
    registry: CollectorRegistry,
    alive: dict[str, Check],
    ready: dict[str, Check],
    *,
    token: str = "",
    secrets: Sequence[str] = (),
    withheld: Callable[[], Mapping[str, str]] = dict,
) -> FastAPI:
    """The app.

    Args:
        alive: What ``/health`` asks.
        ready: What ``/ready`` asks besides.
        token: What every page but these two asks for; empty: nothing.
        secrets: Values that no answer shows, whatever a check quotes.
        withheld: Services that no worker can run → why; ``/ready`` tells, and does not fail for it.
    """
    # No pages that describe the pages: they load their scripts from elsewhere.
    app = FastAPI(title="myspinbot-worker", version=__version__, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def ask_for_token(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        if may_read(request.url.path, request.headers.get("authorization", ""), token):
            return await call(request)
        return JSONResponse({"error": REFUSAL}, status_code=401, headers=CHALLENGE)

    def answer(checks: dict[str, Check], **more: Any) -> Response:
        found = {name: redact_text(check(), secrets) or "ok" for name, check in checks.items()}
        good = all(state == "ok" for state in found.values())
        body: dict[str, Any] = {
            "status": "ok" if good else "failing",
            "version": __version__,
            "checks": found,
            **more,
        }
        return JSONResponse(body, status_code=200 if good else 503)

    @app.get("/health", summary="Whether this process lives")
    def health() -> Response:
        return answer(alive)

    @app.get("/ready", summary="Whether this process can do its work")
    def is_ready() -> Response:
        lacking = {service: redact_text(why, secrets) for service, why in withheld().items()}
        return answer({**alive, **ready}, withheld=lacking)

    @app.get("/metrics", summary="Prometheus metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app
