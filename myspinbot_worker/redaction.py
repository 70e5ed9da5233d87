"""Makes what an error says fit for a graph, a log or a dead letter: JSON, of bounded size, without secrets."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable
from typing import Any

MAX_TEXT = 2_000
MAX_LOG_RECORD = 50_000
MAX_ITEMS = 50
MAX_DEPTH = 6
_LARGEST = 10**300
"""Beyond it Python may refuse to write a number down."""

_CREDENTIAL_WORDS = r"(?:secret|password|passwd|token|api[_-]?key|access[_-]?key|authorization)"
# A name like a credential's, perhaps in quotes, then `=` or `:`, then the value. Bounded repetitions keep it linear.
_CREDENTIALS = re.compile(
    rf"(?i)({_CREDENTIAL_WORDS}[\w-]{{0,20}}[\"']?\s{{0,3}}[=:]\s{{0,3}})"
    r"(?:(?:bearer|basic)\s+)?(?:\"[^\"]*\"|'[^']*'|[^\s,;}\]]+)"
)
_CREDENTIAL_NAME = re.compile(rf"(?i){_CREDENTIAL_WORDS}")
_URL_PASSWORD = re.compile(r"(://[^/\s:@]{0,200}:)[^/\s@]+(@)")
_HIDDEN = "***"


def redact(value: Any, secrets: Iterable[str] = ()) -> Any:
    """``value`` as JSON data that may be shown.

    What is not JSON becomes text; texts and collections are cut at a bounded size; the given secrets,
    passwords in URLs, and values named like credentials become ``***``.

    Args:
        secrets: Values that must not be shown, wherever they stand.
    """
    # The longer first: one secret may begin with another.
    return _redacted(value, sorted(filter(None, secrets), key=len, reverse=True), MAX_DEPTH)


def _redacted(value: Any, secrets: list[str], depth: int) -> Any:
    if isinstance(value, dict | list | tuple) and depth == 0:
        return "…"
    if isinstance(value, dict):
        return {
            redact_text(told(name), secrets): (
                _HIDDEN
                if _CREDENTIAL_NAME.search(told(name)) and isinstance(item, str)
                else _redacted(item, secrets, depth - 1)
            )
            for name, item in list(value.items())[:MAX_ITEMS]
        }
    if isinstance(value, list | tuple):
        return [_redacted(item, secrets, depth - 1) for item in value[:MAX_ITEMS]]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < _LARGEST:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return redact_text(told(value), secrets)


def redact_text(text: str, secrets: Iterable[str] = (), most: int = MAX_TEXT) -> str:
    """One text without secrets, cut at a bounded length, fit for UTF-8."""
    text = text.encode("utf-8", "backslashreplace").decode()
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    if len(text) > most:
        text = text[:most] + "…"
    return _CREDENTIALS.sub(rf"\1{_HIDDEN}", _URL_PASSWORD.sub(rf"\1{_HIDDEN}\2", text))


def told(value: object) -> str:
    """``str(value)``, or the type's name where that fails or an error has nothing to say."""
    if isinstance(value, str):
        return value
    try:
        return str(value) or type(value).__name__
    except Exception:  # noqa: BLE001 - whatever it is that cannot even say its name
        return type(value).__name__


class RedactingFormatter(logging.Formatter):
    """Another formatter's lines without secrets.

    Args:
        inner: Makes the lines, tracebacks included.
    """

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(self._inner.format(record), self._secrets, MAX_LOG_RECORD)


def redact_logs(secrets: Iterable[str]) -> None:
    """Keep secrets out of whatever the root logger's handlers write from now on."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(RedactingFormatter(handler.formatter or logging.Formatter(), secrets))
