"""Artifacts go to a real S3 server and come back whole."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from myspinbot_worker.storage import Storage, StorageConfig
from tests.functional.storage_servers import MIB
from tests.functional.storage_servers import config as config
from tests.functional.storage_servers import server as server
from tests.functional.storage_servers import storage as storage


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
