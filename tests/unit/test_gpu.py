"""Which device a process takes: the rule, what the kernel shows, and the lock files."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.errors import ConfigError
from myspinbot_worker.gpu import (
    Choose,
    DeviceLease,
    Keep,
    NoDevice,
    claim_device,
    decide,
    list_devices,
)


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests imported must not matter here."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.fixture
def lock_dir(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Fail a test that leaves a descriptor open: it would keep a device taken."""

    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    yield
    assert count() == before


def claimed(devices: list[str], lock_dir: Path, environ: dict[str, str]) -> DeviceLease:
    lease = claim_device(devices, lock_dir, environ=environ)
    assert lease is not None
    return lease


# --- list_devices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["", "  ", "none", "None", " NONE "])
def test_no_devices_when_asked_for_none(spec: str) -> None:
    assert list_devices(spec) == []


@pytest.mark.parametrize(
    ("spec", "devices"),
    [
        ("0", ["0"]),
        ("3,1", ["3", "1"]),
        (" 0 , 1 ,GPU-uuid", ["0", "1", "GPU-uuid"]),
        ("10", ["10"]),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"]),
        ("MIG-GPU-8932f937/1/2,MIG-c7", ["MIG-GPU-8932f937/1/2", "MIG-c7"]),
    ],
)
def test_an_explicit_list_is_taken_in_its_order(spec: str, devices: list[str]) -> None:
    assert list_devices(spec) == devices


@pytest.mark.parametrize(
    "spec",
    ["0,", ",", "0,,1", "-1", "00", "1.0", "cuda:0", "all", "0 1", "GPU-", "0,0", "../x", "0,none", "0\n,a"],
)
def test_a_malformed_list_names_the_setting(spec: str) -> None:
    with pytest.raises(ConfigError, match="FARM_GPU_DEVICES"):
        list_devices(spec)


def machine(root: Path, *, known: int = 0, nodes: tuple[str, ...] = ()) -> dict[str, Path]:
    """Folders as the NVIDIA driver makes them; a folder without entries is not there at all."""
    proc_gpus, dev = root / "gpus", root / "dev"
    for index in range(known):
        (proc_gpus / f"0000:{index:02x}:00.0").mkdir(parents=True)
    for name in nodes:
        dev.mkdir(exist_ok=True)
        (dev / name).touch()
    return {"proc_gpus": proc_gpus, "dev": dev}


@pytest.mark.parametrize(
    ("known", "nodes", "expected"),
    [
        pytest.param(0, (), [], id="no driver"),
        pytest.param(2, ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"), ["0", "1"], id="two"),
        pytest.param(0, ("nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"), [], id="control nodes only"),
        pytest.param(4, (), ["0", "1", "2", "3"], id="nodes not made yet"),
        pytest.param(0, ("nvidia0", "nvidia10"), ["0", "1"], id="proc hidden"),
        pytest.param(4, ("nvidia2", "nvidiactl"), ["0"], id="container that was given the third of four"),
        pytest.param(1, ("nvidia0", "nvidia1"), ["0"], id="a node left over from a removed device"),
    ],
)
def test_auto_counts_what_the_driver_shows(
    tmp_path: Path, known: int, nodes: tuple[str, ...], expected: list[str]
) -> None:
    assert list_devices("auto", env={}, **machine(tmp_path, known=known, nodes=nodes)) == expected


@pytest.mark.parametrize(("value", "expected"), [("none", []), ("void", []), ("all", ["0"]), ("", ["0"])])
def test_auto_finds_nothing_in_a_container_that_asked_for_nothing(
    tmp_path: Path, value: str, expected: list[str]
) -> None:
    folders = machine(tmp_path, known=1, nodes=("nvidia0",))
    assert list_devices("Auto", env={"NVIDIA_VISIBLE_DEVICES": value}, **folders) == expected


def test_auto_needs_no_driver_on_this_machine() -> None:
    assert all(name.isdecimal() for name in list_devices())


# --- decide ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("visible", ["", " ", "-1", "-1,0", ",0", "NoDevFiles"])
def test_a_value_that_hides_every_device_is_kept_and_means_cpu(visible: str) -> None:
    assert decide(visible, ["0", "1"]) == Keep(visible=visible, device="cpu", marks=())


@pytest.mark.parametrize(
    ("visible", "marks"),
    [("1", ("1",)), ("1,0", ("0", "1")), (" 1 ", ("1",)), ("7", ()), ("GPU-a", ()), ("0,-1", ("0",))],
)
def test_a_value_that_shows_devices_is_kept_and_marked(visible: str, marks: tuple[str, ...]) -> None:
    assert decide(visible, ["0", "1"]) == Keep(visible=visible, device="cuda", marks=marks)


def test_nothing_to_choose_without_devices() -> None:
    assert decide(None, []) == NoDevice()
    assert decide(None, [], torch_imported=True) == NoDevice()


def test_choosing_after_torch_is_too_late() -> None:
    with pytest.raises(RuntimeError, match="torch was imported before"):
        decide(None, ["0"], torch_imported=True)


def test_keeping_after_torch_is_fine() -> None:
    assert isinstance(decide("0", ["0"], torch_imported=True), Keep)


@given(
    st.none() | st.text(alphabet="0123-,GPU ", max_size=8),
    st.lists(st.sampled_from(["0", "1", "2", "GPU-a"]), max_size=6),
)
def test_the_rule_in_general(visible: str | None, devices: list[str]) -> None:
    match decide(visible, devices):
        case Keep() as kept:
            assert kept.visible == visible
            assert set(kept.marks) <= set(devices)
            assert kept.device == "cuda" or not kept.marks
        case Choose(candidates=candidates):
            assert visible is None
            assert len(set(candidates)) == len(candidates)
            assert set(candidates) == set(devices)
            assert candidates[0] == devices[0]
        case NoDevice():
            assert visible is None
            assert not devices


# --- claim_device and the environment -------------------------------------------------------------------


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


# --- lock files -----------------------------------------------------------------------------------------


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
