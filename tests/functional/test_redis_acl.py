"""The farm works for a Redis user who may do what the farm needs and nothing else."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3

from .command_line import run_in
from .conftest import farm_environment
from .harness import Farm, graph, node, wait_until
from .processes import ROOT
from .test_http import address

PASSWORD = "the-farms-own-password"
ACL = (ROOT / "deploy" / "redis.acl").read_text()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A server with the line of ``deploy/redis.acl``; the test itself may do everything."""
    folder = tmp_path_factory.mktemp("guarded")
    rules = folder / "users.acl"
    rules.write_text("user default on nopass ~* &* +@all\n" + ACL.replace("change-me", PASSWORD))
    with EmbeddedRedis(folder / "data", aof=True, config=("--aclfile", str(rules))) as server:
        yield server


def farms_url(server: EmbeddedRedis) -> str:
    return f"redis://farm:{PASSWORD}@127.0.0.1:{server.port}/0"


def test_a_whole_farm_under_its_own_user(
    guarded: EmbeddedRedis, s3_server: EmbeddedS3, tmp_path: Path
) -> None:
    """Jobs that complete, fail, are retried, cancelled, lost with their worker or refused: nothing was forbidden."""
    env = farm_environment(guarded.url, s3_server, tmp_path)
    own: dict[str, Any] = {"REDIS_URL": farms_url(guarded)}
    with Farm(env) as farm:
        ingestor = farm.start_ingestor(**own)
        worker = farm.start_worker(**own)
        chain = graph([node("a", "test.artifact", params={"fail_first": 1}), node("b", "dummy.dummy_task"),
                       node("c", "info.get_capabilities")], [("a", "b"), ("b", "c")])  # fmt: skip
        job = chain["workflowId"]
        for _ in ("once", "and once more"):
            farm.client.xadd("process:data", {"jobId": job, "created": "5", "graph": json.dumps(chain)})
        assert {n["status"] for n in farm.wait_back(job)["nodes"]} == {"completed"}
        farm.wait_status(farm.submit(graph([node("a", "generate.upscale_video")])), "failed")
        farm.client.xadd("process:data", {"jobId": "garbage", "graph": "{"})
        farm.wait_status("garbage", "failed")
        slow = {"steps": 100, "seconds": 60}
        lost = farm.submit(graph([node("a", "dummy.dummy_task", params=slow)]))
        farm.wait_status(lost, "running")
        worker.kill()
        farm.start_worker(**own)
        wait_until(lambda: farm.client.hget(farm.keys.run(lost), "t:0") == "2", "another start")
        for command in (
            ("jobs",),
            ("show", lost),
            ("show", job),
            ("capabilities",),
            ("cancel", lost),
            ("doctor",),
        ):
            result = run_in({**env, **own}, *command)
            assert "NOPERM" not in result.output, command
        farm.wait_status(lost, "failed")
        assert "farm_redis_up 1.0" in httpx.get(f"{address(ingestor)}/metrics").text
        text = tmp_path / "graph.json"
        text.write_text(json.dumps(graph([node("a", "dummy.dummy_task")])))
        assert run_in({**env, **own}, "submit", str(text), "--watch").exit_code == 0
        farm.wait_idle()
        farm.wait_quiet()
        ingestor.signal(signal.SIGTERM)
        assert ingestor.stop() == 0
        refused = [
            entry for entry in farm.client.acl_log() if entry["object"] not in ("config|get", "config")
        ]
        assert not refused, "only the doctor asks for more, and says so"
        for process in farm.processes:
            assert not any("NOPERM" in line for line in process.lines)


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "FLUSHDB", "SCAN 0", "CONFIG GET *", "CONFIG SET appendonly no", "SHUTDOWN NOSAVE",
        "ACL LIST", "ACL SETUSER farm +@all", "MONITOR", "SAVE", "REPLICAOF 127.0.0.1 1",
        "MODULE LIST", "SCRIPT FLUSH", "CLIENT KILL TYPE normal", "FUNCTION LIST", "SWAPDB 0 1",
        "GET secret", "SET secret 1", "HGETALL session:1", "XADD other:stream * a b", "PUBLISH other:1 x",
        "PUBLISH channel:other:1 x", "PSUBSCRIBE *",
        "XGROUP DESTROY process:data workers", "XTRIM process:data MAXLEN 0",
        "EVAL return(1) 0", "EVAL_RO return(1) 0",
        "RENAME farm:runs secret", "MIGRATE 127.0.0.1 1 farm:runs 0 1", "SORT farm:runs GET secret",
        "DUMP farm:runs", "COPY farm:runs secret",
    ],
)  # fmt: skip
def test_what_the_user_may_not_do(guarded: EmbeddedRedis, command: str) -> None:
    with redis.Redis.from_url(farms_url(guarded)) as client:
        assert client.ping()
        # redis-py reads some of these as exceptions of its own; all say why.
        with pytest.raises(redis.RedisError, match=r"(?i)no permission|NOPERM|can't access|ACL failure"):
            client.execute_command(*command.split(" "))


@pytest.mark.parametrize(
    "call", ["'FLUSHALL'", "'GET', 'secret'", "'SET', 'secret', 1", "'PUBLISH', 'other', 1"]
)
def test_a_script_may_not_do_more(guarded: EmbeddedRedis, call: str) -> None:
    with redis.Redis.from_url(farms_url(guarded)) as client:
        assert client.register_script("return redis.call('TIME')")()
        with pytest.raises(redis.RedisError, match=r"(?i)no permission|ACL failure|NOPERM"):
            client.register_script(f"return redis.call({call})")()


def test_a_wrong_password_is_a_clear_error(guarded: EmbeddedRedis, farm_env: dict[str, str]) -> None:
    url = f"redis://farm:not-the-password@127.0.0.1:{guarded.port}/0"
    result = run_in({**farm_env, "REDIS_URL": url}, "jobs")
    assert result.exit_code == 1
    assert "refuses the user name or password" in result.stderr
    assert "not-the-password" not in result.output


def test_the_line_is_one_and_names_every_default(farm_env: dict[str, str]) -> None:
    from myspinbot_worker.settings import Settings

    settings = Settings()
    assert ACL.count("\n") == 1
    assert ACL in (ROOT / "docs" / "security.md").read_text()
    for key in (settings.streams.data, settings.streams.control, "job:*", f"{settings.farm.namespace}:*"):
        assert f" ~{key} " in ACL
    for channel in (settings.channels.progress, settings.channels.status, settings.channels.data):
        assert f" &{channel}:* " in ACL
    assert not re.search(r"\+@|allkeys|allchannels|nopass|~\* |&\* ", ACL)
