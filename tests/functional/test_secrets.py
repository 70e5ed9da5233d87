"""No secret reaches a log, an error, a graph, a key in Redis, a page or the command line, whatever fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest
import redis

from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3

from .command_line import run_in
from .conftest import farm_environment
from .harness import Farm, graph, node
from .processes import Process
from .test_http import address, free_port

MARK = "hush"
REDIS_PASSWORD = f"{MARK}-redis p@ss/word:1"
ACCESS_KEY, SECRET_KEY, TOKEN = f"{MARK}-access-key-1", f"{MARK}-secret-key-22", f"{MARK}-http-token-333"
WRONG = f"{MARK}-not-the-right-one"


@dataclass
class Heard:
    """Everything that was said, by where it was said."""

    texts: dict[str, str] = field(default_factory=dict)

    def note(self, where: str, text: str) -> None:
        self.texts[f"{where} ({len(self.texts)})"] = text

    def check(self) -> None:
        found = {
            where: [line[:300] for line in text.splitlines() if MARK in line]
            for where, text in self.texts.items()
            if MARK in text
        }
        assert not found, json.dumps(found, indent=1)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[EmbeddedRedis, EmbeddedS3]]:
    """A Redis where the farm's user has a marked password, and an S3 with marked keys."""
    rules = tmp_path / "users.acl"
    rules.write_text(
        "user default on nopass ~* &* +@all\n"
        f"user farm on #{sha256(REDIS_PASSWORD.encode()).hexdigest()} ~* &* +@all -flushall\n"
    )
    with (
        EmbeddedRedis(tmp_path / "redis", aof=True, config=("--aclfile", str(rules))) as server,
        EmbeddedS3(
            tmp_path / "s3",
            buckets=("input", "staged", "output"),
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
        ) as storage,
    ):
        yield server, storage


def url_of(server: EmbeddedRedis, password: str = REDIS_PASSWORD) -> str:
    return f"redis://farm:{quote(password, safe='')}@127.0.0.1:{server.port}/0"


def everything_in(client: Any) -> str:
    """Every key of a Redis database with its value, as text."""
    readers = {
        "string": client.get, "hash": client.hgetall, "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers, "zset": lambda key: client.zrange(key, 0, -1), "stream": client.xrange,
    }  # fmt: skip
    return "\n".join(f"{key}: {readers[client.type(key)](key)}" for key in client.scan_iter())


HOW = ("message", "details", "chain", "bad output")


def failing_jobs(farm: Farm) -> list[str]:
    """Jobs that fail in every way a secret could come along, each until it has failed."""
    nodes = [
        *(node("a", "test.quote_secrets", params={"how": how}) for how in HOW),
        node("a", "test.artifact"),
        node("a", "generate.upscale_video", input={"videoArtifact": 1}),
        node("a", "no.such_service"),
    ]  # fmt: skip
    jobs = [farm.submit(graph([item])) for item in nodes]
    for job in jobs:
        farm.wait_status(job, "failed")
    return jobs


def test_nothing_tells_a_secret(servers: tuple[EmbeddedRedis, EmbeddedS3], tmp_path: Path) -> None:
    server, storage = servers
    heard = Heard()
    plain = farm_environment(server.url, storage, tmp_path)
    own: dict[str, Any] = {"REDIS_URL": url_of(server), "FARM_SERVER_TOKEN": TOKEN, "FARM_LOG_LEVEL": "DEBUG"}
    port = free_port()
    with Farm(plain | {"MINIO_ACCESS_KEY": "", "MINIO_SECRET_KEY": ""}) as farm:
        keys: dict[str, Any] = {"MINIO_ACCESS_KEY": ACCESS_KEY, "MINIO_SECRET_KEY": SECRET_KEY}
        ingestor = farm.start_ingestor(**own, **keys)
        # Storage refuses these keys.
        refused: dict[str, Any] = {
            **own,
            **keys,
            "MINIO_SECRET_KEY": WRONG,
            "FARM_METRICS_PORT": str(port),
        }
        worker = farm.start_worker("--verbose", **refused)
        jobs = failing_jobs(farm)
        farm.client.xadd("process:data", {"jobId": "garbage", "graph": "{"})
        farm.wait_status("garbage", "failed")
        for job in jobs:
            heard.note("graph", json.dumps(farm.snapshot(job)))
        codes = [farm.snapshot(job)["nodes"][0]["error"]["code"] for job in jobs]
        assert codes[-3:] == ["storage_refused", "bad_input", "unknown_service"]
        assert "cannot log in with redis://farm:***" in farm.snapshot(jobs[0])["nodes"][0]["error"]["message"]
        worker.wait_for(r"about to fail with redis://farm:\*\*\*", len(HOW))
        env = {**plain, **own, **keys}
        commands = [
            ("config",), ("config", "--json"), ("doctor",), ("doctor", "--json"), ("jobs",), ("jobs", "--json"),
            ("show", jobs[0]), ("show", jobs[1], "--json"), ("capabilities",), ("show", "nothing"),
        ]  # fmt: skip
        for command in commands:
            heard.note(" ".join(command), run_in(env, *command).output)
        url = address(ingestor)
        token = {"Authorization": f"Bearer {TOKEN}"}
        for page, headers in (
            ("health", {}),
            ("ready", {}),
            ("metrics", {}),
            ("metrics", token),
            ("x", token),
        ):
            heard.note(page, httpx.get(f"{url}/{page}", headers=headers, timeout=20).text)
        heard.note("worker's metrics", httpx.get(f"http://127.0.0.1:{port}/metrics", headers=token).text)
        farm.wait_idle()
        farm.wait_clean()
        storage.kill()
        heard.note("ready without storage", httpx.get(f"{url}/ready", timeout=20).text)
        for child in psutil.Process().children(recursive=True):
            heard.note("command line", " ".join(child.cmdline()))
        farm.wait_idle()
        # Redis forgets the user: whoever was logged in is thrown out, and says so.
        farm.client.execute_command("ACL", "SETUSER", "farm", "off")
        farm.client.execute_command("CLIENT", "KILL", "USER", "farm")
        ingestor.wait_for("(?i)invalid username|WRONGPASS|NOAUTH|disabled|Redis: ")
        heard.note("ready without a user", httpx.get(f"{url}/ready", timeout=20).text)
        for command in commands:
            heard.note(" ".join(command), run_in(env, *command).output)
        farm.client.execute_command("ACL", "SETUSER", "farm", "on")
        for process in (ingestor, worker):
            heard.note(process.name, "\n".join(process.lines))
        heard.note("Redis", everything_in(farm.client))
        for said in (farm.data, farm.statuses, farm.raw_hand_backs):
            heard.note("channels", json.dumps(said))
        farm.wait_quiet()
        farm.stop_all()
        heard.note(ingestor.name, "\n".join(ingestor.lines))
        heard.note(worker.name, "\n".join(worker.lines))
    assert any("***" in text for text in heard.texts.values())
    heard.check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"REDIS_URL": f"redis://:{MARK}@127.0.0.1:no-port/0"},
        {"REDIS_URL": f"redis://:{MARK}#{MARK}@127.0.0.1/0"},
        {"REDIS_URL": f"{MARK}://x"},
        {"REDIS_URL": f"redis://farm:{MARK}@127.0.0.1:1/0?password={MARK}"},
        {"MINIO_ENDPOINT": f"{MARK}:{MARK}@minio:9000"},
        {"FARM_SERVER_TOKEN": f"{MARK} with a blank in it"},
        {"FARM_SERVER_TOKEN": MARK},
        {"FARM_MAX_NODES": f"redis://:{MARK}{MARK}{MARK}{MARK}{MARK}@a-host-of-some-length.example:6379/0"},
        {"FARM_NAMESPACE": f"password={MARK}"},
    ],
)
def test_a_bad_setting_is_told_without_the_secret_in_it(
    farm_env: dict[str, str], wrong: dict[str, str]
) -> None:
    heard = Heard()
    env = {**farm_env, **wrong}
    for command in (("config",), ("doctor",), ("jobs", "--json")):
        result = run_in(env, *command)
        assert isinstance(result.exception, SystemExit) or result.exception is None
        heard.note(" ".join(command), result.output)
    heard.check()


def test_processes_with_a_bad_setting(farm_env: dict[str, str]) -> None:
    """An ingestor and a worker that cannot start."""
    heard = Heard()
    env = {
        **farm_env,
        "REDIS_URL": f"redis://:{MARK}@127.0.0.1:no-port/0",
        "FARM_SERVER_TOKEN": f"{MARK} {MARK}",
    }
    for command in (
        Farm.start_command("ingest"),
        [*Farm.python(), "-m", "dramatiq", "myspinbot_worker.actors", "-p", "1", "-t", "1"],
    ):
        process = Process(command[2], command, env)
        assert process.stop_when_done() != 0
        assert any("redis.url" in line for line in process.lines)
        heard.note(process.name, "\n".join(process.lines))
    heard.check()


def test_the_check_finds_what_is_told(redis_url: str) -> None:
    heard = Heard()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.rpush("farm:x", f"a {MARK}")
        heard.note("Redis", everything_in(client))
        client.flushdb()
    with pytest.raises(AssertionError, match="Redis"):
        heard.check()
