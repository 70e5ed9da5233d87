"""The engine for a ComfyUI server, where the server or the way to it fails; see fake_server.py."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from myspinbot_worker.comfy import remote_http
from myspinbot_worker.comfy.engine import EngineLost, InputFile, InvalidPrompt, NodeFailed
from myspinbot_worker.comfy.remote import RemoteEngine
from myspinbot_worker.errors import BadOutput, Cancelled, EngineUnavailable, FarmError, OutOfMemory

from .fake_server import FakeServer, Relay, answer

PROMPT = {"1": {"class_type": "Slow", "inputs": {"steps": 3}}, "2": {"class_type": "Save", "inputs": {}}}
OTHER = "somebody else's"
OOM = {"node_id": "1", "node_type": "Slow", "exception_type": "torch.OutOfMemoryError",
       "exception_message": "no room", "traceback": ["line"], "current_inputs": {"secret": ["x"]}}  # fmt: skip
ONE_FILE = {"2": {"images": [{"filename": "a.png", "subfolder": "run", "type": "output"}]}}


class Watcher:
    """Cancels when told to, or once something has been told of the kind given; knows the longest time unasked."""

    def __init__(self, cancel_at: str | None = None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.cancel = threading.Event()
        self.gap = 0.0
        self._cancel_at = cancel_at
        self._last: float | None = None

    def check(self) -> None:
        now = time.monotonic()
        self.gap = max(self.gap, now - (self._last or now))
        self._last = now
        if self.cancel.is_set():
            raise Cancelled("no use for it any more")

    def cached(self, nodes: tuple[str, ...]) -> None:
        self._note("cached", nodes)

    def started(self, node: str) -> None:
        self._note("started", node)

    def progressed(self, node: str, value: float, most: float) -> None:
        self._note("progressed", node, value, most)

    def finished(self, node: str) -> None:
        self._note("finished", node)

    def _note(self, kind: str, *data: Any) -> None:
        self.told.append((kind, *data))
        if kind == self._cancel_at:
            self.cancel.set()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as found:
        yield found


@pytest.fixture
def engine(server: FakeServer) -> Iterator[RemoteEngine]:
    found = RemoteEngine(server.url, patience_seconds=1.5)
    yield found
    found.close()


@pytest.fixture
def relay(server: FakeServer) -> Iterator[Relay]:
    found = Relay(server.port)
    yield found
    found.close()


def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def plays(server: FakeServer, *events: tuple[str, dict[str, Any]], **end: Any) -> Callable[[str], None]:
    """The prompt sends these events and ends."""

    def play(prompt: str) -> None:
        for event, data in events:
            server.send(prompt, event, **data)
        server.end(prompt, **end)
        if "error" not in end:
            server.send(prompt, "execution_success")

    return play


def test_a_run_uploads_reports_and_downloads(
    server: FakeServer, engine: RemoteEngine, tmp_path: Path
) -> None:
    (tmp_path / "in.png").write_bytes(b"pixels")
    server.files["output", "run", "a.png"] = b"result"

    def play(prompt: str) -> None:
        server.send_bytes(prompt, b"\0\0\0\1preview")
        server.send_text(prompt, "not JSON")
        server.send_text(
            prompt, '{"type": "executing", "data": {"node": "2", "prompt_id": "somebody else\'s"}}'
        )
        server.send(prompt, "execution_cached", nodes=7)
        server.send(prompt, "executing", node="1")
        server.send(prompt, "progress", node="1", value=1, max=3)
        server.send(prompt, "execution_success")
        server.end(prompt, ONE_FILE)

    server.on_prompt = play
    watcher = Watcher()
    result = engine.run(
        {**PROMPT, "1": {"class_type": "Slow", "inputs": {"image": InputFile(tmp_path / "in.png")}}},
        tmp_path,
        watcher,
    )

    assert [name for name, content in server.uploads.items() if content == b"pixels"] == [
        server.told[0][1]["prompt"]["1"]["inputs"]["image"]
    ]
    assert watcher.told[1:] == [("started", "1"), ("progressed", "1", 1.0, 3.0), ("finished", "1")]
    assert result.files[0].path.read_bytes() == b"result"
    assert result.files[0].path.is_relative_to(tmp_path)
    assert watcher.gap < 0.3


def test_an_end_that_the_socket_missed_is_found_and_the_socket_comes_back(
    server: FakeServer, relay: Relay, tmp_path: Path
) -> None:
    def play(prompt: str) -> None:
        server.send(prompt, "executing", node="1")
        until(lambda: ("started", "1") in watcher.told)
        relay.cut()
        until(lambda: server.was_heard.count(prompt) == 2)
        server.send(prompt, "progress", node="1", value=2, max=3)
        until(lambda: ("progressed", "1", 2.0, 3.0) in watcher.told)
        relay.cut()
        server.end(prompt, {"2": {"text": ["done"]}})

    server.on_prompt = play
    watcher = Watcher()
    result = RemoteEngine(relay.url).run(PROMPT, tmp_path, watcher)
    assert result.ui == {"2": {"text": ["done"]}}
    assert ("finished", "1") in watcher.told


def test_without_a_socket_the_history_is_asked(server: FakeServer, tmp_path: Path) -> None:
    server.on_prompt = plays(server, error=OOM)
    engine = RemoteEngine(server.url)
    engine._server.listen = _no_socket  # type: ignore[method-assign, assignment]
    with pytest.raises(OutOfMemory):
        engine.run(PROMPT, tmp_path, Watcher())


def _no_socket(_: str) -> Any:
    raise remote_http.Away("no socket")


def test_a_server_that_stays_away_loses_the_prompt(server: FakeServer, relay: Relay, tmp_path: Path) -> None:
    server.on_prompt = lambda _: relay.cut(stay_down=True)
    engine = RemoteEngine(relay.url, patience_seconds=1, interrupt_seconds=0.2)
    engine.catalog()
    began = time.monotonic()
    with pytest.raises(EngineLost, match=r"cannot be reached|not taken"):
        engine.run(PROMPT, tmp_path, Watcher())
    assert 0.9 < time.monotonic() - began < 6


def test_a_server_that_started_again_has_lost_the_prompt(
    server: FakeServer, relay: Relay, tmp_path: Path
) -> None:
    def play(prompt: str) -> None:
        server.restart()
        relay.cut()

    server.on_prompt = play
    with pytest.raises(EngineLost, match=r"no longer knows|not taken"):
        RemoteEngine(relay.url).run(PROMPT, tmp_path, Watcher())


def test_a_lost_answer_to_the_posting_does_not_lose_the_prompt(
    server: FakeServer, engine: RemoteEngine, tmp_path: Path
) -> None:
    real = engine._server.post

    def post(path: str, *given: Any) -> Any:
        real(path, *given)
        raise remote_http.Away("the answer was lost")

    engine._server.post = post  # type: ignore[method-assign, assignment]
    server.on_prompt = plays(server)
    engine.run(PROMPT, tmp_path, Watcher())
    assert [told[0] for told in server.told] == ["prompt"]


@pytest.mark.parametrize("behind", [False, True])
def test_a_cancelled_prompt_is_taken_back_and_nobody_elses(
    server: FakeServer, engine: RemoteEngine, tmp_path: Path, behind: bool
) -> None:
    watcher = Watcher()
    server.on_prompt = lambda _: watcher.cancel.set()
    if behind:
        server.queue.append(OTHER)
    with pytest.raises(Cancelled):
        engine.run(PROMPT, tmp_path, watcher)
    ours = server.told[0][1]["prompt_id"]
    expected = ("delete", [ours]) if behind else ("interrupt", {"prompt_id": ours})
    assert server.told[1:] == [expected]
    assert server.queue == ([OTHER] if behind else [])


def test_a_prompt_that_does_not_listen_is_left_behind_in_time(server: FakeServer, tmp_path: Path) -> None:
    watcher = Watcher()
    server.interrupts_end = False
    server.on_prompt = lambda _: watcher.cancel.set()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        RemoteEngine(server.url, interrupt_seconds=0.8).run(PROMPT, tmp_path, watcher)
    assert 0.8 <= time.monotonic() - began < 3


def test_waiting_behind_another_prompt(server: FakeServer, engine: RemoteEngine, tmp_path: Path) -> None:
    def play(prompt: str) -> None:
        server.end(OTHER)
        plays(server, ("executing", {"node": "1"}))(prompt)

    server.queue.append(OTHER)
    server.on_prompt = play
    watcher = Watcher()
    engine.run(PROMPT, tmp_path, watcher)
    assert ("started", "1") in watcher.told


@pytest.mark.parametrize(
    ("filename", "subfolder", "place"),
    [
        ("../a.png", "", "output"),
        ("a.png", "../..", "output"),
        ("/etc/passwd", "", "output"),
        ("a.png", "/etc", "output"),
        ("a.png", "..\\x", "output"),
        ("..", "", "output"),
        ("a.png", "", "models"),
        ("missing.png", "", "output"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(
    server: FakeServer, engine: RemoteEngine, tmp_path: Path, filename: str, subfolder: str, place: str
) -> None:
    item = {"filename": filename, "subfolder": subfolder, "type": place}
    server.files.update({(kind, subfolder, filename): b"x" for kind in (place,) if "missing" not in filename})
    server.on_prompt = plays(server, outputs={"2": {"images": [item]}})
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(BadOutput, match="node '2'"):
        engine.run(PROMPT, into, Watcher())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_that_is_too_large_is_refused(server: FakeServer, tmp_path: Path) -> None:
    server.files["output", "run", "a.png"] = b"x" * 2000
    server.on_prompt = plays(server, outputs=ONE_FILE)
    with pytest.raises(BadOutput, match="larger than 1000 bytes"):
        RemoteEngine(server.url, largest_file=1000).run(PROMPT, tmp_path, Watcher())


def test_a_refused_prompt_says_what_is_wrong(
    server: FakeServer, engine: RemoteEngine, tmp_path: Path
) -> None:
    problem = {"message": "wrong", "details": "steps", "extra_info": {"input_name": "steps"}}
    errors = {"1": {"class_type": "Slow", "errors": [problem, 5]}}
    server.answers["prompt"] = answer({"error": {"message": "no"}, "node_errors": errors}, 400)
    with pytest.raises(InvalidPrompt, match=r"node '1'.*steps"):
        engine.run(PROMPT, tmp_path, Watcher())
    server.queue[:] = [OTHER]
    server.answers["prompt"] = answer({"prompt_id": "x", "node_errors": errors})
    with pytest.raises(InvalidPrompt):
        engine.run(PROMPT, tmp_path, Watcher())
    assert server.queue == [OTHER]


def test_out_of_memory_frees_and_inputs_are_never_told(
    server: FakeServer, engine: RemoteEngine, tmp_path: Path
) -> None:
    server.on_prompt = plays(server, ("execution_error", OOM), error=OOM)
    with pytest.raises(OutOfMemory) as caught:
        engine.run(PROMPT, tmp_path, Watcher())
    assert server.told[-1] == ("free", {"unload_models": True, "free_memory": True})
    assert "secret" not in str(caught.value.details)
    broken = {**OOM, "exception_type": "ValueError"}
    server.on_prompt = plays(server, ("execution_error", broken), error=broken)
    with pytest.raises(NodeFailed):
        engine.run(PROMPT, tmp_path, Watcher())


def test_another_owner_gets_room(server: FakeServer, engine: RemoteEngine, tmp_path: Path) -> None:
    server.on_prompt = plays(server)
    for owner, needs in (("a", 4_000), ("b", 9_000), ("b", 9_000)):
        engine.run(PROMPT, tmp_path, Watcher(), owner=owner, needs_bytes=needs)
    assert [told[0] for told in server.told] == ["prompt", "free", "prompt", "prompt"]


BAD = {
    "html": answer("<html>hello</html>"),
    "list": answer([1]),
    "number": answer(5),
    "deep": answer("[" * 100_000),
    "huge": answer("x" * 200_000),
    "redirect": answer("", 302, location="http://127.0.0.1:1/"),
    "error page": answer("<html>broken</html>", 500),
    "refused": answer("", 401),
    "bad gateway": answer("<html>bad gateway</html>", 502),
    "broken gzip": answer("no", 200, **{"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("path", ["object_info", "system_stats", "prompt", "queue", "history"])
def test_bad_answers_are_one_clear_sentence(
    server: FakeServer, tmp_path: Path, bad: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_http, "_LARGEST_ANSWER", 100_000)
    server.answers[path] = BAD[bad]
    engine = RemoteEngine(server.url, patience_seconds=0.3, interrupt_seconds=0.2)
    server.on_prompt = lambda prompt: server.send(prompt, "execution_success")

    def use() -> None:
        engine.catalog()
        engine.run(PROMPT, tmp_path, Watcher())

    with pytest.raises((EngineLost, EngineUnavailable), match=rf"^ComfyUI at {server.url} [^\n]+$"):
        use()


@pytest.mark.parametrize("entry", [5, {}, {"outputs": [], "status": {}}, {"outputs": {}, "status": {}}])
def test_a_history_without_sense_is_a_lost_engine(
    server: FakeServer, engine: RemoteEngine, tmp_path: Path, entry: Any
) -> None:
    def play(prompt: str) -> None:
        server.history[prompt] = entry
        server.send(prompt, "progress", node=[], value="x", max={})

    server.on_prompt = play
    engine._server.listen = _no_socket  # type: ignore[method-assign, assignment]
    with pytest.raises(EngineLost, match=r"history|does not say why"):
        engine.run(PROMPT, tmp_path, Watcher())


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    engine = RemoteEngine(f"http://user:hush@127.0.0.1:{port}")
    with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{port} cannot be reached") as caught:
        engine.catalog()
    assert "hush" not in str(caught.value)


def test_credentials_let_in_and_stay_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeServer(auth="me:hu/sh") as server:
        server.on_prompt = plays(server, ("executing", {"node": "1"}))
        watcher = Watcher()
        at = f"127.0.0.1:{server.port}"
        RemoteEngine(f"http://me:hu%2Fsh@{at}").run(PROMPT, tmp_path, watcher)
        assert ("started", "1") in watcher.told
        with pytest.raises(FarmError, match="does not let the worker in") as caught:
            RemoteEngine(f"http://me:wrong-one@{at}").run(PROMPT, tmp_path, Watcher())
    told = caplog.text + str(caught.value)
    for secret in ("hu/sh", "hu%2Fsh", "wrong-one", "bWU6aHUvc2g="):
        assert secret not in told


def test_the_catalog_is_asked_for_anew_after_the_server_was_away(
    server: FakeServer, engine: RemoteEngine, tmp_path: Path
) -> None:
    assert "Slow" in engine.catalog()
    server.answers["object_info"] = answer({"New": {}})
    assert "Slow" in engine.catalog()
    server.on_prompt = lambda _: server.restart()
    with pytest.raises(EngineLost):
        engine.run(PROMPT, tmp_path, Watcher())
    assert "New" in engine.catalog()
