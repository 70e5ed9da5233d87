"""A process claims a device: what it is shown, what it keeps, and what it gives back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from myspinbot_worker.gpu import claim_device
from tests.unit.gpu_claims import claimed
from tests.unit.gpu_claims import descriptors as descriptors
from tests.unit.gpu_claims import lock_dir as lock_dir
from tests.unit.gpu_claims import no_torch as no_torch


def test_the_first_free_device_is_taken_and_the_only_one_shown(lock_dir: Path) -> None:
    environ = {"CUDA_DEVICE_ORDER": "FASTEST_FIRST", "PATH": "/bin"}
    before = dict(environ)
    lease = claimed(["1", "0"], lock_dir, environ)
    assert (lease.device, lease.visible) == ("cuda", "1")
    assert environ == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "1",
        "PATH": "/bin",
    }
    lease.release()
    assert environ == before


def test_each_claim_takes_another_device_until_none_is_left(lock_dir: Path) -> None:
    devices = ["0", "1"]
    leases = [claimed(devices, lock_dir, {}) for _ in devices]
    assert [lease.visible for lease in leases] == devices

    environ: dict[str, str] = {}
    assert claim_device(devices, lock_dir, environ=environ) is None
    assert environ == {}

    leases[0].release()
    again = claimed(devices, lock_dir, {})
    assert again.visible == "0"
    again.release()
    leases[1].release()


def test_releasing_twice_does_no_harm(lock_dir: Path) -> None:
    environ: dict[str, str] = {}
    lease = claimed(["0"], lock_dir, environ)
    lease.release()
    environ["CUDA_VISIBLE_DEVICES"] = "5"
    lease.release()
    assert environ == {"CUDA_VISIBLE_DEVICES": "5"}


def test_a_forked_child_cannot_give_its_parent_s_device_back(lock_dir: Path) -> None:
    environ: dict[str, str] = {}
    lease = claimed(["0"], lock_dir, environ)
    child = os.fork()
    if child == 0:
        # Files of the child get the numbers that the lease's had in the parent: they must stay open.
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
        try:
            lease.release()
            for descriptor in opened:
                os.fstat(descriptor)
            os._exit(0 if environ["CUDA_VISIBLE_DEVICES"] == "0" else 1)
        except BaseException:  # noqa: BLE001 - the child must not return into pytest
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert claim_device(["0"], lock_dir, environ={}) is None
    lease.release()


def test_without_devices_the_lease_is_on_the_cpu_and_hides_gpus(lock_dir: Path) -> None:
    environ: dict[str, str] = {}
    lease = claimed([], lock_dir, environ)
    assert (lease.device, lease.visible) == ("cpu", "")
    assert environ == {"CUDA_VISIBLE_DEVICES": ""}
    assert not lock_dir.exists()
    lease.release()
    assert environ == {}


@pytest.mark.parametrize(("value", "device"), [("1", "cuda"), ("", "cpu"), ("-1", "cpu"), ("9", "cuda")])
def test_a_given_value_is_kept(lock_dir: Path, value: str, device: str) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": value}
    lease = claimed(["0", "1"], lock_dir, environ)
    assert (lease.device, lease.visible) == (device, value)
    assert environ == {"CUDA_VISIBLE_DEVICES": value}
    lease.release()
    assert environ == {"CUDA_VISIBLE_DEVICES": value}


def test_a_given_device_is_not_chosen_by_others(lock_dir: Path) -> None:
    pinned = claimed(["0", "1"], lock_dir, {"CUDA_VISIBLE_DEVICES": "0"})
    chosen = claimed(["0", "1"], lock_dir, {})
    assert chosen.visible == "1"
    chosen.release()
    pinned.release()


def test_a_given_device_is_kept_even_when_another_process_has_it(lock_dir: Path) -> None:
    chosen = claimed(["0"], lock_dir, {})
    pinned = claimed(["0"], lock_dir, {"CUDA_VISIBLE_DEVICES": "0"})
    assert (pinned.device, pinned.visible) == ("cuda", "0")
    pinned.release()
    assert claim_device(["0"], lock_dir, environ={}) is None
    chosen.release()


def test_a_given_device_needs_no_lock_folder(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    lease = claimed(["0"], blocked, {"CUDA_VISIBLE_DEVICES": "0"})
    assert lease.device == "cuda"
    lease.release()


def test_torch_in_the_process_is_noticed(lock_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    with pytest.raises(RuntimeError, match="torch was imported before"):
        claim_device(["0"], lock_dir, environ={})


def test_the_module_does_not_import_torch() -> None:
    code = "import sys, myspinbot_worker.gpu; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
