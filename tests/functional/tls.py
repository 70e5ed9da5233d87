"""Certificates, and servers that speak TLS: S3 by itself, Redis behind a relay (the embedded build has no TLS)."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from myspinbot_worker.embedded import EmbeddedS3


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test's own, and what it vouches for: 127.0.0.1 and localhost."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("certificates are made with the openssl command, which is not here")
        folder.mkdir()
        ca, ca_key, key, request, certificate, extensions = (
            folder / name
            for name in ("ca.pem", "ca.key", "server.key", "server.csr", "server.pem", "ext.cnf")
        )
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        commands: list[tuple[str | Path, ...]] = [
            ("req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=test authority"),
            ("req", "-new", *curve, "-keyout", key, "-out", request, "-subj", "/CN=localhost"),
            ("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
             "-extfile", extensions, "-out", certificate),
        ]  # fmt: skip
        for command in commands:
            subprocess.run([openssl, *map(str, command)], check=True, capture_output=True, timeout=30)
        return cls(ca, certificate, key)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that vouches for none of the servers."""
    return Authority.make(tmp_path_factory.mktemp("tls") / "stranger")


class EmbeddedTlsS3(EmbeddedS3):
    """rclone's S3 server over HTTPS."""

    def __init__(self, directory: Path, authority: Authority, *, buckets: tuple[str, ...]) -> None:
        super().__init__(directory, buckets=buckets)
        self._authority = authority

    def _arguments(self, port: int) -> list[str]:
        tls = ["--cert", str(self._authority.certificate), "--key", str(self._authority.key)]
        return [*super()._arguments(port), *tls]

    def _answers(self, port: int, pid: int) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return f"Starting s3 server on [https://127.0.0.1:{port}/]" in self._tail(self._started_at)
        return False


@contextmanager
def tls_relay(upstream: int, authority: Authority) -> Iterator[int]:
    """Take TLS off each connection and hand it on to a port of this machine, as stunnel does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    ends: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def relay(client: socket.socket) -> None:
        try:
            client.settimeout(10)
            outside = context.wrap_socket(client, server_side=True)
            outside.settimeout(None)
        except OSError:
            client.close()
            return
        inside = socket.create_connection(("127.0.0.1", upstream))
        ends.extend((outside, inside))
        back = threading.Thread(target=pump, args=(inside, outside))
        threads.append(back)
        back.start()
        pump(outside, inside)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threads.append(threading.Thread(target=relay, args=(client,)))
                threads[-1].start()

    accepting = threading.Thread(target=serve)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in list(threads):
            thread.join()
        for end in ends:
            end.close()
