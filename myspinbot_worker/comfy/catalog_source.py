"""Where a catalog comes from when there is no engine: a file, or a ComfyUI server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..config_values import masked_url
from ..errors import ConfigError, EngineUnavailable
from .engine import Catalog

MAX_BYTES = 128 * 1024 * 1024
"""Largest catalog that is read; core has 700 kB, a ComfyUI with a hundred packs some ten MB."""

_TIMEOUT_SECONDS = 30.0


def catalog_from_file(path: Path) -> Catalog:
    """A catalog as ``/object_info`` gives it, saved to a file.

    Raises:
        ConfigError: It cannot be read, or is not one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return _catalog(data)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def catalog_from_url(url: str) -> Catalog:
    """The catalog of a ComfyUI server.

    Args:
        url: The server, or its ``/object_info``.

    Raises:
        ConfigError: It is no http or https address.
        EngineUnavailable: It cannot be reached, or answers something else.
    """
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError("--url: expected http://host:port or https://host:port")
    where = url.rstrip("/") if url.rstrip("/").endswith("/object_info") else url.rstrip("/") + "/object_info"
    try:
        # The scheme is one of two, asked above.
        with urllib.request.urlopen(where, timeout=_TIMEOUT_SECONDS) as answer:  # nosec B310
            return _catalog(answer.read(MAX_BYTES + 1))
    except urllib.error.HTTPError as error:
        raise EngineUnavailable(f"{masked_url(where)} answered {error.code} {error.reason}") from None
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise EngineUnavailable(f"cannot reach ComfyUI at {masked_url(where)}: {reason}") from None
    except ValueError as error:
        raise EngineUnavailable(f"{masked_url(where)}: {error}") from None


def _catalog(data: bytes) -> Catalog:
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    try:
        found: Any = json.loads(data)
    except UnicodeDecodeError:
        raise ValueError("expected UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    is_catalog = isinstance(found, dict) and bool(found)
    if not is_catalog or not all(isinstance(info, dict) and "input" in info for info in found.values()):
        raise ValueError("not a catalog: expected what ComfyUI's /object_info answers")
    catalog: Catalog = found
    return catalog
