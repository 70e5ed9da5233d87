"""Objects are looked up, listed and removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from myspinbot_worker.errors import ArtifactMissing, BadInput
from myspinbot_worker.storage import Storage
from tests.functional.storage_servers import config as config
from tests.functional.storage_servers import server as server
from tests.functional.storage_servers import storage as storage


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
    for key in ("job-1/a/1/x", "job-1/a/2/x", "job-1/b", "job-10/a", "job-1.txt"):
        storage.upload_bytes(b"x", "staged", key)
    removed = storage.remove_prefix("staged", "job-1", keep="job-1/a/2/")
    assert removed == ["job-1/a/1/x", "job-1/b"]
    assert storage.list_keys("staged") == ["job-1.txt", "job-1/a/2/x", "job-10/a"]
    assert storage.list_keys("staged", "job-10") == ["job-10/a"]
    assert storage.remove_prefix("staged", "job-1/a/") == ["job-1/a/2/x"]
    assert storage.remove_prefix("staged", "nothing/here") == []
    for prefix in ("", "/", "a//", "../a"):
        with pytest.raises(BadInput):
            storage.remove_prefix("staged", prefix)
