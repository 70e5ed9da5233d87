"""Artifacts go to a real S3 server and come back whole, or the error says what is wrong."""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from myspinbot_worker import storage as storage_module
from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BadInput,
    BadOutput,
    BucketNotAllowed,
    Cancelled,
    ConfigError,
    StorageError,
    StorageUnavailable,
)
from myspinbot_worker.storage import Artifact, Storage, StorageConfig, guess_content_type, parse_path

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


def on_disk(server: EmbeddedS3, bucket: str, key: str) -> Path:
    return server.directory / bucket / key


# -- there and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, MIB, 16 * MIB, 16 * MIB + 1, 40 * MIB])
def test_a_file_goes_and_comes_back(storage: Storage, tmp_path: Path, size: int) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(os.urandom(size))
    sent: list[float] = []
    received: list[float] = []
    before = datetime.now(UTC) - timedelta(seconds=2)
    artifact = storage.upload(source, "output", "job/node/1/clip.mp4", on_progress=sent.append)
    assert (artifact.bucket, artifact.key) == ("output", "job/node/1/clip.mp4")
    assert (artifact.size_bytes, artifact.content_type) == (size, "video/mp4")
    assert datetime.fromisoformat(artifact.created_at) >= before
    assert storage.stat("output", "job/node/1/clip.mp4") == artifact
    target = tmp_path / "new" / "folder" / "back.mp4"
    back = storage.download(
        "output", artifact.key, target, expected_size=size, on_progress=received.append, max_bytes=size
    )
    assert back == target
    assert target.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in target.parent.iterdir()) == ["back.mp4"]
    for fractions in (sent, received):
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


def test_bytes_go_and_come_back(storage: Storage, tmp_path: Path) -> None:
    artifact = storage.upload_bytes(b"RIFF", "staged", "voice.wav", "audio/x-special")
    assert (artifact.size_bytes, artifact.content_type) == (4, "audio/x-special")
    assert storage.upload_bytes(b"RIFF", "staged", "voice.wav").content_type == "audio/wav"
    assert storage.download("staged", "voice.wav", tmp_path / "v").read_bytes() == b"RIFF"


def test_an_existing_file_is_replaced_and_an_existing_object_too(storage: Storage, tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_text("old")
    storage.upload_bytes(b"one", "input", "k")
    storage.upload_bytes(b"second", "input", "k")
    assert storage.download("input", "k", target).read_bytes() == b"second"


def test_the_seed_way_to_download(storage: Storage, tmp_path: Path) -> None:
    storage.upload_bytes(b"one", "input", "a/b.mp4")
    first = storage.download_to_local_path("input/a/b.mp4", tmp_path / "scratch")
    second = storage.download_to_local_path("input/a/b.mp4", tmp_path / "scratch")
    assert first != second
    assert first.parent == tmp_path / "scratch"
    assert first.suffix == ".mp4"
    assert first.read_bytes() == b"one"


@pytest.mark.parametrize(
    "key",
    ["é ü/ß.txt", " lead", "q?x=1&y#z%41+.bin", "back\\slash", "..\\..\\x", "...", "a/..b/c", "日本/語"],
)
def test_unusual_keys_stay_what_they_are(storage: Storage, tmp_path: Path, key: str) -> None:
    storage.upload_bytes(b"x", "input", key)
    assert storage.list_keys("input") == [key]
    assert storage.download("input", key, tmp_path / "f").read_bytes() == b"x"


def test_many_threads_share_one_storage(storage: Storage, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            data = os.urandom(200_000)
            storage.upload_bytes(data, "staged", f"t/{number}")
            assert storage.download("staged", f"t/{number}", tmp_path / str(number)).read_bytes() == data
        except BaseException as exc:  # noqa: BLE001 - handed to the test's own thread
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(storage.list_keys("staged", "t/")) == 12


def test_a_forked_process_gets_its_own_connections(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = storage._client()
    assert storage._client() is mine
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert storage._client() is not mine


def test_a_closed_storage_connects_again(storage: Storage) -> None:
    storage.check()
    storage.close()
    storage.close()
    storage.check()


_FLAT = """
import os, resource, sys
from pathlib import Path
from myspinbot_worker.storage import Storage, StorageConfig
folder = Path(sys.argv[1])
config = StorageConfig(sys.argv[2], os.environ["ACCESS"], os.environ["SECRET"], False, ("staged",))
storage = Storage(config)
storage.upload_bytes(b"warm", "staged", "warm")
storage.download("staged", "warm", folder / "warm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
storage.upload(folder / "big", "staged", "big")
after_upload = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
storage.download("staged", "big", folder / "back")
after_download = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(before, after_upload, after_download)
"""


def test_memory_stays_flat_for_a_large_file(storage: Storage, config: StorageConfig, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(MIB))
    result = subprocess.run(
        [sys.executable, "-c", _FLAT, str(tmp_path), config.endpoint],
        env={**os.environ, "ACCESS": config.access_key, "SECRET": config.secret_key},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after_upload, after_download = (int(word) / 1024 for word in result.stdout.split())
    # Two parts: the one being sent and the one read before the first is let go.
    assert after_upload - before < 40, f"an upload of 64 MiB took {after_upload - before:.0f} MiB"
    assert after_download - after_upload < 8
    sums = [hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in ("big", "back")]
    assert sums[0] == sums[1]


# -- looking up, listing, removing -------------------------------------------------------------------------


def test_a_missing_object(storage: Storage, tmp_path: Path) -> None:
    for call in (
        lambda: storage.stat("input", "no/such"),
        lambda: storage.download("input", "no/such", tmp_path / "f"),
    ):
        with pytest.raises(ArtifactMissing, match="input/no/such") as caught:
            call()
        assert not caught.value.retryable
    assert list(tmp_path.iterdir()) == []


def test_removing_is_idempotent(storage: Storage) -> None:
    storage.upload_bytes(b"x", "input", "k")
    storage.remove("input", "k")
    storage.remove("input", "k")
    with pytest.raises(ArtifactMissing):
        storage.stat("input", "k")
    assert storage.list_keys("input") == []
    # The bucket is a folder there and must survive its last object.
    storage.check()


def test_a_folder_is_removed_and_its_neighbours_are_not(storage: Storage) -> None:
    for key in ("job-1/a/1", "job-1/a/2", "job-1/b", "job-10/a", "job-1.txt"):
        storage.upload_bytes(b"x", "staged", key)
    removed = storage.remove_prefix("staged", "job-1", keep={"job-1/a/2"})
    assert removed == ["job-1/a/1", "job-1/b"]
    assert storage.list_keys("staged") == ["job-1.txt", "job-1/a/2", "job-10/a"]
    assert storage.list_keys("staged", "job-10") == ["job-10/a"]
    assert storage.remove_prefix("staged", "job-1/a/") == ["job-1/a/2"]
    assert storage.remove_prefix("staged", "nothing/here") == []
    for prefix in ("", "/", "a//", "../a"):
        with pytest.raises(BadInput):
            storage.remove_prefix("staged", prefix)


# -- buckets and readiness ---------------------------------------------------------------------------------


def test_missing_buckets_are_told_and_can_be_made(config: StorageConfig) -> None:
    more = Storage(replace(config, buckets=(*BUCKETS, "extra-one", "extra-two")))
    with pytest.raises(StorageError, match=r"has no bucket extra-one, extra-two") as caught:
        more.check()
    assert not caught.value.retryable
    for call in (
        lambda: more.stat("extra-one", "k"),
        lambda: more.upload_bytes(b"x", "extra-one", "k"),
        lambda: more.list_keys("extra-one"),
        lambda: more.remove("extra-one", "k"),
    ):
        with pytest.raises(StorageError, match=r"extra-one.*NoSuchBucket") as caught:
            call()
        assert type(caught.value) is StorageError
    more.ensure_buckets()
    more.ensure_buckets()
    more.check()


def test_a_bucket_made_by_someone_else_meanwhile(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Storage, "_bucket_exists", lambda self, client, bucket: False)
    storage.ensure_buckets()


def test_only_configured_buckets(storage: Storage, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: storage.stat("secret", "k"),
        lambda: storage.download("secret", "k", tmp_path / "f"),
        lambda: storage.upload(Path(__file__), "secret", "k"),
        lambda: storage.upload_bytes(b"", "secret", "k"),
        lambda: storage.remove("secret", "k"),
        lambda: storage.list_keys("secret"),
        lambda: storage.remove_prefix("secret", "k"),
        lambda: storage.parse_path("secret/k"),
        lambda: storage.download_to_local_path("secret/k", tmp_path),
        lambda: storage.stat("../input", "k"),
    ]
    for call in calls:
        with pytest.raises(BucketNotAllowed, match="input, staged, output"):
            call()


@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_wrong_keys(config: StorageConfig, tmp_path: Path, wrong: str) -> None:
    bad = "not-the-right-one-0123456789"
    stranger = Storage(
        replace(config, secret_key=bad) if wrong == "secret_key" else replace(config, access_key=bad)
    )
    reason = "SignatureDoesNotMatch" if wrong == "secret_key" else "InvalidAccessKeyId"
    calls: list[Callable[[], object]] = [
        stranger.check,
        stranger.ensure_buckets,
        lambda: stranger.stat("input", "k"),
        lambda: stranger.download("input", "k", tmp_path / "f"),
        lambda: stranger.upload_bytes(b"x", "input", "k"),
        lambda: stranger.list_keys("input"),
    ]
    for call in calls:
        with pytest.raises(StorageError, match=reason) as caught:
            call()
        assert not caught.value.retryable
        assert config.endpoint in caught.value.message
        assert "input" in caught.value.message
        assert stranger.config.secret_key not in f"{caught.value} {caught.value.details}"


def test_secrets_are_not_shown(config: StorageConfig) -> None:
    for shown in (repr(config), str(config), repr(Storage(config))):
        assert config.endpoint in shown
        assert config.secret_key not in shown
        assert config.access_key not in shown


def test_a_malformed_configuration(config: StorageConfig) -> None:
    with pytest.raises(ConfigError, match="http://x"):
        Storage(replace(config, endpoint="http://x:9000"))
    with pytest.raises(ConfigError, match="a bucket"):
        Storage(replace(config, buckets=("input", "a bucket")))


def test_a_server_that_is_down_and_comes_back(
    config: StorageConfig, storage: Storage, server: EmbeddedS3, tmp_path: Path
) -> None:
    storage.upload_bytes(b"kept", "input", "k")
    server.kill()
    hasty = Storage(config, retries=1)
    calls: list[Callable[[], object]] = [
        storage.check,
        lambda: hasty.stat("input", "k"),
        lambda: hasty.download("input", "k", tmp_path / "f"),
        lambda: hasty.upload_bytes(b"x", "input", "k2"),
        lambda: hasty.list_keys("input"),
        lambda: hasty.remove("input", "k"),
        hasty.ensure_buckets,
    ]
    for call in calls:
        with pytest.raises(StorageUnavailable, match=config.endpoint) as caught:
            call()
        assert caught.value.retryable
    server.start()
    # The server forgot the metadata, with it the SHA-256; the ETag is still checked.
    assert storage.download("input", "k", tmp_path / "f").read_bytes() == b"kept"


def test_a_restart_within_the_retries_is_not_noticed(
    storage: Storage, server: EmbeddedS3, tmp_path: Path
) -> None:
    storage.upload_bytes(b"kept", "input", "k")
    server.kill()
    starting = threading.Thread(target=server.start)
    starting.start()
    assert storage.download("input", "k", tmp_path / "f").read_bytes() == b"kept"
    starting.join()


# -- damage ------------------------------------------------------------------------------------------------


def test_a_damaged_object_is_not_handed_out(storage: Storage, server: EmbeddedS3, tmp_path: Path) -> None:
    storage.upload_bytes(b"precious bytes", "staged", "a/b")
    file = on_disk(server, "staged", "a/b")
    status = file.stat()
    file.write_bytes(b"precious bites")
    # A disk that rots does not change the date.
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    target = tmp_path / "f"
    target.write_text("older")
    with pytest.raises(ArtifactCorrupt, match=r"sha256 of staged/a/b") as caught:
        storage.download("staged", "a/b", target)
    assert caught.value.retryable
    assert target.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_size_that_was_not_promised(storage: Storage, tmp_path: Path) -> None:
    storage.upload_bytes(b"12345", "staged", "k")
    with pytest.raises(ArtifactCorrupt, match="has 5 bytes, 6 were promised"):
        storage.download("staged", "k", tmp_path / "f", expected_size=6)
    with pytest.raises(BadInput, match="has 5 bytes, the limit is 4"):
        storage.download("staged", "k", tmp_path / "f", max_bytes=4)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changes_while_it_is_sent(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "f"
    for size in (MIB, 40 * MIB):
        source.write_bytes(b"a" * size)
        steps: list[float] = []

        def shrink(fraction: float, steps: list[float] = steps) -> None:
            steps.append(fraction)
            source.write_bytes(b"b")

        with pytest.raises(ArtifactCorrupt, match="changed while it was uploaded"):
            storage.upload(source, "output", "k", on_progress=shrink)
    assert storage.list_keys("output") == []


def test_no_file_to_send(storage: Storage, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(BadOutput, match="no file"):
            storage.upload(path, "output", "k")


@pytest.mark.parametrize("size", [MIB, 40 * MIB])
def test_a_cancelled_transfer_leaves_nothing(
    storage: Storage, server: EmbeddedS3, tmp_path: Path, size: int
) -> None:
    source = tmp_path / "f"
    source.write_bytes(os.urandom(size))

    def cancel(fraction: float) -> None:
        if fraction >= 0.4 or size == MIB:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        storage.upload(source, "output", "k", on_progress=cancel)
    assert storage.list_keys("output") == []
    storage.upload(source, "output", "k")
    with pytest.raises(Cancelled):
        storage.download("output", "k", tmp_path / "back" / "f", on_progress=cancel)
    assert list((tmp_path / "back").iterdir()) == []


def test_a_cancel_is_not_hidden_by_a_server_that_went_down(
    config: StorageConfig, storage: Storage, server: EmbeddedS3, tmp_path: Path
) -> None:
    source = tmp_path / "f"
    source.write_bytes(bytes(40 * MIB))

    def cancel(fraction: float) -> None:
        if fraction > 0.3:
            server.kill()
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        Storage(config, retries=0).upload(source, "output", "k", on_progress=cancel)


# -- a network that breaks ---------------------------------------------------------------------------------


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


def test_a_connection_that_breaks_half_way(
    config: StorageConfig, storage: Storage, server: EmbeddedS3, tmp_path: Path
) -> None:
    storage.upload_bytes(os.urandom(8 * MIB), "staged", "big")
    with cutting_proxy(server.port, 5 * MIB) as port:
        broken = Storage(replace(config, endpoint=f"127.0.0.1:{port}", region="us-east-1"))
        with pytest.raises(StorageUnavailable, match="staged/big") as caught:
            broken.download("staged", "big", tmp_path / "f")
        assert caught.value.retryable
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_before_the_answer(config: StorageConfig, server: EmbeddedS3) -> None:
    with cutting_proxy(server.port, 10) as port:
        broken = Storage(replace(config, endpoint=f"127.0.0.1:{port}", region="us-east-1"), retries=1)
        with pytest.raises(StorageUnavailable):
            broken.stat("staged", "big")
        with pytest.raises(StorageUnavailable):
            broken.upload_bytes(b"x", "staged", "k")


# -- other servers' answers --------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("answer", "kind", "requests"),
    [
        (xml_error(503, "SlowDown"), StorageUnavailable, 3),
        (xml_error(500, "InternalError"), StorageUnavailable, 3),
        (xml_error(429, "TooManyRequests"), StorageUnavailable, 3),
        (xml_error(400, "RequestTimeout"), StorageUnavailable, 1),
        (xml_error(404, "NoSuchKey"), ArtifactMissing, 1),
        (xml_error(404, "NoSuchBucket"), StorageError, 1),
        (xml_error(403, "AccessDenied"), StorageError, 1),
        (xml_error(403, "RequestTimeTooSkewed"), StorageError, 1),
        (xml_error(501, "NotImplemented"), StorageError, 1),
        ((502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>"), StorageUnavailable, 3),
        ((400, {"Content-Type": "text/plain"}, b"HTTP request to an HTTPS server"), StorageError, 1),
        ((404, {"Content-Type": "application/xml"}, b"<Error><Code>NoSu"), StorageUnavailable, 1),
    ],
)
def test_refusals_are_told_apart(
    tmp_path: Path,
    answer: tuple[int, dict[str, str], bytes],
    kind: type[StorageError],
    requests: int,
) -> None:
    with scripted(answer) as (storage, script):
        with pytest.raises(StorageError) as caught:
            storage.download("input", "a/b", tmp_path / "f")
        assert type(caught.value) is kind
        assert "input/a/b" in caught.value.message
        assert len(script.asked) == requests


@pytest.mark.parametrize(
    ("status", "kind"), [(404, ArtifactMissing), (403, StorageError), (503, StorageUnavailable)]
)
def test_refusals_without_a_body_are_told_apart(status: int, kind: type[StorageError]) -> None:
    with scripted((status, {}, b"")) as (storage, _), pytest.raises(StorageError) as caught:
        storage.stat("input", "a/b")
    assert type(caught.value) is kind


def test_an_overload_that_passes_is_not_noticed() -> None:
    with scripted(xml_error(503, "SlowDown"), (200, {"ETag": '"x"'}, b"")) as (storage, script):
        assert storage.stat("input", "k").size_bytes == 0
        assert len(script.asked) == 2


def test_a_server_that_repeats_the_secret_is_not_quoted() -> None:
    with scripted(xml_error(403, "AccessDenied", "you sent the-secret-key")) as (storage, _):
        with pytest.raises(StorageError, match=r"\*\*\*") as caught:
            storage.list_keys("input")
        assert "the-secret-key" not in str(caught.value)


def test_a_server_that_asks_to_wait_an_hour_is_not_waited_for() -> None:
    status, headers, body = xml_error(503, "SlowDown")
    answer = (status, {**headers, "Retry-After": "3600"}, body)
    with scripted(answer) as (storage, _), pytest.raises(StorageUnavailable):
        storage.stat("input", "k")


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        config = StorageConfig(
            f"127.0.0.1:{mute.getsockname()[1]}", "a", "s" * 8, False, ("input",), "us-east-1"
        )
        silent = Storage(config, read_timeout=0.1, retries=1)
        for call in (silent.check, lambda: silent.stat("input", "k")):
            with pytest.raises(StorageUnavailable, match="timed out"):
                call()


HELLO_MD5 = hashlib.md5(b"hello").hexdigest()
HELLO_SHA256 = hashlib.sha256(b"hello").hexdigest()


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"ETag": f'"{HELLO_MD5}"'}, None),
        ({"ETag": f'"{"0" * 32}"'}, "md5"),
        ({"ETag": f'"{"0" * 32}-2"'}, None),
        ({}, None),
        ({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"}, None),
        ({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"}, None),
        ({"ETag": f'"{"0" * 32}"', "x-amz-meta-sha256": HELLO_SHA256}, None),
        ({"ETag": f'"{HELLO_MD5}"', "x-amz-meta-sha256": "0" * 64}, "sha256"),
        ({"ETag": f'"{HELLO_MD5}"', "x-amz-meta-sha256": "somebody else's idea"}, None),
    ],
)
def test_checksums_are_used_where_they_mean_something(
    tmp_path: Path, headers: dict[str, str], problem: str | None
) -> None:
    with scripted((200, headers, b"hello")) as (storage, _):
        if problem is None:
            assert storage.download("input", "k", tmp_path / "f").read_bytes() == b"hello"
        else:
            with pytest.raises(ArtifactCorrupt, match=problem):
                storage.download("input", "k", tmp_path / "f")


def test_an_answer_of_unannounced_length(tmp_path: Path) -> None:
    chunked = {"Transfer-Encoding": "chunked", "ETag": f'"{HELLO_MD5}"'}
    fractions: list[float] = []
    with scripted((200, chunked, b"5\r\nhello\r\n0\r\n\r\n")) as (storage, _):
        storage.download("input", "k", tmp_path / "f", on_progress=fractions.append, expected_size=5)
        assert fractions == [1.0]
        with pytest.raises(BadInput, match="more than 4 bytes"):
            storage.download("input", "k", tmp_path / "g", max_bytes=4)
        with pytest.raises(ArtifactCorrupt, match="6 were promised"):
            storage.download("input", "k", tmp_path / "g", expected_size=6)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"ETag": f'"{HELLO_MD5}"', "Content-Length": "5"}, None),
        ({"ETag": f'"{HELLO_MD5}"', "Content-Length": "4"}, "has 4 bytes in storage, 5 were sent"),
        ({"ETag": f'"{"0" * 32}"', "Content-Length": "5"}, "MD5"),
        ({"x-amz-meta-sha256": "0" * 64, "Content-Length": "5"}, "another writer"),
    ],
)
def test_what_arrived_is_checked(headers: dict[str, str], problem: str | None) -> None:
    with scripted((200, {}, b""), (200, headers, b"")) as (storage, script):
        if problem is None:
            assert storage.upload_bytes(b"hello", "input", "k").size_bytes == 5
        else:
            with pytest.raises(ArtifactCorrupt, match=problem):
                storage.upload_bytes(b"hello", "input", "k")
        assert script.asked == ["PUT /input/k", "HEAD /input/k"]


# -- names and values --------------------------------------------------------------------------------------

ESCAPES = [
    "/etc/passwd",
    "../output/x",
    "a/../../x",
    "a/..",
    ".",
    "./a",
    "a//b",
    "a/",
    "",
    "nul\0x",
    "line\nbreak",
    "del\x7f",
    "\ud800",
    "x" * 1025,
    "é" * 513,
]


@pytest.mark.parametrize("key", ESCAPES)
def test_keys_that_could_lead_elsewhere(
    storage: Storage, server: EmbeddedS3, tmp_path: Path, key: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: storage.stat("input", key),
        lambda: storage.download("input", key, tmp_path / "f"),
        lambda: storage.upload(Path(__file__), "input", key),
        lambda: storage.upload_bytes(b"x", "input", key),
        lambda: storage.remove("input", key),
        lambda: storage.parse_path(f"input/{key}", "imagePath"),
    ]
    for call in calls:
        with pytest.raises(BadInput):
            call()
    assert sorted(path.name for path in server.directory.iterdir() if path.is_file()) == []


def test_the_longest_key_is_taken() -> None:
    assert parse_path("input/" + "é" * 512) == ("input", "é" * 512)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/input/a", "imagePath '/input/a' names no bucket"),
        ("input", "imagePath 'input' names no key"),
        ("input/", "imagePath 'input/' names no key"),
        ("", "imagePath '' names no bucket"),
        ("input//a", "the key in imagePath '/a' starts or ends with a slash"),
        (None, "imagePath must be text"),
        ({"bucket": "input"}, "imagePath must be text .* not dict"),
    ],
)
def test_a_path_that_is_none_names_its_field(path: object, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        parse_path(path, "imagePath")


def test_a_path_is_split(storage: Storage) -> None:
    assert storage.parse_path("input/a/b c.png") == ("input", "a/b c.png")


def test_content_types_do_not_depend_on_the_machine() -> None:
    assert guess_content_type("a/b.WAV") == "audio/wav"
    assert guess_content_type("b.mp4") == "video/mp4"
    assert guess_content_type("b.png") == "image/png"
    assert guess_content_type("b") == "application/octet-stream"


def test_a_content_type_is_taken_from_the_file_where_the_key_tells_none(
    storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "f.png").write_bytes(b"x")
    assert storage.upload(tmp_path / "f.png", "output", "k").content_type == "image/png"
    assert storage.upload(tmp_path / "f.png", "output", "k", content_type="a/b").content_type == "a/b"


def test_parts_grow_only_with_enormous_files() -> None:
    assert storage_module.PART_SIZE * storage_module.MAX_PARTS > 100 << 30


def test_an_artifact_is_closed_and_dated() -> None:
    good = {"bucket": "b", "key": "k", "size_bytes": 0, "created_at": "2026-01-02T03:04:05Z"}
    artifact = Artifact.model_validate(good)
    assert list(artifact.model_dump()) == ["bucket", "key", "size_bytes", "created_at", "content_type"]
    assert artifact.content_type is None
    for bad in (
        {"etag": "x"},
        {"size_bytes": -1},
        {"created_at": "2026-01-02T03:04:05"},
        {"created_at": "now"},
        {"bucket": None},
    ):
        with pytest.raises(ValidationError):
            Artifact.model_validate({**good, **bad})
