"""Devices and real processes: each gets its own, and a dead process gives its device back.

Nothing here sleeps: a process answers through a pipe when it has claimed, and its end is waited for.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import pytest

from myspinbot_worker.gpu import claim_device

FOUR = ["0", "1", "2", "3"]
ANSWER_WITHIN = 60.0  # seconds; far more than an interpreter needs to start on a busy machine

Child = Literal["none", "exec", "fork"]


def worker(
    conn: Connection, devices: list[str], lock_dir: Path, environ: Mapping[str, str], child: Child
) -> None:
    """Claim a device as a worker process does, answer with what it sees, and hold it until told to stop.

    Args:
        conn: Answers (visible devices or None, pid of the child or 0) and then waits for one message.
        environ: What the operator set; everything else about GPUs is unset.
        child: What kind of child process outlives the claim and the worker.
    """
    sys.modules.pop("torch", None)  # a fork brings along what other tests imported
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        os.environ.pop(name, None)
    os.environ.update(environ)

    lease = claim_device(devices, lock_dir)

    pid = 0
    if child == "exec":
        # close_fds=False: the descriptor must stay behind by itself, not by the caller's care.
        pid = subprocess.Popen(["sleep", "600"], close_fds=False).pid
    elif child == "fork":
        pid = os.fork()
        if pid == 0:
            if lease is not None:
                lease.release()  # must not give the parent's device away
            signal.pause()
    conn.send((os.environ.get("CUDA_VISIBLE_DEVICES") if lease is not None else None, pid))
    conn.recv()
    if lease is not None:
        lease.release()
    conn.send(None)
    conn.recv()  # alive but without a lease, until the other end is closed


class Worker:
    """One worker process as the test sees it.

    Attributes:
        visible: The devices it was given; None when all were taken.
        child: The pid of its child process, or 0.
    """

    def __init__(
        self,
        method: str,
        devices: list[str],
        lock_dir: Path,
        environ: Mapping[str, str],
        child: Child,
    ) -> None:
        context = multiprocessing.get_context(method)
        self._conn, theirs = context.Pipe()
        self._process = context.Process(  # type: ignore[attr-defined]
            target=worker, args=(theirs, devices, lock_dir, dict(environ), child), daemon=True
        )
        self._process.start()
        theirs.close()
        self.visible: str | None = None
        self.child = 0

    def answer(self) -> Worker:
        assert self._conn.poll(ANSWER_WITHIN), "the process did not answer"
        self.visible, self.child = self._conn.recv()
        return self

    def release(self) -> None:
        self._conn.send(None)
        assert self._conn.poll(ANSWER_WITHIN)
        self._conn.recv()

    def kill(self) -> None:
        self._end()
        assert self._process.exitcode == -signal.SIGKILL

    def clean_up(self) -> None:
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)
        self._end()
        self._conn.close()

    def _end(self) -> None:
        self._process.kill()
        # Without a time limit, because join() with one waits for a pipe that the worker's child has too.
        self._process.join()


Start = Callable[..., Worker]


@pytest.fixture(params=["spawn", "fork"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(method: str, tmp_path: Path) -> Iterator[Start]:
    """Start a worker; it is running and may not have answered yet."""
    started: list[Worker] = []

    def start_one(
        devices: list[str] = FOUR, environ: Mapping[str, str] | None = None, child: Child = "none"
    ) -> Worker:
        one = Worker(method, devices, tmp_path / "locks", environ or {}, child)
        started.append(one)
        return one

    yield start_one
    for one in started:
        one.clean_up()


def test_four_processes_take_four_devices_and_a_fifth_none(start: Start) -> None:
    workers = [start() for _ in FOUR]  # all at once: they race
    assert sorted(str(one.answer().visible) for one in workers) == FOUR
    assert start().answer().visible is None


def test_a_killed_process_frees_its_device_and_no_other(start: Start) -> None:
    workers = [start().answer() for _ in FOUR]
    victim = workers[2]
    victim.kill()
    assert start().answer().visible == victim.visible
    assert start().answer().visible is None


def test_a_released_device_is_free_while_the_process_lives(start: Start) -> None:
    first, second = start(["0"]).answer(), start(["0"]).answer()
    assert (first.visible, second.visible) == ("0", None)
    first.release()
    assert start(["0"]).answer().visible == "0"


def test_given_devices_are_kept(start: Start) -> None:
    pinned = start(environ={"CUDA_VISIBLE_DEVICES": "1"}).answer()
    assert pinned.visible == "1"
    # On purpose on the same device: both were told so.
    assert start(environ={"CUDA_VISIBLE_DEVICES": "1"}).answer().visible == "1"
    assert start(environ={"CUDA_VISIBLE_DEVICES": ""}).answer().visible == ""
    assert [start().answer().visible for _ in range(4)] == ["0", "2", "3", None]


@pytest.mark.parametrize("child", ["exec", "fork"])
def test_a_child_that_outlives_its_worker_does_not_keep_the_device(start: Start, child: Child) -> None:
    one = start(["0"], child=child).answer()
    assert start(["0"]).answer().visible is None  # nor does it give the device away
    one.kill()
    os.kill(one.child, 0)  # the child is alive
    assert start(["0"]).answer().visible == "0"


@pytest.mark.parametrize("options", [[], ["--use-spawn"]], ids=["fork", "spawn"])
def test_the_processes_of_one_dramatiq_command_take_different_devices(
    tmp_path: Path, options: list[str]
) -> None:
    """``dramatiq module --processes 4`` on four devices, as an operator starts it."""
    (tmp_path / "claiming_actors.py").write_text(
        textwrap.dedent(
            f"""
            import os
            from pathlib import Path

            import dramatiq
            from dramatiq.brokers.stub import StubBroker

            from myspinbot_worker.gpu import claim_device

            dramatiq.set_broker(StubBroker(middleware=[]))
            lease = claim_device({FOUR!r}, Path({str(tmp_path / "locks")!r}))
            with open({str(tmp_path / "answers")!r}, "w") as answers:
                answers.write(f"{{lease and os.environ['CUDA_VISIBLE_DEVICES']}}\\n")
            """
        )
    )
    os.mkfifo(tmp_path / "answers")
    # Open for writing too, or the first writer to finish would look like the end.
    pipe = os.open(tmp_path / "answers", os.O_RDWR)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CUDA_")}
    command = [sys.executable, "-m", "dramatiq", "claiming_actors", "--path", str(tmp_path)]
    command += ["--processes", "4", "--threads", "1", *options]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        answers: list[str] = []
        while len(answers) < len(FOUR):
            assert select.select([pipe], [], [], ANSWER_WITHIN)[0], f"only {answers} answered"
            answers += os.read(pipe, 4096).decode().split()
        assert sorted(answers) == FOUR
    finally:
        os.close(pipe)
        process.terminate()
        assert process.wait(ANSWER_WITHIN) == 0
