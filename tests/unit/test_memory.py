"""What is done about memory that runs out; the device is a fake, as none is here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from myspinbot_worker.errors import OutOfMemory
from myspinbot_worker.memory import Memory, is_out_of_memory, run_within_memory


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


class FakeCuda:
    """A device of 24 GB: what a task took stays taken until the caches are emptied."""

    def __init__(self) -> None:
        self.cached = 20 << 30
        self.emptied = 0

    def is_initialized(self) -> bool:
        return True

    def empty_cache(self) -> None:
        self.cached = 0
        self.emptied += 1

    def mem_get_info(self) -> tuple[int, int]:
        return (24 << 30) - self.cached, 24 << 30

    def memory_allocated(self) -> int:
        return 0

    def memory_reserved(self) -> int:
        return self.cached


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    torch: Any = ModuleType("torch")
    torch.cuda = fake
    monkeypatch.setitem(sys.modules, "torch", torch)
    return fake


def taking(sizes: list[int], cuda: FakeCuda) -> Callable[[], str]:
    """Work that takes so many bytes at each try."""
    left = iter(sizes)

    def work() -> str:
        wanted = next(left)
        free, _ = cuda.mem_get_info()
        if wanted > free:
            raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {wanted} bytes")
        return "done"

    return work


def test_the_caches_are_freed_and_it_tries_again(cuda: FakeCuda) -> None:
    freed: list[str] = []
    memory = Memory(caches=[lambda: freed.append("models")])
    assert run_within_memory(memory, taking([10 << 30, 10 << 30], cuda)) == "done"
    assert (freed, cuda.emptied) == (["models"], 1)


def test_twice_is_enough_and_the_sizes_of_both_times_are_told(cuda: FakeCuda) -> None:
    with pytest.raises(OutOfMemory, match="Tried to allocate") as error:
        run_within_memory(Memory(caches=[]), taking([30 << 30, 30 << 30], cuda))
    sizes = error.value.details["sizes"]
    assert sizes["first"]["deviceFreeBytes"] == 4 << 30
    assert sizes["second"]["deviceFreeBytes"] == sizes["second"]["deviceTotalBytes"] == 24 << 30
    assert sizes["second"]["processBytes"] > 1 << 20
    assert error.value.retryable


def test_other_errors_are_not_tried_again() -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            run_within_memory(Memory(caches=[]), work)
    assert len(tries) == 2


def test_another_error_at_the_second_try_is_that_error() -> None:
    errors = iter([MemoryError(), ValueError("else")])

    def work() -> None:
        raise next(errors)

    with pytest.raises(ValueError, match="else"):
        run_within_memory(Memory(caches=[]), work)


def test_without_a_device_only_the_host_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", torch)
    memory = Memory(caches=[])
    assert set(memory.sizes()) == {"hostFreeBytes", "processBytes"}
    memory.free()


@pytest.mark.parametrize(
    ("error", "expected"),
    [(MemoryError(), True), (OutOfMemoryError(), True), (OutOfMemory("x"), True), (ValueError(), False)],
)
def test_what_counts(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
