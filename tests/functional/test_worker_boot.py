"""A worker that cannot be set up ends, and says why; it does not work half set up."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Farm, graph, node, wait_until
from .processes import Process


def start(farm: Farm, **env: str) -> Process:
    command = [*farm.python(), "-m", "dramatiq", "myspinbot_worker.actors", "-p", "1", "-t", "1"]
    return Process("worker", command, {**farm.env, **env})


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("FARM_SCRATCH_DIR", "setting up the worker failed"),
        ("FARM_GPU_LOCK_DIR", "taking a device"),
    ],
)
def test_a_folder_that_cannot_be_made(farm: Farm, tmp_path: Path, variable: str, said: str) -> None:
    (tmp_path / "file").touch()
    devices = {"FARM_GPU_DEVICES": "0"} if variable == "FARM_GPU_LOCK_DIR" else {}
    worker = start(farm, **{variable: str(tmp_path / "file" / "folder")}, **devices)
    wait_until(lambda: worker.returncode is not None, "the worker ended")
    assert worker.stop() == 78
    worker.wait_for(said)


def test_a_wrong_setting(farm: Farm) -> None:
    worker = start(farm, FARM_LEASE_SECONDS="soon")
    wait_until(lambda: worker.returncode is not None, "the worker ended")
    assert worker.stop() != 0
    worker.wait_for("farm.lease_seconds|FARM_LEASE_SECONDS")


def test_more_processes_than_devices(farm: Farm) -> None:
    """The process without a device leaves the gpu queue alone, and still serves the other."""
    farm.start_ingestor()
    farm.start_worker(count=1, FARM_GPU_DEVICES="0")
    second = farm.start_worker(count=1, FARM_GPU_DEVICES="0")
    second.wait_for("every device .* is taken")
    first = farm.submit(graph([node("a", "test.gate")]))
    farm.wait_started(first, "a")
    waiting = farm.submit(graph([node("a", "test.gate"), node("b", "test.echo")]))
    wait_until(
        lambda: farm.client.hget(farm.keys.run(waiting), "s:1") == "C",
        "the cpu node ran on the second process",
    )
    assert farm.client.llen(f"{farm.keys.broker}:gpu") == 1
    for job in (first, waiting):
        farm.open_gate(job, "a")
        farm.wait_back(job)
