"""A program is run: its output is read, its failure told, and nothing of it outlives the call."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import pytest

from myspinbot_worker.errors import Cancelled, EngineUnavailable, FarmError
from myspinbot_worker.stream_adapter import TAIL_LINES, run


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_both_streams_of_a_program_are_read() -> None:
    fractions: list[float] = []
    lines: list[str] = []
    before = (sys.stdout, sys.stderr)
    run(
        python("import sys; print('1/4'); sys.stdout.flush(); print('\\r 80%', end='', file=sys.stderr)"),
        on_progress=fractions.append,
        on_line=lines.append,
    )
    assert fractions[-1] == 0.8
    assert fractions == sorted(fractions)
    assert sorted(lines) == ["1/4", "80%"]
    assert (sys.stdout, sys.stderr) == before


def test_a_slow_bar_is_read_while_it_stands(tmp_path: Path) -> None:
    # The program goes on only when it sees that its unfinished line was read.
    gate = tmp_path / "seen"

    def progress(fraction: float) -> None:
        gate.touch()

    run(
        python(
            "import os, sys, time\n"
            "print('\\r 50%|#####     | 1/2 [', end='')\n"
            f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
        ),
        on_progress=progress,
    )
    assert gate.exists()


def test_a_failure_carries_the_last_lines() -> None:
    code = "import sys\nfor n in range(50): print('line', n)\nsys.exit(3)"
    with pytest.raises(FarmError, match=r"ended with status 3: line 49") as caught:
        run(python(code))
    assert caught.value.details["status"] == 3
    assert caught.value.details["output"] == [f"line {n}" for n in range(50 - TAIL_LINES, 50)]


def test_a_death_by_signal_is_named() -> None:
    with pytest.raises(FarmError, match="was killed by SIGKILL"):
        run(python("import os; os.kill(os.getpid(), 9)"))


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(EngineUnavailable, match="no-such-program cannot be started"):
        run(["no-such-program"])


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_check_that_raises_ends_the_whole_group(tmp_path: Path, stubborn: bool) -> None:
    pids: list[int] = []
    ignore = "import signal; signal.signal(15, signal.SIG_IGN)\n" if stubborn else ""
    grandchild = f"{ignore}import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = f"{ignore}import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"

    def check() -> None:
        if pids:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        run(python(code), on_line=lambda line: pids.append(int(line)), check=check, interval=0.02, grace=0.3)
    assert len(pids) == 1
    assert is_gone(pids[0])


def test_a_callback_that_raises_ends_the_program() -> None:
    def progress(fraction: float) -> None:
        raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        run(python("import time; print('5%'); time.sleep(600)"), on_progress=progress)


def test_check_is_called_though_output_never_pauses() -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 5:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        run(python("while True: print('x' * 1000)"), check=check, interval=0.01)


def test_what_a_program_left_behind_ends_with_it() -> None:
    pids: list[int] = []
    # The grandchild keeps the pipe open and would sleep on.
    grandchild = "import time; time.sleep(600)"
    code = (
        f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {grandchild!r}]).pid)\n"
        "sys.stdout.flush()"
    )
    run(python(code), on_line=lambda line: pids.append(int(line)))
    assert len(pids) == 1
    assert is_gone(pids[0])


def test_a_process_that_left_the_group_does_not_hold_us_up(tmp_path: Path) -> None:
    pids: list[int] = []
    noisy = "while True: print('noise', flush=True)"
    code = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {noisy!r}], start_new_session=True)\n"
        "print('pid', p.pid, file=sys.stderr)"
    )

    def line(text: str) -> None:
        if text.startswith("pid "):
            pids.append(int(text.removeprefix("pid ")))

    run(python(code), on_line=line)
    assert len(pids) == 1
    # It ends by itself: nobody reads its pipe any more.
    assert is_gone(pids[0])


def test_a_program_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    mark = tmp_path / "done"
    run(python(f"import os, time; os.close(1); os.close(2); time.sleep(0.2); open({str(mark)!r}, 'w')"))
    assert mark.exists()


def test_folder_and_environment_are_handed_on(tmp_path: Path) -> None:
    lines: list[str] = []
    run(
        python("import os; print(os.getcwd(), os.environ['COLOUR'], os.read(0, 1))"),
        on_line=lines.append,
        cwd=tmp_path,
        env={"COLOUR": "red"},
    )
    assert lines == [f"{tmp_path} red b''"]


def is_gone(pid: int) -> bool:
    """Wait for the end of a process that is not our child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10.0)[0])
    finally:
        os.close(handle)
