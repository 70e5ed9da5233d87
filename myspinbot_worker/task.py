"""What a task function is handed: artifacts, progress, data, cancellation, a scratch folder, the device."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .engines import EngineSet
from .errors import Cancelled, LeaseLost
from .graph.transitions import Claim
from .storage import Artifact, Storage
from .stream_adapter import StreamAdapter

PROGRESS_EVERY_SECONDS = 0.2
"""At most this often is a node's progress sent on; what lies between is dropped."""

_LONGEST_SEGMENT = 300
"""Job, node and a file's name must fit into S3's 1,024 bytes together."""

_device_lock = threading.Lock()


class Task:
    """One attempt at one node.

    Args:
        claim: The started node.
        make_scratch: Makes an empty folder, which goes when the attempt ends.
        storage: Where artifacts live.
        report: Sends a fraction and renews the lease: ``ok``, ``cancelled`` or ``lost``.
        publish_data: Publishes to the job's data channel; ``False`` if the node has passed to another start.
        verdict: What the lease keeper has learned meanwhile: empty, ``cancelled`` or ``lost``.
        engines: The engines of this process, loaded at the first use.
        device: The device this process owns: ``cpu`` or ``cuda``.
        moved: Told ``in`` or ``out`` and the bytes of every artifact fetched or kept.
    """

    def __init__(
        self,
        claim: Claim,
        make_scratch: Callable[[], Path],
        storage: Storage,
        *,
        report: Callable[[float], str],
        publish_data: Callable[[Any], bool],
        verdict: Callable[[], str],
        engines: Callable[[], EngineSet],
        device: str = "cpu",
        moved: Callable[[str, int], None] = lambda direction, size: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = claim.ref.job
        self.node_id = claim.node_id
        self.service = claim.service
        self.attempt = claim.token
        self._make_scratch = make_scratch
        self.storage = storage
        self.kept: list[Artifact] = []
        self._claim = claim
        self._report = report
        self._publish_data = publish_data
        self._verdict = verdict
        self._engines = engines
        self._device = device
        self._moved = moved
        self._clock = clock
        self._started_at = clock()
        self._fraction = 0.0
        self._reported_at = float("-inf")
        self._learned = ""
        self._fetched = 0

    @cached_property
    def scratch(self) -> Path:
        """A folder for this attempt's files, made at its first use; gone when the attempt ends, however it ends."""
        return self._make_scratch()

    def progress(self, fraction: float) -> None:
        """Report the done part of this node, 0.0 to 1.0. Falling values are ignored; may be called often."""
        fraction = min(1.0, max(0.0, fraction))
        now = self._clock()
        # The end is always told, but for work so short that its completion tells the same at once.
        since = self._started_at if fraction == 1.0 else self._reported_at
        if fraction <= self._fraction or now - since < PROGRESS_EVERY_SECONDS:
            return
        self._fraction, self._reported_at = fraction, now
        self._learn(self._report(fraction))

    def publish(self, data: Any) -> None:
        """Show something to whoever watches the job: any JSON value."""
        if not self._publish_data(data):
            self._learn("lost")

    @property
    def cancelled(self) -> bool:
        """Whether this attempt has become pointless: the job was cancelled, or the lease passed on."""
        return bool(self._learned or self._verdict())

    def check(self) -> None:
        """Stop here if this attempt has become pointless.

        Raises:
            Cancelled: The job was cancelled.
            LeaseLost: The node's lease passed to another start.
        """
        match self._learned or self._verdict():
            case "cancelled":
                raise Cancelled("the job was cancelled")
            case "lost":
                raise LeaseLost(f"the lease of node {self.node_id!r} passed to another worker")

    def fetch(self, source: Artifact | str) -> Path:
        """Download an artifact into the scratch folder.

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
        self._fetched += 1
        suffix = Path(key).suffix
        name = f"in-{self._fetched}{suffix if suffix.isascii() and len(suffix) <= 10 else ''}"
        path = self.storage.download(bucket, key, self.scratch / name, expected_size=size)
        self._moved("in", path.stat().st_size)
        return path

    def keep(
        self, path: Path, *, bucket: str = "staged", content_type: str | None = None, name: str | None = None
    ) -> Artifact:
        """Upload a file as an artifact of this attempt.

        The object's key is made of job, node, visit and attempt, so that no attempt can overwrite another's.

        Args:
            name: Last part of the key; the file's name by default.
        """
        self.check()
        artifact = self.storage.upload(
            path,
            bucket,
            f"{self.attempts_prefix}{self.attempt}/{name or path.name}",
            content_type=content_type,
        )
        self.kept.append(artifact)
        self._moved("out", artifact.size_bytes)
        return artifact

    @property
    def object_prefix(self) -> str:
        """What the keys of this node's artifacts begin with, whatever the attempt."""
        return f"{_segment(self.job)}/{_segment(self.node_id)}/"

    def current_progress(self, given: float | None) -> float:
        """The job's progress once this node is done, for the output's ``currentProgress``.

        Args:
            given: The input's ``currentProgress``; without one the farm's own reckoning is used.
        """
        return min(1.0, (self._claim.progress if given is None else max(0.0, given)) + self._claim.weight)

    @property
    def attempts_prefix(self) -> str:
        """The same for one visit of the job: its stream entry is part of the key, as attempts count anew in each."""
        return f"{self.object_prefix}{self._claim.ref.entry}/"

    @property
    def engines(self) -> EngineSet:
        """The engines that do the work of the generating tasks.

        Raises:
            EngineUnavailable: They cannot be had on this machine.
        """
        return self._engines()

    @contextmanager
    def device(self) -> Iterator[str]:
        """The device of this process (``cpu`` or ``cuda``), taken by one task at a time."""
        while not _device_lock.acquire(timeout=0.5):
            self.check()
        try:
            yield self._device
        finally:
            _device_lock.release()

    def stream(self, **options: Any) -> StreamAdapter:
        """A file to hand to a library that prints its progress; see :class:`.StreamAdapter`."""
        return StreamAdapter(self.progress, **options)

    def steps(self, start: float, end: float) -> Steps:
        """This task's progress from ``start`` to ``end``, for an engine that reports its own 0 to 1."""
        return Steps(self, start, end)

    def _learn(self, result: str) -> None:
        if result != "ok":
            self._learned = result


def _segment(name: str) -> str:
    """A part of an object's key, different for different names, whatever they hold and however long they are."""
    # "." and ".." are no names of objects, and quote() leaves them alone.
    quoted = quote(name, safe="").replace(".", "%2E")
    if len(quoted) > _LONGEST_SEGMENT:
        return f"{quoted[: _LONGEST_SEGMENT // 2]}%{hashlib.sha256(name.encode()).hexdigest()}"
    return quoted or "%empty"


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
