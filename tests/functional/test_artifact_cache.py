"""The machine's cache of artifacts on a real S3 server: what it saves, and that it never serves what it should not."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from myspinbot_worker.artifact_cache import ArtifactCache, CachedFetch
from myspinbot_worker.config import load_settings
from myspinbot_worker.errors import ArtifactCorrupt, ArtifactMissing, BadInput, Cancelled
from myspinbot_worker.farm import storage_of
from myspinbot_worker.storage import Storage, StorageConfig
from tests.functional.harness import Farm, graph, node
from tests.functional.storage_servers import MIB
from tests.functional.storage_servers import config as config
from tests.functional.storage_servers import server as server
from tests.functional.storage_servers import storage as storage
from tests.functional.test_http import free_port, samples

ROOT = Path(__file__).parents[2]


class Machine:
    """A cache and a scratch folder; what the cache said of each fetch."""

    def __init__(self, storage: Storage, folder: Path, most_bytes: int = 64 * MIB) -> None:
        self.storage = storage
        self.folder = folder / "cache"
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.cache = ArtifactCache(storage, self.folder, most_bytes)
        self.said: list[CachedFetch] = []
        self._count = 0

    def fetch(self, key: str, check: Callable[[], None] = lambda: None, size: int | None = None) -> bytes:
        self._count += 1
        path = self.scratch / f"in-{self._count}"
        assert (
            self.cache.fetch("input", key, path, check=check, expected_size=size, on_lookup=self.said.append)
            == path
        )
        return path.read_bytes()

    @property
    def results(self) -> list[str]:
        return [fetched.result for fetched in self.said]

    @property
    def kept(self) -> list[Path]:
        return sorted((self.folder / "kept").iterdir())

    @property
    def arriving(self) -> list[Path]:
        return [
            path
            for path in (self.folder / "incoming").rglob("*")
            if path.is_file() and path.suffix != ".lock"
        ]


@pytest.fixture
def machine(storage: Storage, tmp_path: Path) -> Machine:
    return Machine(storage, tmp_path)


def test_a_second_fetch_downloads_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(3 * MIB)
    machine.storage.upload_bytes(content, "input", "voice.wav")
    assert machine.fetch("voice.wav") == content

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a second download")

    monkeypatch.setattr(machine.storage, "download", refuse)
    assert machine.fetch("voice.wav") == content
    assert machine.said == [CachedFetch("miss", 3 * MIB), CachedFetch("hit", 3 * MIB)]
    assert not machine.arriving
    assert all(not path.stat().st_mode & 0o222 for path in machine.scratch.iterdir())


def test_what_was_overwritten_is_never_served_stale(machine: Machine) -> None:
    for content in (b"first", b"other", b"first"):
        machine.storage.upload_bytes(content, "input", "k")
        assert machine.fetch("k") == content
    assert machine.results == ["miss", "miss", "hit"]


def test_an_object_that_is_gone_is_missing_though_it_is_kept(machine: Machine) -> None:
    machine.storage.upload_bytes(b"first", "input", "k")
    machine.fetch("k")
    machine.storage.remove("input", "k")
    with pytest.raises(ArtifactMissing):
        machine.fetch("k")


def test_an_object_overwritten_between_the_look_and_the_download(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.storage.upload_bytes(b"first", "input", "k")
    look = machine.storage.version

    def look_then_overwrite(bucket: str, key: str) -> object:
        found = look(bucket, key)
        machine.storage.upload_bytes(b"other", "input", "k")
        return found

    monkeypatch.setattr(machine.storage, "version", look_then_overwrite)
    assert machine.fetch("k") == b"other"
    assert machine.results == ["bypass"]
    assert not machine.kept


def test_a_promised_size_and_the_limit_of_a_download_hold(config: StorageConfig, machine: Machine) -> None:
    machine.storage.upload_bytes(b"first", "input", "k")
    machine.fetch("k")
    with pytest.raises(ArtifactCorrupt):
        machine.fetch("k", size=6)
    small = StorageConfig(
        config.endpoint, config.access_key, config.secret_key, False, config.buckets, max_bytes=4
    )
    strict = ArtifactCache(Storage(small), machine.folder, MIB)
    with pytest.raises(BadInput, match=r"farm\.max_artifact_bytes"):
        strict.fetch("input", "k", machine.scratch / "x")


@pytest.mark.parametrize("damage", ["content", "size", "a link elsewhere"])
def test_a_damaged_file_is_dropped(machine: Machine, damage: str, tmp_path: Path) -> None:
    machine.storage.upload_bytes(b"first", "input", "k")
    machine.fetch("k")
    (kept,) = machine.kept
    secret = tmp_path / "secret"
    secret.write_bytes(b"first")
    kept.unlink()
    if damage == "a link elsewhere":
        kept.symlink_to(secret)
    else:
        kept.write_bytes({"content": b"fir5t", "size": b"firs"}[damage])
    assert machine.fetch("k") == b"first"
    assert machine.results == ["miss", *(["dropped"] if damage != "a link elsewhere" else []), "miss"]
    assert machine.fetch("k") == b"first"
    assert machine.results[-1] == "hit"
    assert secret.stat().st_nlink == 1


def test_the_least_recently_used_goes_first(storage: Storage, tmp_path: Path) -> None:
    machine = Machine(storage, tmp_path, most_bytes=3 * MIB)
    for name in "abcd":
        storage.upload_bytes(name.encode() * MIB, "input", name)
    for name in "abc":
        machine.fetch(name)
    machine.fetch("a")
    machine.fetch("d")
    assert sum(path.stat().st_size for path in machine.kept) <= 3 * MIB
    del machine.said[:]
    for name in "adb":
        machine.fetch(name)
    assert machine.results == ["hit", "hit", "miss"]


def test_what_is_larger_than_the_cache_passes_by(storage: Storage, tmp_path: Path) -> None:
    machine = Machine(storage, tmp_path, most_bytes=10)
    storage.upload_bytes(b"small", "input", "small")
    storage.upload_bytes(b"x" * 11, "input", "large")
    machine.fetch("small")
    assert machine.fetch("large") == b"x" * 11
    machine.fetch("small")
    assert machine.results == ["miss", "bypass", "hit"]


def test_a_folder_that_cannot_be_used_costs_no_task(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.storage.upload_bytes(b"first", "input", "k")
    machine.folder.write_text("in the way")
    assert machine.fetch("k") == b"first"
    assert machine.results == ["bypass"]
    assert "cannot be used" in caplog.text


def test_a_full_disk_costs_no_task(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.storage.upload_bytes(b"first", "input", "k")
    download = machine.storage.download

    def fake_full_disk(bucket: str, key: str, destination: Path, **options: Any) -> Path:
        """A fake: no disk can be filled here. The scratch folder is on another one."""
        if machine.folder not in destination.parents:
            return download(bucket, key, destination, **options)
        destination.write_bytes(b"fi")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(machine.storage, "download", fake_full_disk)
    assert machine.fetch("k") == b"first"
    assert machine.results == ["bypass"]
    assert not machine.arriving


@pytest.mark.parametrize("key", ["a/../../b", "/etc/passwd", "..", "a\\..\\b"])
def test_no_key_chooses_where_something_is_written(machine: Machine, key: str) -> None:
    try:
        machine.storage.upload_bytes(b"first", "input", key)
    except BadInput:
        with pytest.raises(BadInput):
            machine.fetch(key)
    else:
        assert machine.fetch(key) == b"first"
    assert {path.name for path in machine.folder.parent.iterdir()} <= {"cache", "scratch"}
    assert all(len(path.name) == 64 for path in (machine.folder / "kept").glob("*"))


CHILD = """
import os, signal, sys
from pathlib import Path
from myspinbot_worker.artifact_cache import ArtifactCache
from myspinbot_worker.storage import Storage, StorageConfig
endpoint, access, secret, folder, target, mode = sys.argv[1:]
storage = Storage(StorageConfig(endpoint, access, secret, False, ("input", "staged", "output")))
cache = ArtifactCache(storage, Path(folder), 64 << 20)
if mode != "whole":
    original, renames = storage.download, Path.rename
    def stop_and_wait(*_, **__):
        print("there", flush=True)
        signal.pause()
    if mode == "downloading":
        storage.download = lambda bucket, key, to, **more: original(bucket, key, to, on_progress=stop_and_wait, **more)
    else:
        Path.rename = stop_and_wait
    print("started", flush=True)
else:
    print("started", flush=True)
    sys.stdin.readline()
cache.fetch("input", "k", Path(target), on_lookup=lambda said: print(said.result, flush=True))
"""


def child(config: StorageConfig, machine: Machine, mode: str, number: int = 0) -> subprocess.Popen[str]:
    target = machine.scratch / f"child-{mode}-{number}"
    made = subprocess.Popen(
        [sys.executable, "-c", CHILD, config.endpoint, config.access_key, config.secret_key,
         str(machine.folder), str(target), mode],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert made.stdout is not None
    assert made.stdout.readline() == "started\n"
    return made


def said_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_at_once_download_once(config: StorageConfig, machine: Machine) -> None:
    machine.storage.upload_bytes(os.urandom(20 * MIB), "input", "k")
    both = [child(config, machine, "whole", number) for number in (1, 2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said == ["hit", "miss"]
    contents = {path.read_bytes() for path in machine.scratch.iterdir()}
    assert len(contents) == 1


@pytest.mark.parametrize("mode", ["downloading", "keeping"])
def test_a_process_killed_in_between_leaves_nothing_in_the_way(
    config: StorageConfig, machine: Machine, mode: str
) -> None:
    content = os.urandom(3 * MIB)
    machine.storage.upload_bytes(content, "input", "k")
    process = child(config, machine, mode)
    assert said_by(process) == "there"
    assert machine.arriving
    # Another process waits for the download, as long as its own task goes on ...
    waits = 0

    def cancelled() -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            raise Cancelled("the job was cancelled")

    with pytest.raises(Cancelled):
        machine.fetch("k", check=cancelled)
    # ... and takes it over when the process has died.
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert machine.fetch("k") == content
    assert machine.results == ["miss"]
    assert not machine.arriving


def test_what_a_dead_process_left_is_removed_by_the_next_download(
    config: StorageConfig, machine: Machine
) -> None:
    machine.storage.upload_bytes(os.urandom(3 * MIB), "input", "k")
    process = child(config, machine, "downloading")
    assert said_by(process) == "there"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert machine.arriving
    machine.storage.upload_bytes(b"another", "input", "another")
    assert machine.fetch("another") == b"another"
    assert not machine.arriving


def test_a_download_that_makes_no_headway_is_not_waited_for(config: StorageConfig, machine: Machine) -> None:
    content = os.urandom(3 * MIB)
    machine.storage.upload_bytes(content, "input", "k")
    process = child(config, machine, "downloading")
    assert said_by(process) == "there"

    def long_ago() -> None:
        for path in (machine.folder / "incoming").rglob("*"):
            os.utime(path, (1, 1))

    assert machine.fetch("k", check=long_ago) == content
    assert machine.results == ["bypass"]
    process.kill()
    process.communicate()


def test_the_workers_of_a_machine_share_it(farm: Farm) -> None:
    storage = storage_of(load_settings(farm.env))
    storage.upload_bytes(b"a voice", "input", "shared/voice.wav")
    port = free_port()
    own: dict[str, Any] = {
        "FARM_ACTOR_MODULES": "tests.functional.reusing_capabilities",
        "FARM_CACHE_BYTES": str(MIB),
        "FARM_CACHE_DIR": str(farm.scratch_folder / "cache"),
    }
    farm.start_ingestor(**own)
    params = {"path": "input/shared/voice.wav"}
    worker = farm.start_worker(**own)
    first = farm.wait_back(farm.submit(graph([node("a", "test.read", params=params)])))
    worker.stop()
    farm.start_worker(FARM_METRICS_PORT=str(port), **own)
    second = farm.wait_back(farm.submit(graph([node("a", "test.read", params=params)])))
    assert first["nodes"][0]["output"] == second["nodes"][0]["output"] == {"text": "a voice"}
    found = samples(f"http://127.0.0.1:{port}")
    assert found["worker_cache_lookups_total{result=hit}"] == 1
    assert found["worker_cache_bytes_total{result=hit}"] == len(b"a voice")
    assert "worker_artifact_bytes_total{direction=in}" not in found
    storage.remove("input", "shared/voice.wav")
    storage.close()
