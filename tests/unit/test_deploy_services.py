"""What the farm relies on in ``compose.yaml``: Redis, storage, GPUs, and commands that exist."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from dramatiq.cli import make_argument_parser

from tests.unit.deploy_files import (
    FARM,
    KEYS,
    PROJECT,
    SERVICES,
    WORKERS,
    container_environment,
    interpolated,
    mounts,
)


def dramatiq_arguments(arguments: list[str]) -> argparse.Namespace:
    """What Dramatiq's own command line makes of ``arguments``."""
    parser: argparse.ArgumentParser = make_argument_parser()  # type: ignore[no-untyped-call]
    return parser.parse_args(arguments)


def test_redis_keeps_what_it_was_told() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
    }
    assert ("redis-data", "/data") in mounts(SERVICES["redis"])


def test_buckets_are_made_by_the_shell_as_listed(tmp_path: Path) -> None:
    """The script itself, with a stand-in for ``mc`` that writes down its arguments."""
    service = SERVICES["minio-buckets"]
    stand_in = tmp_path / "mc"
    stand_in.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {tmp_path}/calls\necho >> {tmp_path}/calls\n')
    stand_in.chmod(0o755)
    subprocess.run(
        [*service["entrypoint"], *(interpolated(part, KEYS) for part in service["command"])],
        env={**container_environment(service), "PATH": f"{tmp_path}:{os.defpath}"},
        check=True,
    )
    assert (tmp_path / "calls").read_text().splitlines() == [
        "alias|set|farm|http://minio:9000|an-access-key|a secret $key|",
        "mb|--ignore-existing|farm/input|",
        "mb|--ignore-existing|farm/staged|",
        "mb|--ignore-existing|farm/output|",
    ]


def test_minio_and_its_clients_use_the_same_keys() -> None:
    minio = container_environment(SERVICES["minio"])
    for name in ["minio-buckets", *FARM]:
        client = container_environment(SERVICES[name])
        assert client["MINIO_ACCESS_KEY"] == minio["MINIO_ROOT_USER"]
        assert client["MINIO_SECRET_KEY"] == minio["MINIO_ROOT_PASSWORD"]


@pytest.mark.parametrize("name", ["minio", "minio-buckets", *FARM])
def test_keys_for_storage_are_required(name: str) -> None:
    values = " ".join(SERVICES[name]["environment"].values())
    with pytest.raises(AssertionError, match="MINIO_ACCESS_KEY is required"):
        interpolated(values, {})
    with pytest.raises(AssertionError, match="MINIO_SECRET_KEY is required"):
        interpolated(values, {"MINIO_ACCESS_KEY": "k"})


def test_gpu_workers_can_be_scaled() -> None:
    worker = SERVICES["worker-gpu"]
    assert "container_name" not in worker
    assert "ports" not in worker
    environ = container_environment(worker)
    assert ("gpu-locks", environ["FARM_GPU_LOCK_DIR"]) in mounts(worker)
    # A fixed device would be the same one in every replica; the lock needs all of them in sight.
    assert not {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"} & set(environ)
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_a_gpu_worker_works_on_one_task_at_a_time() -> None:
    command = shlex.join(SERVICES["worker-gpu"]["command"])
    assert command == "dramatiq myspinbot_worker.actors -Q gpu --processes 1 --threads 1"


def test_workers_are_given_longer_than_they_drain() -> None:
    for name in ("worker-gpu", "worker-cpu", "worker-preview"):
        drain = float(container_environment(SERVICES[name]).get("FARM_DRAIN_SECONDS", "20"))
        minutes = int(SERVICES[name]["stop_grace_period"].removesuffix("m"))
        assert drain + 30 <= minutes * 60
        assert drain * 1000 <= dramatiq_arguments(["m"]).worker_shutdown_timeout


def test_other_services_ask_for_no_gpu() -> None:
    assert [name for name, service in SERVICES.items() if "deploy" in service] == ["worker-gpu"]


def test_preview_is_only_there_when_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["worker-preview"]
    environ = container_environment(SERVICES["worker-preview"])
    assert environ["FARM_ENGINE"] == "preview"
    assert environ["FARM_GPU_DEVICES"] == "none"


@pytest.mark.parametrize("name", WORKERS)
def test_dramatiq_understands_a_worker_s_command(name: str) -> None:
    args = dramatiq_arguments(WORKERS[name]["command"][1:])
    assert args.broker == "myspinbot_worker.actors"
    assert set(args.queues) <= {"gpu", "cpu"}


def test_every_queue_has_a_worker_without_a_profile() -> None:
    commands = [service["command"] for service in WORKERS.values() if "profiles" not in service]
    assert {command[command.index("-Q") + 1] for command in commands} == {"gpu", "cpu"}


@pytest.mark.parametrize("name", FARM)
def test_what_runs_is_a_console_script_of_the_farm_or_of_dramatiq(name: str) -> None:
    scripts = set(PROJECT["scripts"]) | {
        script.name
        for script in entry_points(group="console_scripts")
        if script.value.startswith("dramatiq.")
    }
    assert FARM[name]["command"][0] in scripts
