"""What is printed becomes progress, however it is cut into writes and whoever prints it."""

from __future__ import annotations

import io
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.errors import Cancelled
from myspinbot_worker.stream_adapter import MAX_LINE, StreamAdapter, parse_fraction


def told(*pieces: str | bytes, duration: float | None = None, close: bool = True) -> list[float]:
    fractions: list[float] = []
    adapter = StreamAdapter(fractions.append, duration=duration)
    for piece in pieces:
        adapter.write(piece)
    if close:
        adapter.close()
    return fractions


def test_percentages_of_other_things_do_not_count_for_ffmpeg() -> None:
    assert told("mb I 80%\nout_time_us=1000000\n95%\nprogress=end\n", duration=4.0) == [0.25, 1.0]


def test_progress_never_falls_and_is_told_once() -> None:
    assert told("10%\r5%\r10%\r30%\r30%\r20%\n") == [0.1, 0.3]


def test_carriage_returns_and_backspaces_end_what_they_overwrite() -> None:
    assert told("\r 1/4\r 2/4", "\b\b\b\b 3/4\r\n4/4\r\n") == [0.25, 0.5, 0.75, 1.0]


def test_a_number_is_not_read_before_it_is_complete() -> None:
    assert told("1/1", "0", "0\n") == [0.01]


def test_a_flush_reads_the_bar_that_is_not_ended_yet() -> None:
    fractions: list[float] = []
    adapter = StreamAdapter(fractions.append)
    adapter.write("\r 25%|██▌   | 1/4 [00:30<01:30]")
    assert fractions == []
    adapter.flush()
    assert fractions == [0.25]


def test_escapes_are_ignored() -> None:
    lines: list[str] = []
    adapter = StreamAdapter(lambda fraction: None, lines.append)
    adapter.write("\x1b[32m 4\x1b[0m5%\x1b[K\x1b(B \x1b]0;title\x07ok\n\x1b[A")
    adapter.close()
    assert lines == ["45% ok"]
    assert told("\x1b[32m4\x1b[0m5%\x1b[K\n") == [0.45]


def test_split_characters_and_broken_ones() -> None:
    bar = "█ 45%\n".encode()
    lines: list[str] = []
    adapter = StreamAdapter(lambda fraction: None, lines.append)
    for index in range(len(bar)):
        adapter.write(bar[index : index + 1])
    adapter.write(b"\xff 50%\n")
    adapter.write(bytearray(b"a\n"))
    adapter.write(memoryview(b"b"))
    adapter.close()
    assert lines == ["█ 45%", "\ufffd 50%", "a", "b"]


def test_lines_are_told_as_a_terminal_would_leave_them() -> None:
    lines: list[str] = []
    adapter = StreamAdapter(lambda fraction: None, lines.append)
    print("hello\n\n", file=adapter)
    adapter.write("\r10%\r20%\r\nwindows\r\nlast")
    adapter.close()
    assert lines == ["hello", "20%", "windows", "last"]


def test_a_line_without_end_does_not_grow() -> None:
    lines: list[str] = []
    adapter = StreamAdapter(lambda fraction: None, lines.append)
    for _ in range(100):
        adapter.write("x" * 1000)
    adapter.write("\nnext\n")
    assert lines == ["x" * MAX_LINE, "next"]


def test_it_passes_for_a_text_file() -> None:
    adapter = StreamAdapter(lambda fraction: None)
    assert adapter.writable()
    assert not adapter.readable()
    assert not adapter.isatty()
    assert adapter.encoding == "utf-8"
    assert adapter.write("äb") == 2
    assert adapter.write("ä".encode()) == 2
    with pytest.raises(io.UnsupportedOperation):
        adapter.fileno()
    with adapter:
        pass
    adapter.close()
    adapter.flush()
    with pytest.raises(ValueError, match="closed"):
        adapter.write("x")


def test_a_forgotten_adapter_calls_nobody() -> None:
    fractions: list[float] = []
    adapter = StreamAdapter(fractions.append)
    adapter.write("50%")
    del adapter
    assert fractions == []


def test_a_log_handler_can_write_to_it() -> None:
    fractions: list[float] = []
    logger = logging.Logger("engine")
    logger.addHandler(logging.StreamHandler(StreamAdapter(fractions.append)))
    logger.warning("tile %d/%d", 1, 2)
    assert fractions == [0.5]


def test_tqdm_can_write_to_it() -> None:
    tqdm = pytest.importorskip("tqdm")
    fractions: list[float] = []
    for _ in tqdm.tqdm(range(5), file=StreamAdapter(fractions.append), mininterval=0):
        pass
    assert fractions == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_raising_callback_comes_out_of_write_and_leaves_the_adapter_usable() -> None:
    seen: list[float] = []

    def progress(fraction: float) -> None:
        seen.append(fraction)
        if len(seen) == 1:
            raise Cancelled("cancelled")

    adapter = StreamAdapter(progress)
    with pytest.raises(Cancelled):
        adapter.write("10%\n20%\n")
    adapter.write("30%\n")
    assert seen == [0.1, 0.3]


def test_a_parser_of_ones_own() -> None:
    fractions: list[float] = []

    def only_sampling(line: str) -> float | None:
        return parse_fraction(line) if line.startswith("Sampling") else None

    adapter = StreamAdapter(fractions.append, parse=only_sampling)
    adapter.write("Loading: 100%\nSampling: 50%\n")
    assert fractions == [0.5]


_WORDS = st.sampled_from(
    [
        "45%",
        "1/4",
        "2/4",
        "3/",
        "7",
        "%",
        "\r",
        "\n",
        "\b",
        "█",
        "é",
        "\x1b[3",
        "1m",
        "\x1b",
        " ",
        "x",
        "| 9/10 [",
    ]
)


@given(st.lists(_WORDS, max_size=60).map("".join), st.data())
def test_progress_does_not_depend_on_how_the_text_is_cut(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    text_cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    text_pieces = [text[a:b] for a, b in zip([0, *text_cuts], [*text_cuts, len(text)], strict=True)]
    whole = told(text)
    assert told(*pieces) == whole
    assert told(*text_pieces) == whole
    assert whole == sorted(set(whole))


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_anything_can_be_written(junk: str | bytes) -> None:
    assert all(0.0 <= fraction <= 1.0 for fraction in told(junk))
    assert all(0.0 <= fraction <= 1.0 for fraction in told(junk, duration=3.0))


def test_adapters_in_parallel_threads_do_not_mix() -> None:
    names = [f"task{number}" for number in range(4)]
    lines: dict[str, list[str]] = {name: [] for name in names}
    fractions: dict[str, list[float]] = {name: [] for name in names}
    barrier = threading.Barrier(len(names))

    def work(name: str) -> None:
        adapter = StreamAdapter(fractions[name].append, lines[name].append)
        barrier.wait()
        for step in range(1, 201):
            print(name, f"{step}/200", file=adapter)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        assert lines[name] == [f"{name} {step}/200" for step in range(1, 201)]
        assert fractions[name] == [step / 200 for step in range(1, 201)]


def test_one_adapter_for_several_threads_stays_monotone() -> None:
    fractions: list[float] = []
    adapter = StreamAdapter(fractions.append)
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for step in range(1, 501):
            adapter.write(f"{step}/500\n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == 1.0
