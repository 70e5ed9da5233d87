"""Renews the leases of running nodes from a process of its own.

A thread of the worker could not: a task that sits in C code holding the GIL would stop it, the lease would
run out, and a second worker would start the same node. The worker writes what it holds into shared memory,
one slot a running task, and the keeper renews each slot about once a second. It stops at once when the
worker dies (its standard input closes), and renews nothing while the worker is stopped (SIGSTOP): a frozen
worker must lose its leases.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .graph.messages import Messages
from .graph.store import RunStore
from .graph.transitions import Limits
from .keys import Keys, NodeRef
from .redis_clients import TRANSIENT, connect

log = logging.getLogger(__name__)

_SLOT = 2048
# generation (0: free), start number, length of the node reference, checksum of the three and the reference
_HEAD = struct.Struct("<QQII")
# The keeper's answer at the end of the slot: generation it is about, verdict.
_ANSWER = struct.Struct("<QB")
_ANSWER_AT = _SLOT - _ANSWER.size
_VERDICTS = ("", "cancelled", "lost")
_FIRST_RENEWAL_SECONDS = 1.0
_RESTART_SECONDS = 1.0
"""One that dies again at once is not started again at once."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A running node as the keeper sees it; ``generation`` tells two uses of one slot apart."""

    generation: int
    token: int
    ref: NodeRef


class LeaseSlots:
    """The shared memory between a worker and its keeper."""

    def __init__(self, file: IO[bytes], count: int) -> None:
        self._memory = mmap.mmap(file.fileno(), _SLOT * count)
        self.count = count

    def write(self, slot: int, holding: Holding) -> None:
        text = str(holding.ref).encode()
        if _HEAD.size + len(text) > _ANSWER_AT:
            raise ValueError(f"node reference of {len(text)} bytes does not fit a lease slot")
        head = struct.pack("<QQI", holding.generation, holding.token, len(text))
        record = _HEAD.pack(holding.generation, holding.token, len(text), zlib.crc32(head + text)) + text
        self._memory[slot * _SLOT : slot * _SLOT + len(record)] = record

    def clear(self, slot: int) -> None:
        self._memory[slot * _SLOT : slot * _SLOT + 8] = bytes(8)

    def read(self, slot: int) -> Holding | None:
        """What a slot holds; ``None`` if it is free or is being written just now."""
        data = self._memory[slot * _SLOT : slot * _SLOT + _ANSWER_AT]
        generation, token, length, checksum = _HEAD.unpack_from(data)
        if not generation or length > len(data) - _HEAD.size:
            return None
        text = data[_HEAD.size : _HEAD.size + length]
        if zlib.crc32(struct.pack("<QQI", generation, token, length) + text) != checksum:
            return None
        return Holding(generation, token, NodeRef.parse(text.decode()))

    def answer(self, slot: int, generation: int, verdict: str) -> None:
        at = slot * _SLOT + _ANSWER_AT
        self._memory[at : at + _ANSWER.size] = _ANSWER.pack(generation, _VERDICTS.index(verdict))

    def verdict(self, slot: int, generation: int) -> str:
        about, verdict = _ANSWER.unpack_from(self._memory, slot * _SLOT + _ANSWER_AT)
        return _VERDICTS[verdict] if about == generation else ""


class Hold:
    """A lease being kept; what the keeper learned about it."""

    def __init__(self, slots: LeaseSlots, slot: int, generation: int) -> None:
        self._slots, self._slot, self._generation = slots, slot, generation

    @property
    def verdict(self) -> str:
        """Empty while all is well; ``cancelled``, or ``lost`` when the node has passed to another start."""
        return self._slots.verdict(self._slot, self._generation)


class LeaseKeeper:
    """The worker's side: starts the keeper process, restarts it if it dies, tells it what is held.

    Args:
        url: Redis.
        namespace: Of the farm's keys.
        lease_ms: Lease length.
        count: Most tasks at one time.
    """

    def __init__(self, url: str, namespace: str, lease_ms: int, count: int) -> None:
        self._settings = {"url": url, "namespace": namespace, "lease_ms": lease_ms, "count": count}
        self._file = tempfile.TemporaryFile(prefix="myspinbot-leases-")  # noqa: SIM115 - lives as long as the worker
        self._file.truncate(_SLOT * count)
        self._slots = LeaseSlots(self._file, count)
        self._free = list(range(count))
        self._generation = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._child = self._spawn()
        self._supervisor = threading.Thread(
            target=self._supervise, name="lease-keeper-supervisor", daemon=True
        )
        self._supervisor.start()

    @contextmanager
    def hold(self, ref: NodeRef, token: int) -> Iterator[Hold]:
        """Keep a node's lease alive for the length of the block."""
        with self._lock:
            slot = self._free.pop()
            self._generation += 1
            generation = self._generation
        try:
            self._slots.write(slot, Holding(generation, token, ref))
            yield Hold(self._slots, slot, generation)
        finally:
            self._slots.clear(slot)
            with self._lock:
                self._free.append(slot)

    @property
    def pid(self) -> int:
        return self._child.pid

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            child = self._child
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
        self._supervisor.join()
        self._file.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        fd = self._file.fileno()
        # The settings hold the Redis password: they go through the pipe, not through the visible command line.
        child = subprocess.Popen(
            [sys.executable, "-m", "myspinbot_worker.lease_keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[fd],
        )
        assert child.stdin is not None
        child.stdin.write(json.dumps({**self._settings, "fd": fd, "worker": os.getpid()}).encode() + b"\n")
        child.stdin.flush()
        return child

    def _supervise(self) -> None:
        restarted = float("-inf")
        while True:
            self._child.wait()
            if self._closing.is_set():
                return
            log.error("the lease keeper died with code %s; starting another", self._child.returncode)
            if time.monotonic() - restarted < _RESTART_SECONDS and self._closing.wait(_RESTART_SECONDS):
                return
            restarted = time.monotonic()
            with self._lock:
                self._child = self._spawn()


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal (Linux; elsewhere never known)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


class _Renewals:
    """The keeper's side: which slots to renew now."""

    def __init__(self, slots: LeaseSlots, store: RunStore, worker: int, period: float) -> None:
        self._slots, self._store, self._worker, self._period = slots, store, worker, period
        self._next: dict[int, tuple[int, float]] = {}

    def sweep(self) -> None:
        for slot in range(self._slots.count):
            holding = self._slots.read(slot)
            if holding is None:
                self._next.pop(slot, None)
                continue
            now = time.monotonic()
            generation, due = self._next.get(slot, (0, 0.0))
            if generation != holding.generation:
                # Most tasks end before their first renewal: it costs them nothing.
                self._next[slot] = (holding.generation, now + self._period)
            elif now >= due and not _is_stopped(self._worker):
                self._renew(slot, holding)
                self._next[slot] = (holding.generation, now + self._period)

    def _renew(self, slot: int, holding: Holding) -> None:
        try:
            result = self._store.renew(holding.ref, holding.token)
        except TRANSIENT as error:
            log.warning("cannot renew %s: %s", holding.ref, error)
            return
        if result != "ok":
            self._slots.answer(slot, holding.generation, result)


def _main() -> None:
    settings: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    slots = LeaseSlots(os.fdopen(settings["fd"], "r+b", buffering=0), settings["count"])
    store = RunStore(
        connect(settings["url"], text=True),
        Keys(settings["namespace"]),
        messages=Messages(),
        limits=Limits(lease_ms=settings["lease_ms"]),
    )
    period = min(_FIRST_RENEWAL_SECONDS, settings["lease_ms"] / 3000)
    renewals = _Renewals(slots, store, settings["worker"], period)
    while not select.select([sys.stdin], [], [], period / 2)[0]:
        renewals.sweep()


if __name__ == "__main__":
    import signal

    # A terminal's Ctrl-C and a supervisor's SIGTERM reach the whole group; the keeper leaves with its worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING)
    _main()
