"""What only a process of our own can do: be killed and replaced, keep models, leave nothing behind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from myspinbot_worker.comfy.embedded import EmbeddedEngine
from myspinbot_worker.comfy.engine import EngineLost, NodeFailed
from myspinbot_worker.errors import Cancelled

from .harness import INTERRUPT_SECONDS, LOADS, Checkout, Running, Watcher, files_below, node, slow


def _own_children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_nothing_is_left_behind(embedded: Running) -> None:
    """50 prompts; now and then one kills its process, is cancelled deaf, or fails."""
    embedded.run(slow(1))
    scratch = embedded.folder / "scratch"
    before, open_files = len(files_below(scratch)), psutil.Process().num_fds()
    children, threads = len(_own_children()), threading.active_count()
    every = 25 if embedded.checkout.is_real else 10
    for number in range(1, 51):
        into = embedded.attempt()
        kept: set[Path] = set()
        if number % every == 0:
            with pytest.raises(EngineLost):
                embedded.run(slow(number, kind="FarmKills"), into=into)
        elif number % every == every // 2:
            with pytest.raises(Cancelled):
                embedded.run(slow(10_000 + number), Watcher(cancel_at="started"), into)
        else:
            picture = node("EmptyImage", width=8, height=8, batch_size=1, color=number)
            prompt = {"1": picture, "2": node("SaveImage", images=["1", 0], filename_prefix="x")}
            kept = {made.path for made in embedded.run(prompt, into=into).files}
            assert len(kept) == 1
        assert {path for path in into.rglob("*") if path.is_file()} == kept
    embedded.run(slow(1))
    assert len(files_below(scratch)) == before
    assert len(_own_children()) == children
    assert threading.active_count() == threads
    assert psutil.Process().num_fds() == open_files


def test_what_a_dead_comfyui_had_started_ends_too(embedded: Running) -> None:
    before = {process.pid for process in psutil.process_iter()}
    with pytest.raises(EngineLost, match="SIGKILL"):
        embedded.run(slow(1, 599.25, kind="FarmOrphans"))
    left = [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.pid not in before
        and process.info["cmdline"] == ["sleep", "599.25"]
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]
    assert left == []


def test_one_that_is_not_well_is_replaced(embedded: Running) -> None:
    embedded.run(slow(1))
    assert embedded.embedded.child is not None
    pid = embedded.embedded.child.pid
    with pytest.raises(NodeFailed, match="illegal memory access") as caught:
        embedded.run(slow(1, kind="FarmPoison"))
    assert caught.value.details["canary"]
    assert embedded.run(slow(2)).ui
    assert embedded.embedded.child is not None
    assert embedded.embedded.child.pid != pid


def test_one_that_only_failed_stays(embedded: Running) -> None:
    embedded.run(slow(1))
    assert embedded.embedded.child is not None
    pid = embedded.embedded.child.pid
    with pytest.raises(NodeFailed) as caught:
        embedded.run(slow(1, kind="FarmRaises"))
    assert "canary" not in caught.value.details
    assert embedded.embedded.child.pid == pid


def test_one_that_died_between_two_prompts(embedded: Running) -> None:
    embedded.run(slow(1))
    assert embedded.embedded.child is not None
    process = psutil.Process(embedded.embedded.child.pid)
    process.kill()
    process.wait()
    assert embedded.run(slow(2)).ui


def test_models_are_loaded_once_until_they_are_let_go(embedded: Running) -> None:
    embedded.embedded.free()
    embedded.run(slow(1, kind="FarmLoads"))
    loads = embedded.embedded.loads[LOADS]
    embedded.run(slow(2, kind="FarmLoads"))
    assert embedded.embedded.loads[LOADS] == loads
    embedded.embedded.free()
    embedded.run(slow(3, kind="FarmLoads"))
    assert embedded.embedded.loads[LOADS] == loads + 1


def test_models_are_let_go_when_nothing_runs(checkout: Checkout, tmp_path: Path) -> None:
    engine = EmbeddedEngine(checkout.settings(idle_free_seconds=0.2), tmp_path / "scratch", INTERRUPT_SECONDS)
    running = Running("embedded", engine, checkout, tmp_path)
    try:
        with _said("models are let go") as said:
            running.run(slow(1, kind="FarmLoads"))
            assert said.wait(30)
        running.run(slow(2, kind="FarmLoads"))
        assert engine.loads[LOADS] == 2
    finally:
        engine.close()


class _Impatient(Watcher):
    """Gives up when it is asked for the second time, as soon as somebody says so."""

    def __init__(self, when: threading.Event) -> None:
        super().__init__()
        self._when, self._asked = when, 0

    def check(self) -> None:
        self._asked += 1
        if self._asked > 1 and self._when.is_set():
            raise Cancelled("no use any more")


def test_it_outlives_the_thread_that_started_it(checkout: Checkout, tmp_path: Path) -> None:
    engine = EmbeddedEngine(checkout.settings(), tmp_path / "scratch")
    thread = threading.Thread(target=engine.catalog)
    thread.start()
    thread.join()
    try:
        assert engine.child is not None
        pid = engine.child.pid
        assert Running("embedded", engine, checkout, tmp_path).run(slow(1)).ui
        assert engine.child.pid == pid
    finally:
        engine.close()


def test_a_cancel_while_it_boots(checkout: Checkout, tmp_path: Path) -> None:
    """The wait ends, the boot goes on: the next prompt wants it."""
    engine = EmbeddedEngine(checkout.settings(), tmp_path / "scratch")
    running, at_once = Running("embedded", engine, checkout, tmp_path), threading.Event()
    at_once.set()
    try:
        with pytest.raises(Cancelled):
            running.run(slow(1), _Impatient(at_once))
        assert engine.child is not None
        assert not engine.child.ready
        pid = engine.child.pid
        assert running.run(slow(1)).ui
        assert engine.child.pid == pid
    finally:
        engine.close()


def test_a_cancel_while_another_prompt_runs(embedded: Running) -> None:
    over, begun, ended = threading.Event(), threading.Event(), threading.Event()

    class Long(Watcher):
        def check(self) -> None:
            if over.is_set():
                raise Cancelled("over")

        def started(self, node: str) -> None:
            begun.set()

    def first() -> None:
        with pytest.raises(Cancelled):
            embedded.run(slow(20_000), Long())
        ended.set()

    at_once = threading.Event()
    at_once.set()
    thread = threading.Thread(target=first)
    into = embedded.attempt()
    thread.start()
    try:
        assert begun.wait(60)
        with pytest.raises(Cancelled):
            embedded.run(slow(1), _Impatient(at_once), into)
        assert not ended.is_set()
    finally:
        over.set()
        thread.join(60)
    assert ended.is_set()
    assert files_below(into) == []


def test_closing_ends_it(checkout: Checkout, tmp_path: Path) -> None:
    engine = EmbeddedEngine(checkout.settings(), tmp_path / "scratch")
    engine.catalog()
    assert engine.child is not None
    process = psutil.Process(engine.child.pid)
    engine.close()
    assert not process.is_running()
    assert files_below(tmp_path / "scratch") == []
    engine.close()


@contextmanager
def _said(words: str) -> Iterator[threading.Event]:
    """An event that is set when ComfyUI's output has a line with these words."""
    found = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                found.set()

    logger, listener = logging.getLogger("comfyui"), Listener()
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    try:
        yield found
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
