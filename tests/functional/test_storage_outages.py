"""Servers that are down, connections that break, and a server that says nothing."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.errors import StorageUnavailable
from myspinbot_worker.storage import Storage, StorageConfig
from tests.functional.storage_servers import MIB, cutting_proxy
from tests.functional.storage_servers import config as config
from tests.functional.storage_servers import server as server
from tests.functional.storage_servers import storage as storage


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


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        config = StorageConfig(
            f"127.0.0.1:{mute.getsockname()[1]}", "a", "s" * 8, False, ("input",), "us-east-1"
        )
        silent = Storage(config, read_timeout=0.1, retries=1)
        for call in (silent.check, lambda: silent.stat("input", "k")):
            with pytest.raises(StorageUnavailable, match="timed out"):
                call()
