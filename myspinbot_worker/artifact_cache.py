"""Downloaded artifacts kept on this machine, so that the next task that needs one does not wait for it again.

Shared by all processes of a machine, any of which may be killed at any line: a file appears under its name only
when complete, and whoever downloads holds a lock that dies with it. Nothing in the folder is believed: storage is
asked which version the object has *now* (one HEAD), and a kept file is held against the checksum that storage
promises of it, as a download is. So an overwritten object is never served stale, and a damaged file is dropped.
Whatever is wrong with the folder itself (full, read-only, gone) costs the cache and no task.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .errors import StorageError
from .object_versions import Version

if TYPE_CHECKING:
    from .storage import Storage

log = logging.getLogger(__name__)

CacheResult = Literal["hit", "miss", "bypass", "dropped"]
"""``bypass``: downloaded beside the cache; ``dropped``: a kept file was damaged (a miss follows)."""

_STRIPES = 256
"""Downloads into the cache that can run at one time; two that share a stripe wait for each other."""
_LOOK_SECONDS = 0.05
_STALLED_SECONDS = 30.0
"""Another process' download that has not grown for so long is not waited for."""
_FICLONE = 0x40049409
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}


@dataclass(frozen=True, slots=True)
class CachedFetch:
    """One look into the cache, for metrics: what came of it, and of how many bytes."""

    result: CacheResult
    size: int


class _Replaced(Exception):
    """The object got another version between the HEAD and the download."""


class ArtifactCache:
    """Kept downloads under a folder.

    Args:
        storage: Where what is not kept comes from.
        folder: Of this cache alone, shared by the processes of the machine; made when first used.
        most_bytes: What is kept at most. While downloads run, their bytes come on top.
    """

    def __init__(self, storage: Storage, folder: Path, most_bytes: int) -> None:
        self._storage = storage
        self._most_bytes = most_bytes
        self._kept = folder / "kept"
        self._incoming = folder / "incoming"

    def fetch(
        self,
        bucket: str,
        key: str,
        destination: Path,
        *,
        expected_size: int | None = None,
        check: Callable[[], None] = lambda: None,
        on_version: Callable[[Version], None] = lambda version: None,
        on_lookup: Callable[[CachedFetch], None] = lambda fetched: None,
    ) -> Path:
        """As :meth:`.Storage.download`, from the cache where it can be. The file is read-only.

        Args:
            check: Called while another process' download of the same object is waited for; raises to give up.
            on_version: Told which version is fetched.
            on_lookup: Told what came of it.

        Raises:
            StorageError: As of ``download``.
        """
        version = self._storage.version(bucket, key)
        name = self._name(bucket, key, version)
        size = version.size or 0
        limit = self._storage.config.max_bytes
        fits = expected_size in (None, version.size) and (limit is None or size <= limit)
        if name is not None and fits and size <= self._most_bytes:
            try:
                for result in self._look(name, version, bucket, key, destination, check):
                    on_lookup(CachedFetch(result, size))
                    if result in ("hit", "miss"):
                        on_version(version)
                        return destination
            except OSError as error:
                log.warning("the cache of artifacts cannot be used: %s", error)
            except _Replaced:
                log.info("%s/%s was overwritten while it was fetched", bucket, key)
        destination.unlink(missing_ok=True)
        self._storage.download(bucket, key, destination, expected_size=expected_size, on_version=on_version)
        on_lookup(CachedFetch("bypass", destination.stat().st_size))
        return destination

    def _name(self, bucket: str, key: str, version: Version) -> str | None:
        """What this version of the object is kept as; ``None`` if there is nothing to hold a kept file against."""
        if version.checksum is None or version.size is None:
            return None
        # A digest of everything: no key chooses where it is written, and two storages keep apart.
        said = [self._storage.config.endpoint, bucket, key, version.etag, version.size]
        return hashlib.sha256(json.dumps([*said, version.algorithm, version.checksum]).encode()).hexdigest()

    def _look(
        self,
        name: str,
        version: Version,
        bucket: str,
        key: str,
        destination: Path,
        check: Callable[[], None],
    ) -> Iterator[CacheResult]:
        for folder in (self._kept, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        entry = self._kept / name
        if _linked(entry, destination):
            if _holds(destination, version):
                os.utime(entry)
                yield "hit"
                return
            yield from self._drop(entry, destination)
        with self._stripe(name, check) as incoming:
            if incoming is None:
                return
            # Whoever held the lock before may have fetched just this.
            if _linked(entry, destination):
                if _holds(destination, version):
                    yield "hit"
                    return
                yield from self._drop(entry, destination)
            self._download(version, bucket, key, incoming / name, entry, destination)
            yield "miss"

    def _drop(self, entry: Path, destination: Path) -> Iterator[CacheResult]:
        log.warning("a file of the cache of artifacts was damaged and is dropped: %s", entry.name)
        entry.unlink(missing_ok=True)
        destination.unlink(missing_ok=True)
        yield "dropped"

    def _download(
        self, version: Version, bucket: str, key: str, partial: Path, entry: Path, destination: Path
    ) -> None:
        def same(found: Version) -> None:
            if not found.is_also(version):
                raise _Replaced

        self._make_room(version.size or 0)
        try:
            self._storage.download(bucket, key, partial, expected_size=version.size, on_version=same)
            partial.chmod(0o444)
            # Before it is kept: another process may evict it at once.
            if not _linked(partial, destination):
                raise FileNotFoundError(errno.ENOENT, "the download is gone", str(partial))
            partial.rename(entry)
        except (OSError, StorageError):
            partial.unlink(missing_ok=True)
            raise

    def _make_room(self, wanted: int) -> None:
        """Evict what was used least recently; several processes at once take the same files."""
        found = []
        for path in self._kept.iterdir():
            with suppress(FileNotFoundError):
                status = path.lstat()
                found.append((status.st_mtime_ns, path.name, status.st_size, path))
        used = wanted + sum(size for *_, size, _ in found) + self._arriving()
        for _, _, size, path in sorted(found):
            if used <= self._most_bytes:
                break
            path.unlink(missing_ok=True)
            used -= size

    def _arriving(self) -> int:
        """Bytes of running downloads; what dead processes left is removed."""
        total = 0
        for folder in self._incoming.glob("*/"):
            left = list(folder.iterdir())
            if not left:
                continue
            with _try_lock(self._lock_file(folder)) as free:
                for path in left:
                    with suppress(FileNotFoundError):
                        if free:
                            path.unlink()
                        else:
                            total += path.lstat().st_size
        return total

    @contextmanager
    def _stripe(self, name: str, check: Callable[[], None]) -> Iterator[Path | None]:
        """The folder to download into, alone; ``None`` if whoever has it makes no headway."""
        folder = self._incoming / f"{int(name[:8], 16) % _STRIPES:02x}"
        folder.mkdir(mode=0o700, exist_ok=True)
        while True:
            with _try_lock(self._lock_file(folder)) as free:
                if free:
                    for left in folder.iterdir():
                        left.unlink()
                    yield folder
                    return
            if time.time() - _last_change(folder) > _STALLED_SECONDS:
                yield None
                return
            check()
            time.sleep(_LOOK_SECONDS)

    def _lock_file(self, folder: Path) -> Path:
        return self._incoming / f"{folder.name}.lock"


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Whether the lock was free; then it is held for the block. The kernel drops it with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _last_change(folder: Path) -> float:
    newest = folder.lstat().st_mtime
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            newest = max(newest, path.lstat().st_mtime)
    return newest


def _linked(source: Path, destination: Path) -> bool:
    """Give the file a second name, as a copy of its own where that costs nothing; ``False`` if it is gone."""
    destination.unlink(missing_ok=True)
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:  # a symbolic link: nothing of ours
            source.unlink(missing_ok=True)
            return False
        raise
    with os.fdopen(descriptor, "rb") as file:
        with destination.open("xb") as copy:
            try:
                fcntl.ioctl(copy.fileno(), _FICLONE, file.fileno())
            except OSError:
                cloned = False
            else:
                cloned = True
        if not cloned:
            destination.unlink()
            try:
                os.link(source, destination, follow_symlinks=False)
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                with destination.open("xb") as copy:
                    shutil.copyfileobj(file, copy, 1 << 20)
    destination.chmod(0o444)
    return True


def _holds(path: Path, version: Version) -> bool:
    """Whether a file is what storage promises."""
    if path.stat().st_size != version.size:
        return False
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(version.algorithm, usedforsecurity=False))
    return digest.hexdigest() == version.checksum
