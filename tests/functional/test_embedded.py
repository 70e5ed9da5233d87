"""The embedded servers start, stop, crash and come back, and never outlive the process that started them."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from minio import Minio

from myspinbot_worker import embedded_server
from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3, EmbeddedServer
from myspinbot_worker.errors import ConfigError, EngineUnavailable, FarmError


@pytest.fixture(params=["redis", "s3"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    made: EmbeddedServer
    if request.param == "redis":
        made = EmbeddedRedis(tmp_path / "redis", aof=True)
    else:
        made = EmbeddedS3(tmp_path / "s3", buckets=("input", "output"))
    yield made
    made.stop()


def answers(server: EmbeddedServer) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5):
            return True
    except ConnectionRefusedError:
        return False


def is_gone(pid: int) -> bool:
    """Wait for the end of a process that is not our child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 15.0)[0])
    finally:
        os.close(handle)


def test_start_and_stop_can_be_repeated(server: EmbeddedServer) -> None:
    with pytest.raises(FarmError, match="never started"):
        _ = server.port
    assert server.pid is None
    server.stop()
    server.kill()
    server.start()
    pid = server.pid
    assert pid is not None
    assert server.start().pid == pid
    assert answers(server)
    assert str(server.port) in server.url
    server.stop()
    assert not server.running
    assert server.pid is None
    assert not answers(server)
    server.stop()
    assert is_gone(pid)


def test_it_is_a_context_manager(server: EmbeddedServer) -> None:
    with server as running:
        assert answers(running)
    assert not answers(server)


def test_restart_and_kill_keep_the_port(server: EmbeddedServer) -> None:
    with server:
        port, pid = server.port, server.pid
        server.restart()
        assert server.port == port
        assert server.pid != pid
        server.kill()
        assert not answers(server)
        server.start()
        assert server.port == port
        assert answers(server)


def test_a_server_that_dies_by_itself_can_be_started_again(server: EmbeddedServer) -> None:
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    watchdog = server._watchdog
    assert watchdog is not None
    assert watchdog.wait(10) == 128 + signal.SIGKILL
    assert not server.running
    server.start()
    assert answers(server)


def test_a_given_port_is_used_and_a_taken_one_told(tmp_path: Path, server: EmbeddedServer) -> None:
    with socket.socket() as holder:
        port = embedded_server.free_port()
        holder.bind(("127.0.0.1", port))
        holder.listen()
        taken = type(server)(tmp_path / "other", port=port)
        with pytest.raises(FarmError, match=r"(?i)ended while it started[\s\S]*address already in use"):
            taken.start()
        assert not taken.running
    with taken:
        assert taken.port == port
        assert answers(taken)


def test_a_port_taken_in_between_is_replaced(monkeypatch: pytest.MonkeyPatch, server: EmbeddedServer) -> None:
    free = embedded_server.free_port
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        offers = iter([holder.getsockname()[1]])
        monkeypatch.setattr(embedded_server, "free_port", lambda: next(offers, None) or free())
        server.start()
        assert server.port != holder.getsockname()[1]
        assert answers(server)


def test_a_program_that_is_no_server(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'disk on fire' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(FarmError, match=r"ended while it started; its last lines:\ndisk on fire"):
        EmbeddedRedis(tmp_path / "data", binary=program).start()
    with pytest.raises(FarmError, match=r"could not be started[\s\S]*nowhere"):
        EmbeddedRedis(tmp_path / "data", binary=tmp_path / "nowhere").start()


def test_a_missing_wheel_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"myspinbot-worker\[demo\]"):
        EmbeddedRedis(tmp_path / "r").start()
    monkeypatch.setattr("importlib.metadata.files", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"myspinbot-worker\[demo\]"):
        EmbeddedS3(tmp_path / "s").start()


def test_a_server_that_is_started_in_a_thread_outlives_the_thread(server: EmbeddedServer) -> None:
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert server.running
    assert answers(server)
    server.restart()
    assert answers(server)


class ForkingServer(EmbeddedServer):
    """A server with a child that does not care to be asked to stop; says both their ids in its log."""

    name = "the forking server"
    _SCRIPT = """
import os, signal, sys
if child := os.fork():
    print("ids", os.getpid(), child, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
while True:
    signal.pause()
"""

    @property
    def url(self) -> str:
        return "nowhere"

    def _program(self) -> Path:
        return Path(sys.executable)

    def _arguments(self, port: int) -> list[str]:
        return ["-c", self._SCRIPT]

    def _answers(self, port: int, pid: int) -> bool:
        return "ids" in self._tail(0) and "deaf" in self._tail(0)

    def family(self) -> list[int]:
        """The watchdog, the server and the server's child."""
        found = re.search(r"ids (\d+) (\d+)", self.log.read_text())
        assert found is not None
        assert self._watchdog is not None
        return [self._watchdog.pid, *map(int, found.groups())]


def left_of(session: int) -> list[psutil.Process]:
    """The live processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize("end", ["kill", "stop", "by itself", "by itself, killed"])
def test_what_a_server_forked_ends_with_it(tmp_path: Path, end: str) -> None:
    server = ForkingServer(tmp_path / "forking").start()
    watchdog, pid, child = server.family()
    assert {process.pid for process in left_of(watchdog)} == {watchdog, pid, child}
    if end == "kill":
        server.kill()
    elif end == "stop":
        server.stop()
    else:
        os.kill(pid, signal.SIGKILL if "killed" in end else signal.SIGTERM)
        assert server._watchdog is not None
        server._watchdog.wait(10)
    assert not left_of(watchdog)
    assert not server.running
    server.kill()


def test_what_a_server_forked_ends_with_a_killed_owner(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _FORKING_OWNER, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        family = [int(word) for word in owner.stdout.readline().split()]
        assert len(family) == 3
        owner.kill()
        owner.wait()
        assert all(is_gone(pid) for pid in family)
        assert not left_of(family[0])


_FORKING_OWNER = """
import os, sys
from pathlib import Path
from tests.functional.test_embedded import ForkingServer
print(*ForkingServer(Path(sys.argv[1])).start().family(), flush=True)
os.read(0, 1)
"""

_OWNER = """
import os, sys
from pathlib import Path
from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3
server = {"redis": EmbeddedRedis, "s3": EmbeddedS3}[sys.argv[1]](Path(sys.argv[2])).start()
fork = sys.argv[3] == "fork" and os.fork() == 0
if fork:
    os.read(0, 1)
else:
    print(server.pid, server._watchdog.pid, flush=True)
    os.read(0, 1)
"""


@pytest.mark.parametrize("kind", ["redis", "s3"])
@pytest.mark.parametrize("fork", ["fork", "alone"])
def test_it_dies_with_a_killed_owner(tmp_path: Path, kind: str, fork: str) -> None:
    # A forked sibling of the owner holds the owner's pipes open and lives on; the server must go anyway.
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, kind, str(tmp_path / "data"), fork],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        pid, watchdog = (int(word) for word in owner.stdout.readline().split())
        os.kill(pid, 0)
        owner.kill()
        owner.wait()
        assert is_gone(pid)
        assert is_gone(watchdog)


@pytest.mark.parametrize("kind", ["redis", "s3"])
def test_it_dies_with_an_owner_that_just_ends(tmp_path: Path, kind: str) -> None:
    owner = subprocess.run(
        [sys.executable, "-c", _OWNER, kind, str(tmp_path / "data"), "alone"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    pid, watchdog = (int(word) for word in owner.stdout.split())
    assert is_gone(pid)
    assert is_gone(watchdog)


def test_it_dies_with_a_killed_watchdog(server: EmbeddedServer) -> None:
    server.start()
    pid, watchdog = server.pid, server._watchdog
    assert pid is not None
    assert watchdog is not None
    watchdog.kill()
    watchdog.wait()
    assert is_gone(pid)
    server.start()
    assert answers(server)


def test_redis_keeps_its_data_with_aof_only(tmp_path: Path) -> None:
    for aof, left in ((True, b"1"), (False, None)):
        with EmbeddedRedis(tmp_path / f"redis{aof}", aof=aof) as server:
            client = redis.Redis.from_url(server.url)
            for end in (server.kill, server.stop):
                client.set("job", "1")
                end()
                server.start()
                assert client.get("job") == left
            client.close()


def test_redis_takes_further_settings(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis", config=("--maxmemory", "64mb")) as server:
        client = redis.Redis.from_url(server.url)
        assert client.config_get("maxmemory")["maxmemory"] == str(64 << 20)
        assert re.match(r"8\.", client.info("server")["valkey_version"])
        client.close()


def test_s3_keeps_objects_and_refuses_strangers(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "s3", buckets=("input",)) as server:
        client = Minio(
            server.endpoint, server.access_key, server.secret_key, secure=False, region="us-east-1"
        )
        client.fput_object("input", "a/b.txt", __file__)
        server.kill()
        # What is put into the folder by hand is an object too.
        (tmp_path / "s3" / "input" / "hand.txt").write_text("hand")
        server.start()
        assert client.stat_object("input", "a/b.txt").size == Path(__file__).stat().st_size
        assert client.stat_object("input", "hand.txt").size == 4
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{server.url}/input/hand.txt")


def test_s3_keys_are_made_up_and_not_shown_to_other_users(tmp_path: Path) -> None:
    one, two = EmbeddedS3(tmp_path / "1"), EmbeddedS3(tmp_path / "2")
    assert (len(one.access_key), len(one.secret_key)) == (20, 40)
    assert (one.access_key, one.secret_key) != (two.access_key, two.secret_key)
    with one:
        assert one.secret_key not in Path(f"/proc/{one.pid}/cmdline").read_text()
        assert one.secret_key not in one.log.read_text()
    with pytest.raises(ConfigError, match="comma"):
        EmbeddedS3(tmp_path / "3", secret_key="a,b")
    given = EmbeddedS3(tmp_path / "4", access_key="someone", secret_key="something")
    assert (given.access_key, given.secret_key) == ("someone", "something")


def test_free_ports_are_not_those_of_outgoing_connections() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < embedded_server.free_port() < first for _ in range(20))
