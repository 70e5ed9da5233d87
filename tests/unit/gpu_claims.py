"""Claiming devices in a lock folder of a test's own, where every descriptor must be closed again.

``no_torch`` and ``descriptors`` apply to all tests of a module that imports them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from myspinbot_worker.gpu import DeviceLease, claim_device


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
