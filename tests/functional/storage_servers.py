"""Servers for the tests of storage: a real one, a proxy that cuts connections, one that answers as it is told."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.storage import Storage, StorageConfig

BUCKETS = ("input", "staged", "output")
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3") / "data", buckets=BUCKETS) as made:
        yield made


@pytest.fixture
def config(server: EmbeddedS3) -> StorageConfig:
    return StorageConfig(server.endpoint, server.access_key, server.secret_key, False, BUCKETS)


@pytest.fixture
def storage(config: StorageConfig, server: EmbeddedS3) -> Iterator[Storage]:
    made = Storage(config)
    yield made
    server.start()
    for bucket in BUCKETS:
        for key in made.list_keys(bucket):
            made.remove(bucket, key)
    made.close()


@contextmanager
def cutting_proxy(upstream: int, answer_bytes: int) -> Iterator[int]:
    """Forward each connection, but cut it after so many bytes of the answers."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        try:
            while data := source.recv(65536):
                if limit is not None:
                    data, limit = data[:limit], limit - len(data)
                sink.sendall(data)
                if limit is not None and limit <= 0:
                    break
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    pumps: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", upstream))
            sockets.extend((client, server))
            for ends in ((client, server, None), (server, client, answer_bytes)):
                pumps.append(threading.Thread(target=pump, args=ends))
                pumps[-1].start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for pumping in pumps:
            pumping.join()
        for end in sockets:
            end.close()


@dataclass
class Script:
    """What a scripted server answers, the last answer again and again; and what it was asked."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[str] = field(default_factory=list)


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[Storage, Script]]:
    script = Script(list(answers))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            script.asked.append(f"{self.command} {self.path}")
            status, headers, body = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            self.send_response(status)
            if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
                self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # Closing the server then waits for the threads of its connections.
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    config = StorageConfig(
        f"127.0.0.1:{server.server_port}", "access", "the-secret-key", False, ("input",), "us-east-1"
    )
    storage = Storage(config, retries=2, read_timeout=0.5)
    try:
        yield storage, script
    finally:
        storage.close()
        server.shutdown()
        server.server_close()
        thread.join()


def xml_error(status: int, code: str, message: str = "") -> tuple[int, dict[str, str], bytes]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, {"Content-Type": "application/xml"}, body.encode()
