"""The doctor's checks, each on what it may find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError
from rich.console import Console

from myspinbot_worker.cli import machine_checks, redis_checks
from myspinbot_worker.cli.doctor import examine, print_finding
from myspinbot_worker.cli.finding import Finding, error, ok, warning
from myspinbot_worker.errors import ConfigError, StorageError, StorageUnavailable


def check_advice(finding: Finding) -> None:
    assert bool(finding.advice) == (finding.level != "ok"), finding


@pytest.mark.parametrize(
    ("info", "level", "words"),
    [
        ({"redis_version": "7.2.4"}, "ok", "Redis 7.2.4"),
        ({"redis_version": "6.2.0"}, "ok", "6.2.0"),
        ({"redis_version": "10.0"}, "ok", "10.0"),
        (
            {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.1"},
            "ok",
            "Valkey 8.1.1, speaks Redis 7.2.4",
        ),
        ({"redis_version": "6.0.16"}, "error", "6.0.16"),
        ({"redis_version": "5.0"}, "error", "5.0"),
        ({"redis_version": "7.2.4", "redis_mode": "cluster"}, "error", "cluster"),
        ({"redis_version": "mock"}, "warning", "unknown"),
        ({}, "warning", "unknown"),
    ],
)
def test_version(info: dict[str, Any], level: str, words: str) -> None:
    finding = redis_checks.version(info)
    assert finding.level == level
    assert words in finding.text
    check_advice(finding)


def test_role() -> None:
    assert redis_checks.role({"role": "master"}).level == "ok"
    assert redis_checks.role({"role": "slave"}).level == "error"


@pytest.mark.parametrize(
    ("info", "fsync", "level"),
    [
        ({"aof_enabled": 1}, "everysec", "ok"),
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "always", "ok"),
        ({"aof_enabled": 1}, "no", "warning"),
        ({"aof_enabled": 1}, None, "warning"),
        ({"aof_enabled": 0}, "everysec", "warning"),
        ({}, None, "warning"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "always", "error"),
    ],
)
def test_persistence(info: dict[str, Any], fsync: str | None, level: str) -> None:
    finding = redis_checks.persistence(info, fsync)
    assert finding.level == level
    check_advice(finding)


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"maxmemory_policy": "noeviction", "maxmemory": 0}, "ok"),
        ({"maxmemory_policy": "noeviction", "maxmemory": 1 << 30}, "ok"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 1 << 30}, "error"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "warning"),
        ({}, "warning"),
    ],
)
def test_memory(info: dict[str, Any], level: str) -> None:
    finding = redis_checks.memory(info)
    assert finding.level == level
    check_advice(finding)


@pytest.mark.parametrize(
    ("difference", "level"), [(0.001, "ok"), (-0.9, "ok"), (1.5, "warning"), (-5, "warning"), (31, "error")]
)
def test_clock(difference: float, level: str) -> None:
    finding = redis_checks.clock(difference, heartbeat=60.0)
    assert finding.level == level
    assert ("ahead of" if difference > 0 else "behind") in finding.text
    check_advice(finding)


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        ([], "warning", "ever seen"),
        ([("a", 300.0)], "warning", "none for 5 min"),
        ([("a", 1.0)], "ok", "1 running: a"),
        ([("a", 1.0), ("b", 300.0)], "ok", "1 more fell silent"),
    ],
)
def test_ingestors(found: list[tuple[str, float]], level: str, words: str) -> None:
    finding = redis_checks.ingestors(found)
    assert finding.level == level
    assert words in finding.text
    check_advice(finding)


@pytest.mark.parametrize(
    ("beats", "ingesting", "level", "words"),
    [
        ([], 0, "warning", "none"),
        ([99_000.0], 1, "warning", "none"),
        ([99_000.0, 98_000.0, 97_000.0], 1, "ok", "2 running"),
        ([99_000.0, 1_000.0], 0, "ok", "1 running; 1 more"),
    ],
)
def test_workers(beats: list[float], ingesting: int, level: str, words: str) -> None:
    finding = redis_checks.workers(beats, ingesting, now_ms=100_000, heartbeat=60.0)
    assert finding.level == level
    assert words in finding.text
    check_advice(finding)


@pytest.mark.parametrize(
    ("trouble", "level"),
    [
        (NoPermissionError("no permissions to run 'info'"), "warning"),
        (redis.ResponseError("unknown command 'CONFIG'"), "warning"),
        (redis.ConnectionError("gone"), "error"),
        (redis.TimeoutError("slow"), "error"),
    ],
)
def test_a_check_that_redis_refuses_is_a_finding(trouble: Exception, level: str) -> None:
    def check() -> Finding:
        raise trouble

    finding = redis_checks.guarded("some.check", check, "redis://host")()
    assert (finding.name, finding.level) == ("some.check", level)
    check_advice(finding)


def test_other_errors_of_a_check_are_not_hidden() -> None:
    def check() -> Finding:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        redis_checks.guarded("some.check", check, "redis://host")()


# This machine.


class Probe:
    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble

    def check(self) -> None:
        if self.trouble:
            raise self.trouble


@pytest.mark.parametrize(
    ("trouble", "level", "advice"),
    [
        (None, "ok", ""),
        (StorageUnavailable("no answer"), "error", "MINIO_ENDPOINT"),
        (StorageError("denied"), "error", "MINIO_ACCESS_KEY"),
        (
            StorageError("has no bucket", details={"buckets": ["staged"]}),
            "error",
            "make the missing buckets (staged)",
        ),
        (ConfigError("malformed"), "error", "correct"),
    ],
)
def test_storage(trouble: Exception | None, level: str, advice: str) -> None:
    finding = machine_checks.storage(lambda: Probe(trouble), "host:9000", ("input", "staged"))
    assert finding.level == level
    assert advice in finding.advice
    check_advice(finding)


def test_a_storage_that_cannot_be_made_is_a_finding() -> None:
    def make() -> Probe:
        raise ConfigError("bad endpoint")

    assert machine_checks.storage(make, "x", ()).level == "error"


@pytest.mark.parametrize(
    ("missing", "level", "extras"),
    [((), "ok", ""), (("piper",), "warning", "[speech]"), (("av", "piper"), "warning", "[preview,speech]")],
)
def test_engine(missing: tuple[str, ...], level: str, extras: str) -> None:
    finding = machine_checks.engine("preview", lambda package: package not in missing)
    assert finding.level == level
    assert extras in finding.advice
    check_advice(finding)


def test_another_engine_is_told_of_elsewhere() -> None:
    assert machine_checks.engine("comfyui", lambda package: False).level == "ok"


def test_media(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "find_spec", lambda name: None)
    finding = machine_checks.media()
    assert finding.level == "warning"
    assert "not installed" in finding.text
    check_advice(finding)


def test_torch_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "find_spec", lambda name: None)
    assert machine_checks.torch().level == "ok"


@pytest.mark.parametrize(
    ("spec", "driver", "engine", "level", "words"),
    [
        ("none", [], "preview", "ok", "CPU"),
        ("none", [], "comfyui", "warning", "none"),
        ("none", ["RTX"], "preview", "warning", "nvidia-smi sees 1"),
        ("0,1", ["RTX", "RTX"], "comfyui", "ok", "2 for workers: 0, 1; nvidia-smi: RTX; RTX"),
        ("0", [], "comfyui", "ok", "nvidia-smi says nothing"),
        ("what?", [], "preview", "error", "what?"),
    ],
)
def test_devices(
    monkeypatch: pytest.MonkeyPatch, spec: str, driver: list[str], engine: str, level: str, words: str
) -> None:
    monkeypatch.setattr(machine_checks, "nvidia_smi", lambda: driver)
    finding = machine_checks.devices(spec, engine)
    assert finding.level == level
    assert words in finding.text
    check_advice(finding)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/bin/sh\necho 'NVIDIA L4, 23034 MiB'\necho\n", ["NVIDIA L4, 23034 MiB"]),
        ("#!/bin/sh\necho oops; exit 9\n", []),
        ("not a program", []),
    ],
)
def test_nvidia_smi(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, expected: list[str]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert machine_checks.nvidia_smi() == expected


def test_comfyui(tmp_path: Path) -> None:
    assert machine_checks.comfyui(None, "preview").level == "ok"
    assert machine_checks.comfyui(None, "comfyui").level == "warning"
    assert machine_checks.comfyui(tmp_path / "missing", "preview").level == "error"
    finding = machine_checks.comfyui(tmp_path, "preview")
    assert finding.level == "error"
    assert "no main.py" in finding.text
    for name in machine_checks.COMFY_FILES:
        (tmp_path / name).touch()
    assert machine_checks.comfyui(tmp_path, "preview") == ok("comfyui", f"checkout at {tmp_path}")


def test_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(amount: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": amount}))

    free(100 << 30)
    assert machine_checks.scratch(tmp_path).level == "ok"
    made_later = tmp_path / "a" / "b"
    assert "will be made" in machine_checks.scratch(made_later).text
    assert not made_later.exists()
    (tmp_path / "file").touch()
    assert machine_checks.scratch(tmp_path / "file").level == "error"
    assert machine_checks.scratch(tmp_path / "file" / "below").level == "error"
    free(1 << 30)
    assert machine_checks.scratch(tmp_path).level == "warning"
    free(1 << 20)
    assert machine_checks.scratch(tmp_path).level == "error"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_scratch_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    finding = machine_checks.scratch(tmp_path)
    assert finding.level == "error"
    assert "Permission denied" in finding.text


# All together.


def counted(finding: Finding, calls: list[str]) -> Callable[[], Finding]:
    def check() -> Finding:
        calls.append(finding.name)
        return finding

    return check


@pytest.mark.parametrize("reachable", [True, False])
def test_without_redis_its_checks_are_left_out(reachable: bool) -> None:
    calls: list[str] = []
    first = ok("redis", "there") if reachable else error("redis", "gone", "start it")
    in_redis = [counted(first, calls), counted(ok("redis.version", "7"), calls)]
    found = list(examine(in_redis, [counted(warning("gpu", "none", "buy one"), calls)]))
    assert calls == ["redis", *(["redis.version"] if reachable else []), "gpu"]
    assert [finding.name for finding in found] == calls


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "✗ storage"), ("ascii", "x storage")])
def test_marks_fit_the_terminal(encoding: str, expected: str) -> None:
    class Narrow(Console):
        @property
        def encoding(self) -> str:
            return encoding

    console = Narrow(width=200)
    with console.capture() as captured:
        print_finding(console, error("storage", "no answer [red]", "start it"))
    text = captured.get()
    assert text.startswith(expected)
    assert "no answer [red]" in text
    assert ("→ start it" if encoding == "utf-8" else "-> start it") in text


def test_comfyui_on_a_server_shows_no_password() -> None:
    finding = machine_checks.comfyui(None, "comfyui", "http://user:hunter2@gpu:8188")
    assert finding.level == "ok"
    assert "hunter2" not in finding.text


def test_services_that_lack_something_are_named() -> None:
    assert machine_checks.services(dict).level == "ok"
    finding = machine_checks.services(lambda: {"a.b": "no node class 'X'"})
    assert (finding.level, finding.text) == ("warning", "a.b: no node class 'X'")
