"""A process holds as many messages as it can work on, and no more."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from myspinbot_worker.slots import Slots

LONG = 30.0
"""Longer than any test waits: who gets a slot in time was woken."""


def slots(total: int, **by_queue: int) -> Slots:
    made = Slots()
    made.configure(total, by_queue)
    return made


def take(made: Slots, queue: str, message_id: str) -> None:
    assert made.reserve(queue, 0)
    made.fill(queue, message_id)


class TestLimits:
    def test_one_message_until_told_otherwise(self) -> None:
        made = Slots()
        take(made, "cpu", "1")
        assert not made.reserve("cpu", 0)
        assert not made.reserve("gpu", 0)

    @pytest.mark.parametrize("total", [0, 1, 3])
    def test_in_all(self, total: int) -> None:
        made = slots(total)
        for number in range(total):
            take(made, f"queue-{number % 2}", str(number))
        assert not made.reserve("cpu", 0)

    def test_a_reservation_counts(self) -> None:
        made = slots(2, gpu=1)
        assert made.reserve("gpu", 0)
        assert not made.reserve("gpu", 0)
        assert made.reserve("cpu", 0)
        assert not made.reserve("cpu", 0)

    def test_of_one_queue(self) -> None:
        made = slots(3, gpu=1)
        take(made, "gpu", "1")
        assert not made.reserve("gpu", 0)
        take(made, "cpu", "2")
        take(made, "cpu", "3")
        assert not made.reserve("cpu", 0)
        made.release("2")
        assert not made.reserve("gpu", 0)
        assert made.reserve("cpu", 0)

    def test_a_queue_without_slots_never_gets_one(self) -> None:
        made = slots(2, gpu=0)
        assert not made.reserve("gpu", 0.01)
        take(made, "cpu", "1")
        made.release("1")
        assert not made.reserve("gpu", 0)

    def test_fewer_slots_than_are_held(self) -> None:
        made = slots(3)
        for number in "123":
            take(made, "cpu", number)
        made.configure(1, {})
        made.release("1")
        made.release("2")
        assert not made.reserve("cpu", 0)
        made.release("3")
        assert made.reserve("cpu", 0)

    def test_the_limits_are_the_farms_own_copy(self) -> None:
        made = Slots()
        limits = {"gpu": 0}
        made.configure(2, limits)
        limits["gpu"] = 2
        assert not made.reserve("gpu", 0)


class TestGivingBack:
    def test_a_reservation_that_found_no_message(self) -> None:
        made = slots(1)
        for _ in range(3):
            assert made.reserve("cpu", 0)
            made.fill("cpu", None)

    def test_a_message_is_released_once_however_often_it_is_acknowledged(self) -> None:
        made = slots(2)
        take(made, "cpu", "1")
        take(made, "cpu", "2")
        for _ in range(5):
            made.release("1")
        assert made.reserve("cpu", 0)
        assert not made.reserve("cpu", 0)

    def test_a_message_that_was_never_held(self) -> None:
        made = slots(1)
        take(made, "cpu", "1")
        made.release("another")
        assert not made.reserve("cpu", 0)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts up whenever a thread begins to wait for a slot."""
    begun = threading.Semaphore(0)

    class Observed(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            begun.release()
            return super().wait(timeout)

    monkeypatch.setattr(threading, "Condition", Observed)
    return begun


class TestWaiting:
    @pytest.mark.parametrize("how", ["release", "fill", "configure"])
    def test_a_freed_slot_wakes_who_waits_for_it(self, how: str, waits: threading.Semaphore) -> None:
        made = slots(1)
        assert made.reserve("cpu", 0)
        if how != "fill":
            made.fill("cpu", "1")
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(made.reserve("gpu", LONG)))
        thread.start()
        assert waits.acquire(timeout=5)
        match how:
            case "release":
                made.release("1")
            case "fill":
                made.fill("cpu", None)
            case "configure":
                made.configure(2, {})
        thread.join(5)
        assert got == [True]

    def test_the_right_one_of_several_is_woken(self, waits: threading.Semaphore) -> None:
        made = slots(2, gpu=1, cpu=1)
        take(made, "gpu", "1")
        take(made, "cpu", "2")
        got: dict[str, bool] = {}

        def wait(queue: str) -> None:
            got[queue] = made.reserve(queue, LONG if queue == "cpu" else 0.2)

        threads = [threading.Thread(target=wait, args=(queue,)) for queue in ("gpu", "cpu")]
        for thread in threads:
            thread.start()
            assert waits.acquire(timeout=5)
        made.release("2")
        for thread in threads:
            thread.join(5)
        assert got == {"gpu": False, "cpu": True}


def test_limits_hold_however_many_threads_try() -> None:
    made = slots(3, gpu=1, cpu=2)
    lock = threading.Lock()
    held: Counter[str] = Counter()
    too_many: list[Any] = []
    together = threading.Barrier(6)
    done: Counter[str] = Counter()

    def work(number: int) -> None:
        queue = ("gpu", "cpu", "other")[number % 3]
        together.wait(10)
        for turn in range(100):
            if not made.reserve(queue, LONG):
                return
            with lock:
                held[queue] += 1
                if held.total() > 3 or held["gpu"] > 1 or held["cpu"] > 2:
                    too_many.append(dict(held))
            message = None if turn % 5 == 0 else f"{number}-{turn}"
            with lock:
                held[queue] -= 1
                done[queue] += 1
            made.fill(queue, message)
            if message:
                made.release(message)
                made.release(message)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert too_many == []
    assert done == {"gpu": 200, "cpu": 200, "other": 200}


class TestPassingOn:
    def test_the_slot_is_never_free(self) -> None:
        made = slots(1)
        take(made, "cpu", "1")
        assert made.may_pass_on("cpu", "1")
        made.pass_on("1", "2")
        assert not made.may_pass_on("cpu", "1"), "it has none any more"
        made.release("1")
        assert not made.reserve("cpu", 0)
        made.release("2")
        assert made.reserve("cpu", 0)

    def test_a_slot_that_is_to_be_given_up_is_not_passed_on(self) -> None:
        made = slots(2, gpu=2)
        take(made, "gpu", "1")
        take(made, "gpu", "2")
        made.configure(2, {"gpu": 1})
        assert not made.may_pass_on("gpu", "1")
        made.configure(0, {})
        assert not made.may_pass_on("gpu", "1")

    def test_another_queue_that_waits_has_its_turn(self) -> None:
        made = slots(1)
        take(made, "cpu", "1")
        got = threading.Event()

        def wait() -> None:
            if made.reserve("gpu", LONG):
                got.set()

        thread = threading.Thread(target=wait)
        thread.start()
        while made.may_pass_on("cpu", "1"):
            pass
        made.release("1")
        assert got.wait(LONG)
        thread.join()
