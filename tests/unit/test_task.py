"""What a task function is handed, with the clock and everything outside injected."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.errors import Cancelled, LeaseLost, TimedOut
from myspinbot_worker.storage import check_key
from myspinbot_worker.task import PROGRESS_EVERY_SECONDS, StopReason
from tests.unit.attempts import Desk, claim
from tests.unit.examples import many

TICK = PROGRESS_EVERY_SECONDS


class TestProgress:
    def test_the_first_report_goes_out_at_once(self) -> None:
        desk = Desk()
        desk.task().progress(0.01)
        assert desk.reported == [0.01]

    def test_what_comes_too_soon_is_dropped(self) -> None:
        desk = Desk(now=0.0)
        task = desk.task()
        for step in range(1, 100):
            desk.now = step // 10 * TICK * 1.01
            task.progress(step / 100)
        assert desk.reported == [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]

    def test_the_end_is_never_dropped(self) -> None:
        desk = Desk()
        task = desk.task()
        desk.now += TICK
        task.progress(0.5)
        task.progress(0.9)
        task.progress(1.0)
        task.progress(1.0)
        assert desk.reported == [0.5, 1.0]

    def test_the_end_of_very_short_work_is_told_by_its_completion(self) -> None:
        desk = Desk()
        desk.task().progress(1.0)
        assert desk.reported == []

    def test_a_dropped_report_does_not_delay_the_next(self) -> None:
        desk = Desk(now=0.0)
        task = desk.task()
        task.progress(0.1)
        desk.now = TICK * 0.9
        task.progress(0.2)
        desk.now = TICK
        task.progress(0.3)
        assert desk.reported == [0.1, 0.3]

    @pytest.mark.parametrize("fraction", [0.0, -1.0, -math.inf, math.nan])
    def test_nothing_done_is_nothing_to_report(self, fraction: float) -> None:
        desk = Desk()
        desk.task().progress(fraction)
        assert desk.reported == []

    @pytest.mark.parametrize("fraction", [1.5, 100, math.inf])
    def test_more_than_everything_is_everything(self, fraction: float) -> None:
        desk = Desk()
        task = desk.task()
        desk.now += TICK
        task.progress(fraction)
        assert desk.reported == [1.0]

    @many
    @given(st.lists(st.tuples(st.floats(allow_nan=True), st.floats(0, 1))))
    def test_reports_only_grow_and_keep_their_distance(self, calls: list[tuple[float, float]]) -> None:
        desk = Desk()
        task = desk.task()
        times = []
        for fraction, wait in calls:
            desk.now += wait
            before = len(desk.reported)
            task.progress(fraction)
            times += [desk.now] * (len(desk.reported) - before)
        assert desk.reported == sorted(set(desk.reported))
        assert all(0 < fraction <= 1 for fraction in desk.reported)
        pairs = zip(times, times[1:], desk.reported[1:], strict=False)
        assert all(late - early >= TICK or fraction == 1 for early, late, fraction in pairs)

    def test_of_a_part_of_the_work(self) -> None:
        desk = Desk(now=0.0)
        steps = desk.task().steps(0.2, 0.6)
        for fraction in (0.0, 0.5, 1.0):
            desk.now += TICK
            steps.progress(fraction)
        assert desk.reported == pytest.approx([0.2, 0.4, 0.6])

    def test_of_what_a_program_prints(self) -> None:
        desk = Desk()
        stream = desk.task().stream()
        stream.write(" 40%|####      | 4/10\n")
        assert desk.reported == [0.4]


class TestStopping:
    @pytest.mark.parametrize(
        ("reason", "error"), [("cancelled", Cancelled), ("timeout", TimedOut), ("lost", LeaseLost)]
    )
    def test_every_check_raises_from_then_on(self, reason: StopReason, error: type[Exception]) -> None:
        desk = Desk()
        task = desk.task()
        task.check()
        assert not task.cancelled
        desk.stop_reason = reason
        assert task.cancelled
        for check in (task.check, task.steps(0, 1).check, task.check):
            with pytest.raises(error):
                check()

    def test_no_artifact_is_moved_for_nothing(self) -> None:
        task = Desk(stop_reason="cancelled").task()
        with pytest.raises(Cancelled):
            task.fetch("input/x.wav")
        with pytest.raises(Cancelled):
            task.keep(task.scratch / "x.wav")


class TestPublishing:
    def test_text_is_left_alone_and_the_rest_becomes_json(self) -> None:
        desk = Desk()
        desk.task().publish("{x")
        desk.task().publish({"frame": 1, "tags": []})
        assert desk.data == ["{x", '{"frame": 1, "tags": []}']

    @pytest.mark.parametrize("data", [math.nan, object(), {1: math.inf}])
    def test_what_is_not_json_is_refused(self, data: object) -> None:
        with pytest.raises((ValueError, TypeError)):
            Desk().task().publish(data)


class TestCurrentProgress:
    @pytest.mark.parametrize(
        ("progress", "weight", "given", "after"),
        [
            (0.0, 0.25, 0.5, 0.75),
            (0.9, 0.25, 0.5, 0.75),
            (0.5, 0.25, None, 0.75),
            (0.5, 0.25, 0.0, 0.25),
            (0.9, 0.25, None, 1.0),
            (0.0, 0.25, 0.9, 1.0),
            (0.0, 0.25, 7.0, 1.0),
            (0.0, 0.25, math.inf, 1.0),
            (0.0, 0.25, -3.0, 0.25),
            (0.0, 0.25, -math.inf, 0.25),
            (0.0, 0.25, math.nan, 0.25),
        ],
    )
    def test_the_nodes_weight_is_added(
        self, progress: float, weight: float, given: float | None, after: float
    ) -> None:
        task = Desk().task(claim(progress=progress, weight=weight))
        assert task.current_progress(given) == pytest.approx(after)


names = st.text(st.characters(exclude_categories=["Cs"]))


def prefix(job: str, node_id: str) -> str:
    return Desk().task(claim(job=job, node_id=node_id)).object_prefix


class TestObjectKeys:
    @pytest.mark.parametrize(
        ("job", "node_id", "wanted"),
        [
            ("job-1", "a", "job-1/a/"),
            ("..", ".", "%2E%2E/%2E/"),
            ("a/b", "../x", "a%2Fb/%2E%2E%2Fx/"),
            ("\u00e9", "\U0001f600", "%C3%A9/%F0%9F%98%80/"),
            ("%2E", "a b", "%252E/a%20b/"),
            ("\x00", "\n", "%00/%0A/"),
            ("a\\b", "*?", "a%5Cb/%2A%3F/"),
        ],
    )
    def test_nasty_ids(self, job: str, node_id: str, wanted: str) -> None:
        assert prefix(job, node_id) == wanted

    @many
    @given(names.filter(bool), names.filter(bool))
    def test_a_key_says_which_node_it_is_of_and_storage_takes_it(self, job: str, node_id: str) -> None:
        made = prefix(job, node_id)
        # Each byte is spelled with three characters at most; what is longer is shortened, and still its own.
        if max(len(job.encode()), len(node_id.encode())) <= 100:
            assert [unquote(part) for part in made.split("/")] == [job, node_id, ""]
        assert check_key(f"{made}1/x.wav")

    @many
    @given(st.tuples(names, names), st.tuples(names, names))
    def test_no_node_has_anothers_keys(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        assert prefix(*one).startswith(prefix(*other)) == (one == other)

    def test_a_node_without_a_name_can_keep_artifacts(self) -> None:
        assert check_key(prefix("job-1", "") + "1/x.wav")

    @pytest.mark.parametrize(
        ("job", "node_id"), [("j" * 1024, "a"), ("\u00e9" * 200, "a"), ("j", "n" * 1024)]
    )
    def test_a_node_with_a_long_name_can_keep_artifacts(self, job: str, node_id: str) -> None:
        assert check_key(prefix(job, node_id) + "1/x.wav")


class TestDevice:
    @staticmethod
    def in_a_thread(work: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
        errors: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, errors

    def test_it_is_taken_by_one_at_a_time(self) -> None:
        busy = threading.Semaphore(1)
        turns = []

        def work() -> None:
            task = Desk().task(device="cuda")
            for _ in range(200):
                with task.device() as device:
                    assert busy.acquire(blocking=False), "two have the device"
                    turns.append(device)
                    busy.release()

        started = [self.in_a_thread(work) for _ in range(4)]
        for thread, errors in started:
            thread.join(10)
            assert not thread.is_alive()
            assert errors == []
        assert turns == ["cuda"] * 800

    def test_it_is_given_back_after_an_error(self) -> None:
        task = Desk().task()
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), task.device():
                raise ZeroDivisionError

    def test_who_waits_for_it_learns_of_a_cancel(self) -> None:
        desk = Desk()
        waiting = threading.Event()
        waiter = desk.task()

        def work() -> None:
            waiting.set()
            with waiter.device():
                raise AssertionError("it was not free")

        with Desk().task().device():
            thread, errors = self.in_a_thread(work)
            assert waiting.wait(5)
            desk.stop_reason = "cancelled"
            thread.join(5)
        assert [type(error) for error in errors] == [Cancelled]
        assert desk.device_uses == ["waiting"]
