"""What the value of a setting must look like, as annotated types.

Every check says in plain words what was expected and never quotes the value: some of them are secrets.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

BAD_URL = (
    "expected redis://, rediss:// or unix:// with a valid host, port and database number"
    " (a password's special characters must be percent-encoded)"
)
BAD_ENDPOINT = "expected host or host:port, optionally with http:// or https:// in front"


def _redis_url(url: str) -> str:
    # urlsplit's own messages quote the URL, and with it the password.
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(BAD_URL) from None
    # The path is a database number, but for unix://, where it is the socket.
    path = {"redis": r"(/[0-9]*)?", "rediss": r"(/[0-9]*)?", "unix": r"/.+"}.get(url.partition("://")[0])
    fits = path is not None and re.fullmatch(path, parts.path) is not None
    if not fits or not port_fits or parts.fragment or re.search(r"\s", url):
        raise ValueError(BAD_URL)
    return url


def _endpoint(endpoint: str) -> str:
    try:
        parts = urlsplit("//" + endpoint)
        fits = bool(parts.hostname) and parts.port != 0 and parts.netloc == endpoint
    except ValueError:
        fits = False
    if not fits or "@" in endpoint or re.search(r"\s", endpoint):
        raise ValueError(BAD_ENDPOINT)
    return endpoint


def _comma_separated(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _bucket_names(names: tuple[str, ...]) -> tuple[str, ...]:
    fits = all(re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name) for name in names)
    if not fits or not names or len(set(names)) != len(names):
        raise ValueError(
            "expected different bucket names (3 to 63 of a-z, 0-9, dot, hyphen), comma-separated"
        )
    return names


def _module_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError("expected names of Python modules, comma-separated")
    return names


def _words(value: Any) -> Any:
    """Words as a shell would see them."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    try:
        return tuple(shlex.split(value))
    except ValueError:
        raise ValueError("expected arguments as in a shell, with their quotes closed") from None


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment or re.search(r"\s", url):
        raise ValueError("expected http://host:port or https://host:port")
    return url.rstrip("/")


def _class_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(name.isprintable() for name in names):
        raise ValueError("expected names of node classes, comma-separated")
    return names


def _token(token: SecretStr) -> SecretStr:
    # What an HTTP header can carry, and too long to be guessed.
    if token.get_secret_value() and not re.fullmatch(r"[!-~]{16,}", token.get_secret_value()):
        raise ValueError("expected at least 16 characters, ASCII and without blanks")
    return token


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("expected a path")
    return value


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("expected a path (the home folder is not known)") from None


def masked_url(url: str) -> str:
    """``url`` with ``***`` for its password, wherever it stands."""
    url = re.sub(r"://([^:/?#]*):[^/?#]*@", r"://\1:***@", url)
    return re.sub(r"([?&][^=&]*pass[^=&]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


# A blank within a name is a slip of the pen, and one at its end cannot be seen.
Name = Annotated[str, Field(pattern=r"^\S+$")]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Token = Annotated[SecretStr, AfterValidator(_token)]
Port = Annotated[int, Field(ge=0, le=65535)]
Folder = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_absolute)]
Folders = Annotated[tuple[Folder, ...], BeforeValidator(_comma_separated)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Buckets = Annotated[tuple[str, ...], BeforeValidator(_comma_separated), AfterValidator(_bucket_names)]
Modules = Annotated[tuple[str, ...], BeforeValidator(_comma_separated), AfterValidator(_module_names)]
Services = Annotated[tuple[Annotated[str, Field(pattern=r"^\S+$")], ...], BeforeValidator(_comma_separated)]
ClassNames = Annotated[tuple[str, ...], BeforeValidator(_comma_separated), AfterValidator(_class_names)]
