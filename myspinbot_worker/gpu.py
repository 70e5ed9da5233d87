"""Which device this process owns, settled before torch is imported.

CUDA reads ``CUDA_VISIBLE_DEVICES`` once, when it starts: whoever wants one GPU for each process has to
decide earlier, and without a CUDA library. So devices are counted from what the kernel shows, and a device
is owned by whoever holds the advisory lock on its file. The kernel drops that lock when the process ends,
however it ends, so there is nothing to clean up after ``kill -9``.

``decide`` is the rule, pure; ``claim_device`` carries it out. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from myspinbot_worker.errors import ConfigError

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
ORDER: Final = "CUDA_DEVICE_ORDER"

_PROC_GPUS: Final = Path("/proc/driver/nvidia/gpus")
_DEV: Final = Path("/dev")
_DEVICE_NODE: Final = re.compile(r"nvidia[0-9]+")
# An index as CUDA counts, or the start of a device's or a MIG slice's name as `nvidia-smi -L` prints it.
_DEVICE_NAME: Final = re.compile(r"0|[1-9][0-9]*|(?:GPU|MIG)-[0-9A-Za-z][0-9A-Za-z/-]*")


# --- which devices there are ---------------------------------------------------------------------------


def list_devices(
    spec: str = "auto",
    *,
    env: Mapping[str, str] | None = None,
    proc_gpus: Path = _PROC_GPUS,
    dev: Path = _DEV,
) -> list[str]:
    """The devices this machine (or container) offers, in the order they are handed out.

    Args:
        spec: The setting ``FARM_GPU_DEVICES``. ``auto`` counts NVIDIA devices; ``none`` or an empty text
            means there are none; anything else is a comma-separated list of indexes and names
            (``0,1``, ``GPU-8932f937-…``, ``MIG-…``). Two names of one device are not recognised as such.
            ``auto`` sees neither MIG slices nor a GPU under WSL 2: name those.
        env: The environment, read for ``NVIDIA_VISIBLE_DEVICES``; default: this process's.
        proc_gpus: Folder with one entry for each GPU of the driver.
        dev: Folder of device nodes.

    Returns:
        Names that ``CUDA_VISIBLE_DEVICES`` takes, without repetition; empty when there is no device.

    Raises:
        ConfigError: ``spec`` is malformed.
    """
    wanted = spec.strip()
    if wanted.lower() in ("", "none"):
        return []
    if wanted.lower() != "auto":
        return _parse_devices(wanted)

    environment = os.environ if env is None else env
    # Inside a container that asked for no GPU the host's nodes can still be seen (a privileged container),
    # but the driver's libraries are not there.
    if environment.get("NVIDIA_VISIBLE_DEVICES", "").strip().lower() in ("none", "void"):
        return []
    known = len(_names(proc_gpus))
    reachable = sum(1 for name in _names(dev) if _DEVICE_NODE.fullmatch(name))
    # CUDA counts what it can open, from 0 and without gaps: a container given only /dev/nvidia2 has device
    # 0 and no device 2. So nodes are counted, and their numbers ignored. Either folder may be missing (nodes
    # are made on first use; a sandbox may hide /proc), and /proc may show GPUs whose nodes the container was
    # not given.
    count = min(known, reachable) if known and reachable else max(known, reachable)
    return [str(index) for index in range(count)]


def _parse_devices(spec: str) -> list[str]:
    devices: list[str] = []
    for part in spec.split(","):
        name = part.strip()
        if not _DEVICE_NAME.fullmatch(name):
            raise ConfigError(
                f"FARM_GPU_DEVICES: {name!r} is neither a device index nor a name such as GPU-…; "
                f"expected auto, none, or a comma-separated list, got {spec!r}"
            )
        if name in devices:
            raise ConfigError(f"FARM_GPU_DEVICES: device {name} is listed twice in {spec!r}")
        devices.append(name)
    return devices


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


# --- the rule -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Keep:
    """The environment already says which devices are visible.

    Attributes:
        visible: The value found, untouched.
        device: ``cuda``, or ``cpu`` when the value hides every device.
        marks: Those of the farm's devices that the value names: others should not choose them.
    """

    visible: str
    device: str
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choose:
    """Take the first free one of ``candidates``."""

    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoDevice:
    """There is no device: work on the CPU."""


def decide(
    visible: str | None, devices: Sequence[str], *, torch_imported: bool = False
) -> Keep | Choose | NoDevice:
    """What a process does about its device. Pure.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES`` as found; None when unset.
        devices: The devices of this machine, in the order they are handed out.
        torch_imported: Whether torch is already in the process.

    Raises:
        RuntimeError: A device has to be chosen and torch may already have looked at the environment.
    """
    if visible is not None:
        listed = [part.strip() for part in visible.split(",")]
        # CUDA stops reading at the first entry that is no device, so the first one decides.
        hidden = not listed[0] or listed[0].startswith("-") or listed[0] == "NoDevFiles"
        marks = () if hidden else tuple(name for name in devices if name in listed)
        return Keep(visible=visible, device="cpu" if hidden else "cuda", marks=marks)
    if not devices:
        return NoDevice()
    if torch_imported:
        raise RuntimeError(
            "torch was imported before this process chose its GPU, and may already have settled on another: "
            f"call claim_device() first, or start the process with {VISIBLE} set"
        )
    return Choose(candidates=tuple(dict.fromkeys(devices)))


# --- carrying it out ------------------------------------------------------------------------------------


class DeviceLease:
    """A device held by this process until ``release`` or the end of the process.

    It belongs to the process that claimed it: in a forked child ``release`` does nothing, and the child
    does not keep the device taken after its parent has ended.

    Attributes:
        device: ``cpu`` or ``cuda``, as torch names it; with ``cuda`` the device is always number 0 here.
        visible: The value of ``CUDA_VISIBLE_DEVICES`` from now on.
    """

    def __init__(
        self,
        device: str,
        visible: str | None,
        *,
        descriptors: Sequence[int] = (),
        environ: MutableMapping[str, str] | None = None,
        before: Mapping[str, str | None] | None = None,
    ) -> None:
        self.device = device
        self.visible = visible
        self._owner = os.getpid()
        self._descriptors = list(descriptors)
        self._environ = environ
        self._before = dict(before or {})

    def __repr__(self) -> str:
        return f"DeviceLease(device={self.device!r}, visible={self.visible!r})"

    def release(self) -> None:
        """Give the device back and put the environment as it was; a second call does nothing.

        The CUDA context, if there is one, stays on the device until the process ends.
        """
        if os.getpid() != self._owner:
            return
        if self._environ is not None:
            for name, value in self._before.items():
                if value is None:
                    self._environ.pop(name, None)
                else:
                    self._environ[name] = value
        self._before.clear()
        for descriptor in self._descriptors:
            _held.discard(descriptor)
            os.close(descriptor)
        self._descriptors.clear()


def claim_device(
    devices: list[str], lock_dir: Path, *, environ: MutableMapping[str, str] = os.environ
) -> DeviceLease | None:
    """Take one device for this process, before torch is imported. Never waits.

    A ``CUDA_VISIBLE_DEVICES`` that is already set is kept, even when another process has that device: the
    operator's word counts. Devices it names are marked as taken where they are free. Otherwise the first
    free device is taken and the environment set to show only that one. Without any device the lease is on
    ``cpu``, and GPUs are hidden so that no library picks one that belongs to another process.

    Args:
        devices: What ``list_devices`` returned.
        lock_dir: Folder of the lock files, made if it is missing, open to all users of the machine. All
            processes that share devices must share it, and must count devices alike: containers that
            see different GPUs under the same index must not.
        environ: The environment to read and set.

    Returns:
        The lease, or None when every device is taken: the environment is then as it was, and the caller
        must not work on a GPU.

    Raises:
        ConfigError: ``lock_dir`` or a lock file in it cannot be used.
        RuntimeError: A device has to be chosen and torch is already imported.
    """
    decision = decide(environ.get(VISIBLE), devices, torch_imported="torch" in sys.modules)
    match decision:
        case Keep(visible=visible, device=device, marks=marks):
            return DeviceLease(device, visible, descriptors=_mark(marks, lock_dir))
        case NoDevice():
            before = _set(environ, {VISIBLE: ""})
            return DeviceLease("cpu", "", environ=environ, before=before)
        case Choose(candidates=candidates):
            taken = _take_first(candidates, lock_dir)
            if taken is None:
                return None
            name, descriptors = taken
            # By default CUDA puts the fastest device first; only in bus order does an index mean the same
            # device here, in `nvidia-smi` and in the other processes.
            before = _set(environ, {VISIBLE: name, ORDER: "PCI_BUS_ID"})
            return DeviceLease("cuda", name, descriptors=descriptors, environ=environ, before=before)


def _set(environ: MutableMapping[str, str], values: Mapping[str, str]) -> dict[str, str | None]:
    before = {name: environ.get(name) for name in values}
    environ.update(values)
    return before


def _take_first(candidates: Sequence[str], lock_dir: Path) -> tuple[str, list[int]] | None:
    """The first free device's name and the descriptors that hold it; None when all are taken."""
    folder = _open_folder(lock_dir)
    for name in candidates:
        try:
            lock = _lock(folder, name)
        except OSError as error:
            os.close(folder)
            raise _unusable(lock_dir / _file_name(name), error) from error
        if lock is not None:
            return name, _hold(folder, lock)
    os.close(folder)
    return None


def _mark(marks: Sequence[str], lock_dir: Path) -> list[int]:
    """Hold the locks of ``marks`` that are free. A courtesy to other processes, so it never fails."""
    if not marks:
        return []
    try:
        folder = _open_folder(lock_dir)
    except ConfigError:
        return []
    locks: list[int] = []
    for name in marks:
        try:
            lock = _lock(folder, name)
        except OSError:
            continue
        if lock is not None:
            locks.append(lock)
    if not locks:
        os.close(folder)
        return []
    return _hold(folder, *locks)


# --- lock files -----------------------------------------------------------------------------------------

# Descriptors of this process's leases. O_CLOEXEC keeps them from programs that it starts; a forked child
# gets copies, and a lock lasts until the last copy is closed.
_held: set[int] = set()

# Somebody else may make or remove a lock file between two steps of ours; nobody honest does so for ever.
_ATTEMPTS: Final = 100


def _close_inherited() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited)


def _hold(folder: int, *locks: int) -> list[int]:
    # tmpfiles.d leaves a folder alone while somebody has a lock on it. Without this it would remove lock
    # files that are weeks old, and the next process would make, and lock, new ones. Where the folder cannot
    # be locked the device is ours all the same.
    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    descriptors = [*locks, folder]
    _held.update(descriptors)
    return descriptors


def _file_name(device: str) -> str:
    # Quoting keeps different names different, which replacing characters would not.
    return f"device-{quote(device, safe='')}.lock"


def _open_folder(lock_dir: Path) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock_dir.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock_dir.mkdir(mode=0o700)
        except FileExistsError:
            return os.open(lock_dir, flags)
        folder = os.open(lock_dir, flags)
        # As /tmp: every user may add a lock file, none may remove another's. Set on what was opened,
        # because mkdir's mode is cut by the umask.
        os.fchmod(folder, 0o1777)  # nosec B103
    except OSError as error:
        raise _unusable(lock_dir, error) from error
    return folder


def _lock(folder: int, device: str) -> int | None:
    """The descriptor that holds the device's lock; None when another process holds it."""
    name = _file_name(device)
    for _ in range(_ATTEMPTS):
        descriptor = _open_lock_file(folder, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(folder, name, descriptor):
                _write_owner(descriptor)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        # The file was removed between open and flock: a lock on it excludes nobody.
        os.close(descriptor)
    raise OSError(errno.EBUSY, "the file is replaced again and again")


def _open_lock_file(folder: int, name: str) -> int:
    # No O_CREAT on a file that may exist: in a sticky folder the kernel then refuses files that other
    # users made (fs.protected_regular). O_NONBLOCK: a FIFO put in its place must not make us wait.
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(name, os.O_RDWR | flags, dir_fd=folder)
        except FileNotFoundError:
            try:
                descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=folder)
            except FileExistsError:
                continue  # Another process was quicker.
            # Empty for ever: users of one machine lock it and write nothing.
            os.fchmod(descriptor, 0o666)  # nosec B103
        except PermissionError:
            descriptor = os.open(name, os.O_RDONLY | flags, dir_fd=folder)  # Enough for a lock.
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    raise OSError(errno.EBUSY, "the file comes and goes")


def _is_named(folder: int, name: str, descriptor: int) -> bool:
    try:
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def _write_owner(descriptor: int) -> None:
    """Write "pid host" for whoever looks; nothing reads it back."""
    if os.fstat(descriptor).st_nlink != 1:
        return  # A hard link to some other file of ours, put here by another user: do not write into it.
    # A read-only descriptor or a full disk: the lock holds without the text.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {os.uname().nodename}\n".encode(), 0)


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"FARM_GPU_LOCK_DIR: cannot use {path}: {error.strerror or error}")
