"""Settings that are refused, all at once, each named with its origin, and no secret shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.config_home import Home
from tests.unit.config_home import home as home


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"FARM_LEASE_SECOND": "1"},
            "env FARM_LEASE_SECOND: unknown variable (did you mean FARM_LEASE_SECONDS?)",
        ),
        ({"FARM_QQQQ": ""}, "env FARM_QQQQ: unknown variable"),
        ({"FARM_LEASE_SECONDS": "0.5"}, "farm.lease_seconds (env FARM_LEASE_SECONDS): expected a number"),
        ({"FARM_LEASE_SECONDS": "inf"}, "expected a finite number, got 'inf'"),
        ({"FARM_RECONCILE_SECONDS": "0"}, "expected a number greater than 0, got '0'"),
        ({"FARM_MAX_NODES": "many"}, "expected a valid integer, got 'many'"),
        (
            {"FARM_SERVER_TOKEN": "short"},
            "server.token (env FARM_SERVER_TOKEN): expected at least 16 characters",
        ),
        ({"FARM_SERVER_TOKEN": "has a blank in between"}, "ASCII and without blanks"),
        ({"FARM_MAX_MEDIA_SECONDS": "0"}, "expected a number greater than 0, got '0'"),
        (
            {"FARM_ENGINE": "magic"},
            "farm.engine (env FARM_ENGINE): expected 'preview' or 'comfyui', got 'magic'",
        ),
        ({"FARM_NAMESPACE": "my farm"}, "farm.namespace (env FARM_NAMESPACE): expected text that matches"),
        ({"FARM_METRICS_PORT": "65536"}, "expected a number less than or equal to 65535"),
        ({"FARM_STREAMS_DATA": "process:data "}, "streams.data (env FARM_STREAMS_DATA): expected text"),
        (
            {"FARM_STREAMS_DATA": "process:control"},
            "streams.data and streams.control: expected two different",
        ),
        ({"MINIO_USE_SSL": "maybe"}, "storage.use_ssl (env MINIO_USE_SSL): expected a valid boolean"),
        *[
            ({"MINIO_BUCKETS": text}, "storage.buckets (env MINIO_BUCKETS): expected different bucket names")
            for text in (",", "a", "Input", "one,one", "with space")
        ],
        (
            {"MINIO_ENDPOINT": "https://m:9000", "MINIO_USE_SSL": "no"},
            "storage.use_ssl (env MINIO_USE_SSL) contradicts https:// in env MINIO_ENDPOINT",
        ),
        ({"MINIO_ENDPOINT": "https://m", "MINIO_USE_SSL": "maybe"}, "expected a valid boolean"),
    ],
)
def test_bad_variables(home: Home, variables: dict[str, str], problem: str) -> None:
    (found,) = home.problems(variables)
    assert problem in found


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "hunter2",
        "redis+sentinel://h",
        "REDIS://h",
        "redis://:hunter2@h:port",
        "redis://:hunter2@h:0",
        "redis://:hunter2@h:99999",
        "redis://:hunter2@h/db",
        "redis://:hun#ter2@h",
        "redis://:hun/ter2@h",
        "redis://:1?hunter2@h",
        "redis://:hunter2 @h",
        "redis://:hunter2@[h",
        "redis://:hunter2@h\u2100",
        "unix://",
    ],
)
def test_a_bad_redis_url_is_refused_and_not_shown(home: Home, url: str) -> None:
    (found,) = home.problems({"REDIS_URL": url})
    assert found.startswith("redis.url (env REDIS_URL): expected redis://")
    assert "hunter2" not in found
    assert "ter2" not in found


@pytest.mark.parametrize(
    "endpoint",
    ["hunter2:hunter2@m:9000", "m:port", "m:0", "m/path", "ftp://m", "http://", "m 1", "m?x", "[m"],
)
def test_a_bad_endpoint_is_refused_and_not_shown(home: Home, endpoint: str) -> None:
    (found,) = home.problems({"MINIO_ENDPOINT": endpoint})
    assert found.startswith("storage.endpoint (env MINIO_ENDPOINT): expected host or host:port")
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("bridge", "config", "problem"),
    [
        ({"ulr": "redis://h"}, None, "redis.bridge.json: unknown key ulr (did you mean url?)"),
        (
            {"streams": {"daat": "x"}},
            None,
            "redis.bridge.json: unknown key streams.daat (did you mean streams.data?)",
        ),
        (
            {"streams": {"group": "x"}},
            None,
            "redis.bridge.json: unknown key streams.group (it belongs in config.json)",
        ),
        (
            None,
            {"jobs": {"ttl": 1}},
            "config.json: unknown key jobs",
        ),
        (
            None,
            {"farm": {"lease": 1}},
            "config.json: unknown key farm.lease (did you mean farm.lease_seconds?)",
        ),
        (None, {"severs": {}}, "config.json: unknown key severs (did you mean server?)"),
        (None, {"": 1}, "config.json: unknown key ''"),
        (None, {"\ud800": 1}, "config.json: unknown key '\\ud800'"),
        (None, {"farm.engine": "preview"}, "config.json: unknown key farm.engine"),
        ({"streams": []}, None, "redis.bridge.json: streams: expected an object"),
        ({"planning": []}, None, "redis.bridge.json: planning: expected an object"),
        ({"planning": {"pipelines": 1}}, None, "redis.bridge.json: planning.pipelines: expected an object"),
        ({"jobs": {"ttl": 0}}, None, "jobs.ttl_seconds (redis.bridge.json: jobs.ttl): expected a number"),
        ({"jobs": {"ttl": "60"}}, None, "expected a valid integer, got '60'"),
        ({"jobs": {"ttl": None}}, None, "expected a valid integer, got None"),
        ({"jobs": {"ttl": {"a": 1}}}, None, "expected a valid integer, got {'a': 1}"),
        ({"url": "redis://:hunter2@h/x"}, None, "redis.url (redis.bridge.json: url): expected redis://"),
        (
            None,
            {"server": {"port": True}},
            "server.port (config.json: server.port): expected a valid integer",
        ),
        (None, {"streams": {"batch_size": 1001}}, "expected a number less than or equal to 1000"),
        (None, {"farm": {"keep_going": "yes"}}, "expected a valid boolean, got 'yes'"),
        (
            None,
            {"farm": {"scratch_dir": ""}},
            "farm.scratch_dir (config.json: farm.scratch_dir): expected a path",
        ),
        (None, '{\n  "server": {"port": 1,}\n}', "config.json: line 2, column"),
        (None, "", "config.json: line 1, column 1: Expecting value"),
        (None, "[]", "config.json: expected a JSON object"),
        (None, '{"farm": {"lease_seconds": NaN}}', "config.json: cannot be read: NaN is not JSON"),
        (None, "[" * 100_000, "config.json: nested too deeply"),
    ],
)
def test_bad_files(home: Home, bridge: Any, config: Any, problem: str) -> None:
    (found,) = home.write(bridge, config).problems()
    assert problem in found
    assert "hunter2" not in found


def test_a_file_that_cannot_be_read_is_a_problem(home: Home) -> None:
    home.config.joinpath("config.json").mkdir()
    home.config.joinpath("redis.bridge.json").write_bytes(b'{"url": "\xff"}')
    assert home.problems() == [
        "redis.bridge.json: byte 9: expected UTF-8",
        "config.json: cannot be read: Is a directory",
    ]


def test_everything_wrong_is_reported_at_once(home: Home) -> None:
    home.write({"url": "ftp://x", "surplus": 1}, "{")
    problems = home.problems(
        {"FARM_ENGIN": "x", "MINIO_USE_SSL": "x"}, overrides={"farm.leas": 1, "server.port": "x"}
    )
    for part in ("FARM_ENGIN", "farm.leas", "surplus", "line 1", "redis.url", "use_ssl", "server.port"):
        assert any(part in problem for problem in problems), part
    assert len(problems) == 7


def test_bad_overrides(home: Home) -> None:
    assert home.problems(overrides={"farm.engin": "x"}) == [
        "command line: unknown key farm.engin (did you mean farm.engine?)"
    ]
    assert home.problems(overrides={"worker_home": ""}) == [
        "worker_home (command line): expected a path, got ''"
    ]
    assert home.problems(overrides={"farm.max_nodes": 0}) == [
        "farm.max_nodes (command line): expected a number greater than or equal to 1, got 0"
    ]


def test_a_secret_in_the_wrong_place_is_not_shown(home: Home) -> None:
    url = "redis://user:hunter2hunter2hunter2@a-host-with-a-long-name.example:6379/0"
    assert "hunter2" not in str(home.write(config={"farm": {"max_nodes": url}}).problems())
    assert "hunter2" not in str(home.problems({"FARM_MAX_NODES": url, "FARM_NAMESPACE": "password=hunter2"}))


def test_a_value_that_is_no_text_is_refused(home: Home) -> None:
    """Bytes of the environment that are no UTF-8, and JSON's half characters: Redis would take neither."""
    half = "p\udcff"
    expected = ["streams.data (env FARM_STREAMS_DATA): expected UTF-8"]
    assert home.problems({"FARM_STREAMS_DATA": half}) == expected
    assert "channels.data" in home.write({"channels": {"data": half}}).problems()[0]
    assert home.write({}).problems(overrides={"farm.scratch_dir": half}) == [
        "farm.scratch_dir (command line): expected UTF-8"
    ]


def test_a_file_full_of_unknown_keys_is_told_in_part(home: Home) -> None:
    problems = home.write(config={f"key_{number}" * 100: 1 for number in range(10_000)}).problems()
    assert len(problems) == 51
    assert problems[-1] == "config.json: more unknown keys, which are not told"
    assert max(map(len, problems)) < 400
