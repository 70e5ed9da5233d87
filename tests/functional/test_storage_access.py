"""Which buckets, with which keys: what the configuration allows, and errors that say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from myspinbot_worker.errors import BucketNotAllowed, ConfigError, StorageError
from myspinbot_worker.storage import Storage, StorageConfig
from tests.functional.storage_servers import BUCKETS
from tests.functional.storage_servers import config as config
from tests.functional.storage_servers import server as server
from tests.functional.storage_servers import storage as storage


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
