"""A ComfyUI server's HTTP interface: every answer is bounded and looked at, every failure is one clear sentence."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from ..errors import BadOutput
from .events import ReportedFile

_CONNECT_SECONDS = 5.0
_SILENT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_LARGEST_ANSWER = 64 * 1024 * 1024
_CHUNK = 256 * 1024
_AWAY = frozenset({502, 503, 504})

# At level DEBUG websockets logs a handshake's headers, and with them the credentials.
_socket_log = logging.getLogger(f"{__name__}.socket")
_socket_log.setLevel(logging.WARNING)


class Away(Exception):
    """The server cannot be reached now; it may come back."""


class BadAnswer(Exception):
    """The server, or whatever is in its place, does not answer as ComfyUI does.

    Args:
        is_lasting: The same question will get the same answer.
    """

    def __init__(self, sentence: str, *, is_lasting: bool = False) -> None:
        super().__init__(sentence)
        self.is_lasting = is_lasting


class Stopped(Exception):
    """Whoever wanted the transfer has no use for it any more."""


class Server:
    """A ComfyUI server; safe to use from several threads.

    Args:
        url: ``http(s)://[user:password@]host[:port][/path]``; nothing shows its credentials.
    """

    def __init__(self, url: str) -> None:
        given = httpx.URL(url)
        self._url = given.copy_with(userinfo=b"", query=None, fragment=None)
        self._headers: dict[str, str] = {}
        if given.userinfo:
            pair = f"{given.username}:{given.password}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self.name = f"ComfyUI at {str(self._url).rstrip('/')}"
        self._client = httpx.Client(
            base_url=self._url,
            headers=self._headers,
            transport=httpx.HTTPTransport(retries=1),
            timeout=httpx.Timeout(_SILENT_SECONDS, connect=_CONNECT_SECONDS),
        )

    def get(self, path: str, seconds: float = _SILENT_SECONDS) -> Mapping[str, Any]:
        """An object.

        Args:
            seconds: Longest silence of the server.

        Raises:
            Away: It cannot be reached, or fell silent.
            BadAnswer: The answer is not an object.
        """
        with self._asked("GET", path, seconds) as answer:
            return self._object(answer, path)

    def post(
        self, path: str, body: Mapping[str, Any], seconds: float = _SILENT_SECONDS
    ) -> tuple[int, Mapping[str, Any]]:
        """The status (200 or 400) and the object answered, empty where there is no body. Raises as :meth:`get`."""
        with self._asked("POST", path, seconds, allowed=(400,), json=body) as answer:
            return answer.status_code, self._object(answer, path, empty=True)

    def upload(self, path: Path, subfolder: str, name: str, stop: threading.Event) -> str:
        """Put a file among the server's inputs; how prompts name it. Raises as :meth:`get`, and Stopped."""
        with path.open("rb") as file:
            form = {"subfolder": subfolder, "overwrite": "true", "type": "input"}
            files = {"image": (name, _Stoppable(file, stop))}
            with self._asked("POST", "upload/image", _SILENT_SECONDS, data=form, files=files) as answer:
                said = self._object(answer, "upload/image")
        name, subfolder = said.get("name", 0), said.get("subfolder", "")
        if not isinstance(name, str) or not isinstance(subfolder, str):
            raise BadAnswer(f"{self.name} does not say what it called an uploaded file")
        return f"{subfolder}/{name}" if subfolder else name

    def download(self, item: ReportedFile, target: Path, most: int, stop: threading.Event) -> None:
        """Copy an output's file into ``target``.

        Args:
            most: Largest size (bytes).

        Raises:
            BadOutput: The file does not exist, or is larger.
            Away, BadAnswer, Stopped: As :meth:`upload`.
        """
        asked = {"filename": item.name, "subfolder": item.subfolder, "type": item.place}
        named = f"node {item.node!r} names a file"
        with self._asked("GET", "view", _SILENT_SECONDS, allowed=(404,), params=asked) as answer:
            if answer.status_code == 404:
                raise BadOutput(f"{named} that does not exist: {item.subfolder}/{item.name}")
            size = 0
            with target.open("wb") as file:
                for chunk in answer.iter_bytes(_CHUNK):
                    size += len(chunk)
                    if size > most:
                        raise BadOutput(f"{named} larger than {most} bytes: {item.subfolder}/{item.name}")
                    if stop.is_set():
                        raise Stopped
                    file.write(chunk)

    def listen(self, client: str) -> ClientConnection:
        """A socket that hears the events of ``client``. Raises as :meth:`get`."""
        scheme = "wss" if self._url.scheme == "https" else "ws"
        path = self._url.path.rstrip("/") + "/ws"
        try:
            return connect(
                str(self._url.copy_with(scheme=scheme, path=path, query=f"clientId={client}".encode())),
                additional_headers=self._headers,
                open_timeout=_CONNECT_SECONDS,
                close_timeout=1.0,
                max_size=_LARGEST_ANSWER,
                logger=_socket_log,
            ).__enter__()
        except (OSError, WebSocketException, EOFError, ValueError) as error:
            raise Away(f"{self.name} gives no socket: {_why(error)}") from None

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    @contextmanager
    def _asked(
        self, method: str, path: str, seconds: float, *, allowed: tuple[int, ...] = (), **request: Any
    ) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
        try:
            with self._client.stream(method, path, timeout=timeout, **request) as answer:
                if answer.status_code != 200 and answer.status_code not in allowed:
                    raise self._refused(answer.status_code, path)
                yield answer
        except (httpx.TransportError, httpx.StreamError) as error:
            raise Away(f"{self.name} cannot be reached: {_why(error)}") from None
        except httpx.DecodingError:
            raise BadAnswer(f"{self.name} answers /{path} with something broken") from None

    def _refused(self, status: int, path: str) -> Exception:
        if status in _AWAY:
            return Away(f"{self.name} is away: HTTP {status} for /{path}")
        if status in (401, 403):
            return BadAnswer(
                f"{self.name} does not let the worker in: HTTP {status} for /{path}", is_lasting=True
            )
        if status == 413:
            return BadAnswer(
                f"{self.name} takes no file so large (its --max-upload-size): HTTP 413", is_lasting=True
            )
        if 300 <= status < 400:
            return BadAnswer(
                f"{self.name} sends /{path} elsewhere: HTTP {status}, which is not followed", is_lasting=True
            )
        return BadAnswer(f"{self.name} answers /{path} with HTTP {status}")

    def _object(self, answer: httpx.Response, path: str, empty: bool = False) -> Mapping[str, Any]:
        body = bytearray()
        ends = time.monotonic() + _ANSWER_SECONDS
        for chunk in answer.iter_bytes(_CHUNK):
            body += chunk
            if len(body) > _LARGEST_ANSWER:
                raise BadAnswer(f"{self.name} answers /{path} with more than {_LARGEST_ANSWER} bytes")
            if time.monotonic() > ends:
                raise Away(f"{self.name} answers /{path} too slowly")
        if empty and not body:
            return {}
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise BadAnswer(f"{self.name} answers /{path} with something that is not JSON") from None
        if not isinstance(found, dict):
            raise BadAnswer(f"{self.name} answers /{path} with something that is not an object")
        return found


class _Stoppable:
    """A file that ends an upload nobody waits for any more."""

    def __init__(self, file: Any, stop: threading.Event) -> None:
        self._file, self._stop = file, stop

    def read(self, size: int = -1) -> Any:
        if self._stop.is_set():
            raise Stopped
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _why(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
