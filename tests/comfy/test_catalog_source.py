"""Catalogs from files and servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from myspinbot_worker.comfy.catalog_source import catalog_from_file, catalog_from_url
from myspinbot_worker.errors import ConfigError, EngineUnavailable
from tests.comfy.catalogs import CATALOG

ANSWERS = {
    "/object_info": (200, json.dumps(CATALOG).encode()),
    "/page/object_info": (200, b"<html>"),
    "/other/object_info": (200, b'{"error": "x"}'),
    "/proxy/object_info": (502, b""),
}


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = ANSWERS.get(self.path, (404, b""))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_of_a_server(server: str) -> None:
    assert catalog_from_url(server) == catalog_from_url(f"{server}/object_info/") == CATALOG
    for path, said in (
        ("/page", "not JSON"),
        ("/other", "not a catalog"),
        ("/proxy", "answered 502"),
        ("/x", "answered 404"),
    ):
        with pytest.raises(EngineUnavailable, match=said):
            catalog_from_url(server + path)
    with pytest.raises(EngineUnavailable, match="cannot reach ComfyUI"):
        catalog_from_url("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x", "127.0.0.1:8188", "http://", "http://x:y", ""]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="--url: expected http"):
        catalog_from_url(url)


def test_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "object_info.json"
    file.write_text(json.dumps(CATALOG))
    assert catalog_from_file(file) == CATALOG
    for content, said in (
        (b"{", "line 1, column 2"),
        (b"\xff", "UTF-8"),
        (b"[]", "not a catalog"),
        (b"{}", "not a catalog"),
        (b'{"A": []}', "not a catalog"),
        (b"[" * 100_000, "nested too deeply"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=said):
            catalog_from_file(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        catalog_from_file(tmp_path / "none")
