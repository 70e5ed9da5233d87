"""What an input may cost: seconds of CPU by an alarm, bytes by a limit on the process and by counting."""

from __future__ import annotations

import resource
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

SECONDS = 5.0
"""Generous: the slowest of these inputs takes a tenth of it. Of CPU, so that a busy machine changes nothing."""

ROOM = 1 << 30
"""Bytes that all of a test's inputs, one after the other, may take beyond what the process has."""


class TookTooLong(BaseException):
    """No ``except Exception`` of the code under test may catch it."""


@contextmanager
def in_time(seconds: float = SECONDS) -> Iterator[None]:
    """Raise :class:`TookTooLong` if the block takes longer; for the main thread."""

    def late(number: int, frame: FrameType | None) -> NoReturn:
        raise TookTooLong(f"more than {seconds:g} s of CPU")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def in_memory(room: int = ROOM) -> Iterator[None]:
    """Let this process' address space grow by ``room`` bytes and no more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def peak(call: Callable[[], object]) -> int:
    """Most bytes of Python objects that ``call`` held at one time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
