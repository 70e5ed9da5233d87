"""The plan of windows: each frame made once, overlaps exact, lengths that the model takes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.comfy.windows import Window, plan_windows


@given(
    frames=st.integers(1, 20_000),
    window=st.integers(1, 64).map(lambda n: 4 * n + 1),
    data=st.data(),
)
def test_every_frame_is_made_once(frames: int, window: int, data: st.DataObject) -> None:
    motion = data.draw(st.integers(1, window - 1))
    windows = plan_windows(frames, window, motion)
    assert [it.index for it in windows] == list(range(len(windows)))
    assert windows[0].start == 0
    assert windows[0].overlap == 0
    assert windows[-1].end == frames
    for it in windows:
        assert it.length % 4 == 1
        assert 5 <= it.length <= window
        assert 1 <= it.new <= it.length - it.overlap
    for before, after in pairwise(windows):
        assert after.first_new == before.end, "new frames follow each other"
        assert after.overlap == motion
        assert before.length == window, "only the last one is shorter"
        assert before.new == before.length - before.overlap, (
            "what the next one goes on from is the end of the window"
        )
        assert after.start >= before.start
    # What is made for nothing is less than what the model's steps of four ask for.
    assert windows[-1].length - windows[-1].overlap - windows[-1].new < 5


def test_a_minute_in_windows_of_81() -> None:
    windows = plan_windows(1500, 81, 9)
    assert len(windows) == 21
    assert windows[0] == Window(0, 0, 81, 0, 81)
    assert windows[1] == Window(1, 72, 81, 9, 72)


@pytest.mark.parametrize(
    ("frames", "window", "motion", "said"),
    [
        (0, 81, 9, "0 frames"),
        (10, 80, 9, "not 80"),
        (10, 1, 1, "not 1"),
        (10, 9, 9, "not 9"),
        (10, 9, 0, "not 0"),
    ],
)
def test_numbers_that_do_not_fit(frames: int, window: int, motion: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan_windows(frames, window, motion)
