"""The lock files of devices: shared by users, and safe from links, strangers and removal."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from myspinbot_worker.errors import ConfigError
from myspinbot_worker.gpu import claim_device
from tests.unit.gpu_claims import claimed
from tests.unit.gpu_claims import descriptors as descriptors
from tests.unit.gpu_claims import lock_dir as lock_dir
from tests.unit.gpu_claims import no_torch as no_torch


def test_the_folder_and_files_can_be_shared_by_users_whatever_the_umask(lock_dir: Path) -> None:
    previous = os.umask(0o077)
    try:
        lease = claimed(["0"], lock_dir, {})
    finally:
        os.umask(previous)
    assert stat.S_IMODE(lock_dir.stat().st_mode) == 0o1777
    assert stat.S_IMODE((lock_dir / "device-0.lock").stat().st_mode) == 0o666
    lease.release()


def test_an_existing_folder_keeps_its_mode(lock_dir: Path) -> None:
    lock_dir.mkdir(mode=0o750)
    lease = claimed(["0"], lock_dir, {})
    assert stat.S_IMODE(lock_dir.stat().st_mode) == 0o750
    lease.release()


def test_missing_parents_are_made(tmp_path: Path) -> None:
    lease = claimed(["0"], tmp_path / "a" / "b", {})
    lease.release()


def test_the_file_says_who_has_the_device(lock_dir: Path) -> None:
    lock_dir.mkdir()
    file = lock_dir / "device-0.lock"
    file.write_text("9999999999 a host with a very long name that is gone\n")
    lease = claimed(["0"], lock_dir, {})
    assert file.read_text() == f"{os.getpid()} {socket.gethostname()}\n"
    lease.release()


def test_names_of_devices_stay_inside_the_folder_and_apart(lock_dir: Path) -> None:
    names = ["MIG-GPU-a/1/2", "MIG-GPU-a_1_2", "../../x", "."]
    leases = [claimed([name], lock_dir, {}) for name in names]
    files = sorted(path.name for path in lock_dir.iterdir())
    assert len(files) == len(names)
    assert all(name.startswith("device-") and name.endswith(".lock") for name in files)
    for lease in leases:
        lease.release()


def test_a_symlink_is_not_followed(lock_dir: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock_dir.mkdir()
    (lock_dir / "device-0.lock").symlink_to(victim)
    with pytest.raises(ConfigError, match=r"FARM_GPU_LOCK_DIR.*device-0\.lock: .*symbolic"):
        claim_device(["0"], lock_dir, environ={})
    assert victim.read_text() == "precious"


def test_a_hard_link_is_not_written_into(lock_dir: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock_dir.mkdir()
    (lock_dir / "device-0.lock").hardlink_to(victim)
    lease = claimed(["0"], lock_dir, {})
    assert victim.read_text() == "precious"
    lease.release()


def test_a_linked_folder_is_refused(lock_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    lock_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="FARM_GPU_LOCK_DIR"):
        claim_device(["0"], lock_dir, environ={})


def test_a_file_in_place_of_the_folder_is_refused(lock_dir: Path) -> None:
    lock_dir.touch()
    with pytest.raises(ConfigError, match="FARM_GPU_LOCK_DIR"):
        claim_device(["0"], lock_dir, environ={})


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_refused_without_waiting(lock_dir: Path, kind: str) -> None:
    lock_dir.mkdir()
    path = lock_dir / "device-0.lock"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ConfigError, match="FARM_GPU_LOCK_DIR"):
        claim_device(["0"], lock_dir, environ={})


def test_a_removed_lock_file_is_made_anew(lock_dir: Path) -> None:
    claimed(["0"], lock_dir, {}).release()
    (lock_dir / "device-0.lock").unlink()
    lease = claimed(["0"], lock_dir, {})
    assert (lock_dir / "device-0.lock").exists()
    lease.release()


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(
    lock_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file goes away between open and flock, once: the lock that counts is on the file in its place."""
    from myspinbot_worker import gpu

    opened = gpu._open_lock_file
    removed: list[str] = []

    def open_then_remove(folder: int, name: str) -> int:
        descriptor = opened(folder, name)
        if not removed:
            removed.append(name)
            (lock_dir / name).unlink()
        return descriptor

    monkeypatch.setattr(gpu, "_open_lock_file", open_then_remove)
    lease = claimed(["0"], lock_dir, {})
    assert removed == ["device-0.lock"]
    assert claim_device(["0"], lock_dir, environ={}) is None
    lease.release()


def test_a_lock_file_that_is_always_replaced_is_given_up(
    lock_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from myspinbot_worker import gpu

    monkeypatch.setattr(gpu, "_is_named", lambda *_: False)
    with pytest.raises(ConfigError, match="FARM_GPU_LOCK_DIR"):
        claim_device(["0"], lock_dir, environ={})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as other users")
def test_users_of_one_machine_share_devices() -> None:
    """Root's lock file with a mode that lets others only read it is enough for another user's lock."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        lock_dir = Path(root) / "locks"
        mine = claimed(["0", "1"], lock_dir, {})
        claimed(["1"], lock_dir, {}).release()
        (lock_dir / "device-1.lock").chmod(0o644)

        # Not by exec: the interpreter may be in a folder that the other user cannot read.
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                lease = claim_device(["0", "1", "2"], lock_dir, environ={})
                second = claim_device(["0", "1", "2"], lock_dir, environ={})
                answer = f"{lease and lease.visible} {second and second.visible}"
            except BaseException as error:  # noqa: BLE001 - the child must not return into pytest
                answer = repr(error)
            os.write(writer, answer.encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            assert pipe.read() == "1 2"
        os.waitpid(child, 0)
        mine.release()
