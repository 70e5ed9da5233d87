"""The shared memory between a worker and its lease keeper."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from myspinbot_worker.keys import NodeRef
from myspinbot_worker.lease_keeper import Holding, LeaseSlots

SLOT = 2048


@pytest.fixture
def slots() -> Iterator[LeaseSlots]:
    with tempfile.TemporaryFile() as file:
        file.truncate(SLOT * 3)
        yield LeaseSlots(file, 3)


def holding(generation: int = 1, token: int = 1, job: str = "job") -> Holding:
    return Holding(generation, token, NodeRef("1-1", 0, job))


def test_what_is_written_is_read(slots: LeaseSlots) -> None:
    slots.write(1, holding(7, 1 << 40, "j\u00e9|b"))
    assert slots.read(0) is None
    assert slots.read(1) == holding(7, 1 << 40, "j\u00e9|b")
    slots.clear(1)
    assert slots.read(1) is None


def test_the_longest_job_id_fits(slots: LeaseSlots) -> None:
    slots.write(0, holding(job="x" * 1024))
    assert slots.read(0) == holding(job="x" * 1024)
    with pytest.raises(ValueError, match="does not fit"):
        slots.write(0, holding(job="x" * 3000))


def test_a_half_written_slot_is_not_believed(slots: LeaseSlots) -> None:
    slots.write(0, holding(1, job="a" * 50))
    slots.write(0, holding(2, job="b" * 50))
    memory = slots._memory
    for at in (8, 16, 30, 60):
        kept = memory[at]
        memory[at] = kept ^ 1
        assert slots.read(0) is None
        memory[at] = kept
    assert slots.read(0) == holding(2, job="b" * 50)


def test_an_answer_is_for_one_use_of_the_slot(slots: LeaseSlots) -> None:
    slots.write(0, holding(1))
    slots.answer(0, 1, "lost")
    assert slots.verdict(0, 1) == "lost"
    slots.write(0, holding(2))
    assert slots.verdict(0, 2) == "", "a late answer to the task before is not this task's"
    slots.answer(0, 2, "cancelled")
    assert slots.verdict(0, 2) == "cancelled"
    assert slots.verdict(1, 2) == ""
