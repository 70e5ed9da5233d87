"""What a task function is handed: artifacts, progress, data, cancellation, a scratch folder, the device."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .artifact import Artifact
from .artifact_cache import ArtifactCache, CachedFetch
from .artifact_keys import attempt_folder, name_of, node_folder
from .checkpoints import Checkpoints
from .comfy.engine import ComfyEngine
from .engines import EngineSet
from .errors import Cancelled, EngineUnavailable, FarmError, LeaseLost, TimedOut
from .graph.transitions import Claim
from .object_versions import Version
from .stream_adapter import StreamAdapter

if TYPE_CHECKING:
    from .storage import Storage

PROGRESS_EVERY_SECONDS = 0.2
"""At most this often is a node's progress sent on; what lies between is dropped."""

_device_lock = threading.Lock()


StopReason = Literal["cancelled", "timeout", "lost"]
"""Why an attempt has become pointless."""

DeviceUse = Literal["waiting", "held", "free"]


class Channel(Protocol):
    """Between an attempt and the worker that supervises it."""

    @property
    def stop_reason(self) -> StopReason | None:
        """Set once the attempt should end."""

    def progress(self, fraction: float) -> None:
        """The done part of the node, 0.0 to 1.0, only growing."""

    def publish(self, text: str) -> None:
        """Text for the job's data channel."""

    def uploads(self) -> None:
        """An upload begins: from now on the attempt may leave objects behind."""

    def kept(self) -> None:
        """A step is in storage that was not there before."""

    def moved(self, direction: Literal["in", "out"], size: int) -> None:
        """Bytes of an artifact that was fetched or kept."""

    def looked_up(self, fetched: CachedFetch) -> None:
        """What the machine's cache of artifacts had."""

    def uses_device(self, use: DeviceUse) -> None:
        """Time spent waiting for the device is not the attempt's, and who holds it answers for its death."""

    def node_times(self, seconds: Mapping[str, float]) -> None:
        """How long ComfyUI's node classes took (s)."""


class Task:
    """One attempt at one node.

    Args:
        claim: The started node.
        scratch: Empty folder for the attempt's files; it goes when the attempt ends, however it ends.
        storage: Where artifacts live.
        channel: To the worker that supervises the attempt.
        engines: The engines of this process, loaded at the first use.
        device: The device this process owns: ``cpu`` or ``cuda``.
        withheld: Services that no worker of the farm can run now → why.
        comfy: The ComfyUI of this process, started or reached at the first use.
        node_times: ComfyUI node class → how long it took in earlier runs (s).
        cache: The machine's kept downloads, if it keeps any.
    """

    def __init__(
        self,
        claim: Claim,
        scratch: Path,
        storage: Storage,
        channel: Channel,
        *,
        engines: Callable[[], EngineSet],
        device: str = "cpu",
        withheld: Mapping[str, str] = MappingProxyType({}),
        comfy: Callable[[], ComfyEngine] | None = None,
        node_times: Mapping[str, float] | None = None,
        cache: ArtifactCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = claim.ref.job
        self.node_id = claim.node_id
        self.service = claim.service
        self.attempt = claim.token
        self.scratch = scratch
        self.withheld = withheld
        self.storage = storage
        self._claim = claim
        self._channel = channel
        self._engines = engines
        self._device = device
        self._comfy = comfy
        self.node_times: Mapping[str, float] = node_times or {}
        self._cache = cache
        self._clock = clock
        self._started_at = clock()
        self._fraction = 0.0
        self._reported_at = float("-inf")
        self.fetched: dict[tuple[str, str], Version] = {}
        """By bucket and key, which version was fetched."""
        self.uploaded: set[tuple[str, str]] = set()
        """Bucket and key of what this attempt uploaded."""
        self._count = 0
        self._checkpoints: Checkpoints | None = None

    def progress(self, fraction: float) -> None:
        """Report the done part of this node, 0.0 to 1.0. Falling values are ignored; may be called often."""
        fraction = min(1.0, max(0.0, fraction))
        now = self._clock()
        # The end is always told, but for work so short that its completion tells the same at once.
        since = self._started_at if fraction == 1.0 else self._reported_at
        if fraction <= self._fraction or now - since < PROGRESS_EVERY_SECONDS:
            return
        self._fraction, self._reported_at = fraction, now
        self._channel.progress(fraction)

    def publish(self, data: Any) -> None:
        """Show something to whoever watches the job: any JSON value.

        Raises:
            ValueError, TypeError: ``data`` is not JSON (``NaN`` and infinities are not).
        """
        self._channel.publish(data if isinstance(data, str) else json.dumps(data, allow_nan=False))

    @property
    def cancelled(self) -> bool:
        """Whether this attempt has become pointless: cancelled, past its time, or its lease passed on."""
        return self._channel.stop_reason is not None

    def check(self) -> None:
        """Stop here if this attempt has become pointless.

        Raises:
            Cancelled: The job was cancelled.
            TimedOut: It has run for longer than its capability allows.
            LeaseLost: The node's lease passed to another start.
        """
        if (reason := self._channel.stop_reason) is not None:
            raise stop_error(reason, self.node_id)

    def fetch(self, source: Artifact | str) -> Path:
        """Download an artifact into the scratch folder, or take it from the machine's cache; do not write into it.

        Args:
            source: An artifact, whose size is then verified, or ``"bucket/key"``.

        Raises:
            StorageError: See :mod:`.storage`.
        """
        self.check()
        if isinstance(source, str):
            bucket, key = self.storage.parse_path(source)
            size = None
        else:
            bucket, key, size = source.bucket, source.key, source.size_bytes
        self._count += 1
        suffix = Path(key).suffix
        name = f"in-{self._count}{suffix if suffix.isascii() and len(suffix) <= 10 else ''}"
        path = self.scratch / name

        def note(found: Version) -> None:
            self.fetched[bucket, key] = found

        if self._cache is None:
            self.storage.download(bucket, key, path, expected_size=size, on_version=note)
            self._channel.moved("in", path.stat().st_size)
        else:
            self._cache.fetch(
                bucket,
                key,
                path,
                expected_size=size,
                check=self.check,
                on_version=note,
                on_lookup=self._looked_up,
            )
        return path

    def _looked_up(self, fetched: CachedFetch) -> None:
        self._channel.looked_up(fetched)
        if fetched.result in ("miss", "bypass"):
            self._channel.moved("in", fetched.size)

    def keep(
        self,
        path: Path,
        *,
        bucket: str = "staged",
        content_type: str | None = None,
        name: str | None = None,
        sha256: str | None = None,
    ) -> Artifact:
        """Upload a file as an artifact of this attempt.

        The object's key is made of job, node, visit and attempt, so that no attempt can overwrite another's.

        Args:
            name: Last part of the key; the file's name by default.
            sha256: What the file's SHA-256 must be, where it was verified before.
        """
        self.check()
        self._channel.uploads()
        key = self.folder + (name or path.name)
        artifact = self.storage.upload(path, bucket, key, content_type=content_type, sha256=sha256)
        self.uploaded.add((bucket, key))
        self._channel.moved("out", artifact.size_bytes)
        return artifact

    def take_over(self, bucket: str, key: str, version: Version) -> Artifact:
        """Copy an object inside storage to where this attempt keeps its own, under its name.

        Raises:
            ArtifactMissing, ArtifactCorrupt: It no longer has this version.
            StorageError: See :mod:`.storage`.
        """
        self.check()
        self._channel.uploads()
        return self.storage.copy(bucket, key, version, self.folder + name_of(key))

    @property
    def folder(self) -> str:
        """What the keys of this attempt's artifacts begin with."""
        return attempt_folder(self.job, self.node_id, self._claim.ref.entry, self.attempt)

    @property
    def checkpoints(self) -> Checkpoints:
        """The steps of this node's work that were kept, by this attempt or one before it in this visit."""
        if self._checkpoints is None:
            self._checkpoints = Checkpoints(
                self._claim, self.scratch, self.storage, uploads=self._begin_step, kept=self._channel.kept
            )
        return self._checkpoints

    def kept(self, step: str) -> Artifact | None:
        """What was kept of a step of this very work (same service, params and input); ``None`` if nothing was.

        Raises:
            StorageError: Storage refused or cannot be reached.
        """
        return self.checkpoints.artifact(step)

    def keep_step(self, step: str, path: Path) -> Artifact | None:
        """Keep a step of the work, so that a later attempt can go on from there (:meth:`.Checkpoints.keep`).

        An attempt that kept a new step and is lost then costs its node nothing.
        """
        return self.checkpoints.keep(step, path)

    def _begin_step(self) -> None:
        self.check()
        self._channel.uploads()

    @property
    def object_prefix(self) -> str:
        """What the keys of this node's artifacts begin with, whatever the attempt."""
        return node_folder(self.job, self.node_id)

    def current_progress(self, given: float | None) -> float:
        """The job's progress once this node is done, for the output's ``currentProgress``.

        Args:
            given: The input's ``currentProgress``; without one the farm's own reckoning is used.
        """
        return min(1.0, (self._claim.progress if given is None else max(0.0, given)) + self._claim.weight)

    @property
    def engines(self) -> EngineSet:
        """The engines that do the work of the generating tasks.

        Raises:
            EngineUnavailable: They cannot be had on this machine.
        """
        return self._engines()

    @property
    def comfy(self) -> ComfyEngine:
        """The ComfyUI that runs this process' prompts.

        Raises:
            EngineUnavailable: There is none.
        """
        if self._comfy is None:
            raise EngineUnavailable("no ComfyUI is configured on this machine")
        return self._comfy()

    def record_node_times(self, seconds: Mapping[str, float]) -> None:
        """Let later prompts know how long node classes took in this one (s)."""
        self._channel.node_times(seconds)

    @contextmanager
    def device(self) -> Iterator[str]:
        """The device of this process (``cpu`` or ``cuda``), taken by one task at a time."""
        if not _device_lock.acquire(blocking=False):
            self._channel.uses_device("waiting")
            while not _device_lock.acquire(timeout=0.5):
                self.check()
        try:
            self._channel.uses_device("held")
            yield self._device
        finally:
            _device_lock.release()
            self._channel.uses_device("free")

    def stream(self, **options: Any) -> StreamAdapter:
        """A file to hand to a library that prints its progress; see :class:`.StreamAdapter`."""
        return StreamAdapter(self.progress, **options)

    def steps(self, start: float, end: float) -> Steps:
        """This task's progress from ``start`` to ``end``, for an engine that reports its own 0 to 1."""
        return Steps(self, start, end)


def stop_error(reason: StopReason, node_id: str) -> FarmError:
    """The error of an attempt that ends because it has become pointless."""
    match reason:
        case "cancelled":
            return Cancelled("the job was cancelled")
        case "timeout":
            return TimedOut(f"node {node_id!r} ran for longer than its capability allows")
        case "lost":
            return LeaseLost(f"the lease of node {node_id!r} passed to another worker")


class Steps:
    """A part of a task's progress, as engines see it (:class:`.engines.Steps`)."""

    def __init__(self, task: Task, start: float, end: float) -> None:
        self._task, self._start, self._end = task, start, end

    def progress(self, fraction: float) -> None:
        self._task.progress(self._start + (self._end - self._start) * fraction)

    def check(self) -> None:
        self._task.check()


def worker_name() -> str:
    """This process, for people: host and process id."""
    return f"{os.uname().nodename}:{os.getpid()}"
