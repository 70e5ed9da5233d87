"""Scratch folders go with the task and with the worker, however it ends."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from myspinbot_worker.scratch import ScratchRoot, sweep

# A worker with one task under way; ends when its input does.
WORKER = """
import sys
from pathlib import Path
from myspinbot_worker.scratch import ScratchRoot
root = ScratchRoot(Path(sys.argv[1]))
with root.folder() as folder:
    (folder / "frame.png").write_text("x")
    print(root.path, flush=True)
    sys.stdin.read()
"""


@contextmanager
def worker(root: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[ScratchRoot]:
    made = ScratchRoot(tmp_path / "not" / "yet" / "there")
    yield made
    made.close()


class TestFolder:
    def test_it_is_empty_and_goes_with_its_content(self, scratch: ScratchRoot) -> None:
        with scratch.folder() as folder:
            assert list(folder.iterdir()) == []
            assert folder.parent == scratch.path
            (folder / "deep" / "er").mkdir(parents=True)
            (folder / "deep" / "er" / "file").write_bytes(b"x")
            (folder / "link").symlink_to("/nowhere")
        assert not folder.exists()

    def test_the_next_one_is_new_and_empty_whoever_still_has_the_name_of_the_last(
        self, scratch: ScratchRoot
    ) -> None:
        """A folder that was left empty is used again; what strays into it meanwhile is not the next task's."""
        with scratch.folder() as first:
            pass
        (kept,) = scratch.path.glob("empty-*")
        with pytest.raises(FileNotFoundError):
            (first / "late").write_bytes(b"x")
        (kept / "stray").write_bytes(b"x")
        with scratch.folder() as second:
            assert second != first
            assert list(second.iterdir()) == []

    def test_it_goes_after_an_error_too(self, scratch: ScratchRoot) -> None:
        def work() -> None:
            with scratch.folder() as folder:
                folders.append(folder)
                (folder / "file").write_text("x")
                raise KeyboardInterrupt

        folders: list[Path] = []
        with pytest.raises(KeyboardInterrupt):
            work()
        assert not folders[0].exists()

    def test_a_task_may_remove_it_itself(self, scratch: ScratchRoot) -> None:
        with scratch.folder() as folder:
            folder.rmdir()

    def test_a_link_out_of_it_is_not_followed(self, scratch: ScratchRoot, tmp_path: Path) -> None:
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "file").write_text("x")
        with scratch.folder() as folder:
            (folder / "link").symlink_to(precious)
        assert (precious / "file").read_text() == "x"

    def test_tasks_at_one_time_have_their_own(self, scratch: ScratchRoot) -> None:
        with scratch.folder() as one, scratch.folder() as other:
            (one / "file").write_text("1")
            assert not (other / "file").exists()
        assert scratch.path.exists()


class TestWorkers:
    def test_an_ended_worker_leaves_nothing(self, tmp_path: Path) -> None:
        scratch = ScratchRoot(tmp_path)
        scratch.close()
        assert list(tmp_path.iterdir()) == []

    def test_live_workers_are_left_alone_and_killed_ones_are_swept(self, tmp_path: Path) -> None:
        with worker(tmp_path) as (killed, gone), worker(tmp_path) as (_, alive):
            assert sweep(tmp_path) == 0
            killed.send_signal(signal.SIGKILL)
            killed.wait(10)
            assert gone.exists(), "nobody could have removed it"
            own = ScratchRoot(tmp_path)
            assert not gone.exists()
            assert len(list(alive.rglob("frame.png"))) == 1
            assert sweep(tmp_path) == 0
            own.close()

    def test_a_worker_does_not_sweep_itself(self, scratch: ScratchRoot) -> None:
        assert sweep(scratch.path.parent) == 0
        assert scratch.path.exists()

    def test_what_is_not_a_workers_folder_stays(self, tmp_path: Path) -> None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / ".lock").touch()
        (tmp_path / "notes.txt").touch()
        assert sweep(tmp_path) == 0
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_dead_workers_folder_is_counted(self, tmp_path: Path) -> None:
        for number in range(3):
            (tmp_path / f"worker-{number}").mkdir()
            (tmp_path / f"worker-{number}" / ".lock").touch()
        assert sweep(tmp_path) == 3

    def test_a_starting_worker_is_not_swept_by_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock = fcntl.flock

        def others_first(descriptor: int, operation: int) -> None:
            if operation == fcntl.LOCK_EX:
                monkeypatch.setattr(fcntl, "flock", lock)
                sweep(tmp_path)
            lock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", others_first)
        scratch = ScratchRoot(tmp_path)
        with scratch.folder() as folder:
            assert folder.exists()

    def test_a_sweep_that_was_interrupted_is_finished_later(self, tmp_path: Path) -> None:
        folder = tmp_path / "worker-1"
        (folder / "task-1").mkdir(parents=True)
        long_ago = 1_000_000_000
        os.utime(folder, (long_ago, long_ago))
        sweep(tmp_path)
        assert not folder.exists()
