"""What other S3 servers answer: refusals are told apart, checksums used where they mean something."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from myspinbot_worker.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BadInput,
    StorageError,
    StorageUnavailable,
)
from tests.functional.storage_servers import scripted, xml_error


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
