"""The doctor, on farms that are well, broken, never started or guarded by access rules."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import redis
from click.testing import Result

from myspinbot_worker.embedded import EmbeddedRedis
from tests.functional.command_line import Run, run_in
from tests.functional.command_line import cli as cli
from tests.functional.command_line import on_farm as on_farm


def findings(result: Result) -> dict[str, dict[str, str]]:
    return {item["name"]: item for item in json.loads(result.stdout)["findings"]}


def test_a_healthy_farm(on_farm: Run) -> None:
    result = on_farm("doctor", "--json")
    assert result.exit_code == 0, result.stdout
    found = findings(result)
    for name in ("redis", "redis.version", "redis.role", "redis.persistence", "redis.memory", "redis.clock"):
        assert found[name]["level"] == "ok", found[name]
    for name in ("farm.group", "farm.ingestors", "farm.workers", "storage", "scratch"):
        assert found[name]["level"] == "ok", found[name]
    assert "2 running" in found["farm.workers"]["text"]
    assert "1 running" in found["farm.ingestors"]["text"]
    plain = on_farm("doctor").stdout
    assert "✓ storage" in plain
    assert "✗" not in plain


def test_a_farm_that_was_never_started(cli: Run, text_client: redis.Redis) -> None:
    found = findings(cli("doctor", "--json"))
    for name in ("farm.group", "farm.ingestors", "farm.workers"):
        assert found[name]["level"] == "warning", found[name]
    text_client.xadd("process:data", {"a": "b"})
    assert "has no group workers" in findings(cli("doctor", "--json"))["farm.group"]["text"]
    text_client.xadd("farm:dead", {"entry": "1-1", "reason": "no [good]"})
    assert "1; the newest: no [good]" in cli("doctor").stdout
    text_client.delete("process:data")
    text_client.set("process:data", "x")
    result = cli("doctor", "--json")
    assert result.exit_code == 1
    assert findings(result)["farm.group"]["level"] == "error"
    assert set(text_client.keys()) == {"process:data", "farm:dead"}


def test_without_servers(farm_env: dict[str, str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        env = {
            **farm_env,
            "REDIS_URL": f"redis://:hunter2@127.0.0.1:{port}/0",
            "MINIO_ENDPOINT": f"127.0.0.1:{port}",
        }
        result = run_in(env, "doctor")
    assert result.exit_code == 1
    assert "✗ redis " in result.stdout
    assert "✗ storage " in result.stdout
    assert "redis.version" not in result.stdout
    assert "hunter2" not in result.output


def test_a_missing_bucket_and_a_wrong_key(farm_env: dict[str, str]) -> None:
    found = findings(run_in({**farm_env, "MINIO_BUCKETS": "input,nowhere"}, "doctor", "--json"))
    assert "make the missing buckets (nowhere)" in found["storage"]["advice"]
    found = findings(run_in({**farm_env, "MINIO_SECRET_KEY": "wrong-secret"}, "doctor", "--json"))
    assert found["storage"]["level"] == "error"
    assert "wrong-secret" not in json.dumps(found)


def test_a_redis_that_tells_little(own_redis: Callable[..., EmbeddedRedis], farm_env: dict[str, str]) -> None:
    server = own_redis()
    with redis.Redis.from_url(server.url) as client:
        client.xgroup_create("process:data", "workers", id="0", mkstream=True)
        client.execute_command(
            "ACL", "SETUSER", "op", "on", ">pw", "~*", "&*", "+@all", "-config", "-@dangerous", "+info"
        )
        client.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+ping")
    url = server.url.replace("redis://", "redis://op:pw@")
    found = findings(run_in(farm_env, "doctor", "--json", "--redis-url", url))
    assert found["redis.persistence"]["text"] == "AOF is on; appendfsync cannot be read (CONFIG is forbidden)"
    assert found["redis.version"]["level"] == "ok"
    url = server.url.replace("redis://", "redis://guest:pw@")
    result = run_in(farm_env, "doctor", "--json", "--redis-url", url)
    assert result.exit_code == 0, result.stdout
    found = findings(result)
    assert found["redis"]["level"] == "ok"
    for name in (
        "redis.version",
        "redis.clock",
        "farm.group",
        "farm.ingestors",
        "farm.workers",
        "farm.dead_letters",
    ):
        assert found[name]["level"] == "warning", found[name]
        assert "not allowed" in found[name]["text"]
