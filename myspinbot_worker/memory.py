"""What is done about a task that runs out of memory: free what is only cached, and try once more on the spot."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .errors import OutOfMemory

log = logging.getLogger(__name__)

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, or a device's (torch is not imported to know its error)."""
    return isinstance(error, MemoryError | OutOfMemory) or type(error).__name__ == "OutOfMemoryError"


class Memory:
    """The memory of this process and of its device.

    Args:
        caches: Called to let go of what can be loaded again.
    """

    def __init__(self, caches: Sequence[Callable[[], object]]) -> None:
        self._caches = caches

    def free(self) -> None:
        """Let go of loaded models and of what torch keeps for later."""
        for cache in self._caches:
            cache()
        gc.collect()
        if (cuda := _cuda()) is not None:
            cuda.empty_cache()

    def sizes(self) -> dict[str, int]:
        """Bytes: of this process, free on the host, and (if torch uses one) free, total and taken on the device."""
        page = os.sysconf("SC_PAGE_SIZE")
        found = {"hostFreeBytes": page * os.sysconf("SC_AVPHYS_PAGES")}
        statm = Path("/proc/self/statm")
        if statm.exists():
            found["processBytes"] = page * int(statm.read_text().split()[1])
        if (cuda := _cuda()) is not None:
            free, total = cuda.mem_get_info()
            found |= {
                "deviceFreeBytes": free,
                "deviceTotalBytes": total,
                "deviceAllocatedBytes": cuda.memory_allocated(),
                "deviceReservedBytes": cuda.memory_reserved(),
            }
        return found


def _cuda() -> Any:
    """``torch.cuda`` if a task has brought torch in and a device is in use."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def run_within_memory(memory: Memory, action: Callable[[], T]) -> T:
    """``action()``; if it runs out of memory, once more after freeing the caches.

    Raises:
        OutOfMemory: It did so twice; the details hold the sizes at both times.
    """
    try:
        return action()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        first, message = memory.sizes(), str(error)
    # Outside the handler: the error's frames hold what took the memory.
    log.warning("out of memory (%s); caches are freed and the task tries again: %s", message, first)
    memory.free()
    try:
        return action()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"out of memory, also after freeing the caches: {error or type(error).__name__}",
            details={"sizes": {"first": first, "second": memory.sizes()}},
        ) from error
