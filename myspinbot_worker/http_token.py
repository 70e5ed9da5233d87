"""The bearer token that metrics and operators' pages ask for, and who can reach a server at all."""

from __future__ import annotations

import hmac
import ipaddress

OPEN_PATHS = frozenset({"/health", "/ready"})
"""What orchestrators ask without a token: whether a process lives and can work, and no more."""

REFUSAL = "this page asks for the token of the setting server.token: send 'Authorization: Bearer <token>'"
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="myspinbot-worker"'}


def may_read(path: str, authorization: str, token: str) -> bool:
    """Whether a request may be answered; how long this takes tells nothing of the token.

    Args:
        path: The request's path, decoded.
        authorization: The request's ``Authorization`` header; empty if there is none.
        token: The token asked for; empty: none.
    """
    if not token or path in OPEN_PATHS:
        return True
    scheme, _, given = authorization.partition(" ")
    # Headers arrive as Latin-1; what cannot be written in it is no token either.
    sent = given.strip(" ").encode("latin-1", "replace")
    return hmac.compare_digest(sent, token.encode()) and scheme.lower() == "bearer"


def exposure(host: str, token: str) -> str:
    """What to warn an operator of who lets a server listen on ``host``; empty if there is nothing."""
    if token or _is_loopback(host):
        return ""
    return f"{host} may be reached from other machines and no token is asked for: set FARM_SERVER_TOKEN"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
