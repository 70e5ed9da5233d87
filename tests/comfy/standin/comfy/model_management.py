"""Stand-in: memory of a device that does not exist, and the interrupt flag."""

from __future__ import annotations

import threading
from typing import Any

_interrupted = threading.Event()


class InterruptProcessingException(Exception):
    """Ends the running prompt."""


def interrupt_current_processing(value: bool = True) -> None:
    """Set or clear the flag."""
    if value:
        _interrupted.set()
    else:
        _interrupted.clear()


def throw_exception_if_processing_interrupted() -> None:
    """Raise once if the flag is set."""
    if _interrupted.is_set():
        _interrupted.clear()
        raise InterruptProcessingException


def get_torch_device() -> str:
    """The only one there is."""
    return "cpu"


def get_free_memory(dev: Any = None) -> int:
    """Bytes; some."""
    return 8 << 30


def unload_all_models() -> None:
    """There are none on a device."""


def soft_empty_cache() -> None:
    """There is none."""
