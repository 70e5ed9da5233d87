"""Damaged objects, files that change, cancelled transfers: nothing half or false is handed out or left behind."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.errors import ArtifactCorrupt, BadInput, BadOutput, Cancelled
from myspinbot_worker.storage import Storage, StorageConfig
from tests.functional.storage_servers import MIB
from tests.functional.storage_servers import config as config
from tests.functional.storage_servers import server as server
from tests.functional.storage_servers import storage as storage


def on_disk(server: EmbeddedS3, bucket: str, key: str) -> Path:
    return server.directory / bucket / key


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


@pytest.mark.parametrize("size", [MIB, 40 * MIB])
def test_a_file_that_is_not_the_verified_one(storage: Storage, tmp_path: Path, size: int) -> None:
    source = tmp_path / "f"
    source.write_bytes(b"a" * size)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    storage.upload(source, "output", "same", sha256=digest)
    assert storage.version("output", "same").checksum == digest
    with source.open("r+b") as file:
        file.seek(size - 1)
        file.write(b"b")
    with pytest.raises(ArtifactCorrupt, match="changed after it was verified, before its upload as output/k"):
        storage.upload(source, "output", "k", sha256=digest)
    assert storage.list_keys("output") == ["same"]


def test_a_large_verified_file_is_read_once(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "f"
    source.write_bytes(os.urandom(40 * MIB))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    steps: list[float] = []
    storage.upload(source, "output", "k", sha256=digest, on_progress=steps.append)
    assert steps == [0.0, 0.4, 0.8, 1.0]
    storage.download("output", "k", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_no_file_to_send(storage: Storage, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(BadOutput, match="no file"):
            storage.upload(path, "output", "k")


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("size", [MIB, 40 * MIB])
def test_a_cancelled_transfer_leaves_nothing(
    storage: Storage, server: EmbeddedS3, tmp_path: Path, size: int, verified: bool
) -> None:
    source = tmp_path / "f"
    source.write_bytes(os.urandom(size))
    digest = hashlib.sha256(source.read_bytes()).hexdigest() if verified else None

    def cancel(fraction: float) -> None:
        if fraction >= 0.4 or size == MIB:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        storage.upload(source, "output", "k", sha256=digest, on_progress=cancel)
    assert storage.list_keys("output") == []
    storage.upload(source, "output", "k", sha256=digest)
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
