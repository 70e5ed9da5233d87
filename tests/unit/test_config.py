"""Settings: layers, origins, what is refused and how that is said."""

from __future__ import annotations

import copy
import json
import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from myspinbot_worker.config import Settings, describe, environment, load_settings
from myspinbot_worker.config_values import masked_url
from myspinbot_worker.errors import ConfigError
from myspinbot_worker.models import RedisBridge, WorkerConfig

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"

# As an operator of the platform has them.
BRIDGE: dict[str, Any] = {
    "url": "redis://redis:6379",
    "streams": {"control": "stream:control", "data": "stream:data"},
    "channels": {"progress": "channel:progress", "status": "channel:status", "data": "channel:data"},
    "jobs": {"ttl": 43200},
    "planning": {"pipelines": {"PROCESS": {"steps": [1, 2]}, "FIXED": [{"id": "x"}]}},
}
CONFIG: dict[str, Any] = {
    "streams": {"group": "workers", "batch_size": 1},
    "server": {"host": "0.0.0.0", "port": 8000},
}
VARIABLES = {
    "COMFYUI_ROOT_DIR": "/opt/ComfyUI",
    "MINIO_ENDPOINT": "minio:9000",
    "MINIO_USE_SSL": "false",
    "MINIO_BUCKETS": "input, staged,output",
    "MINIO_ACCESS_KEY": "minioadmin",
    "MINIO_SECRET_KEY": "hunter2hunter2",
    "PATH": "/usr/bin",
    "HOME": "/root",
}


class Home:
    """A worker's home folder with its two files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.config.mkdir(parents=True)

    def write(self, bridge: Any = None, config: Any = None) -> Home:
        for name, content in (("redis.bridge.json", bridge), ("config.json", config)):
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                self.config.joinpath(name).write_text(text, encoding="utf-8")
        return self

    def load(self, environ: Mapping[str, str] | None = None, **options: Any) -> Settings:
        return load_settings({"WORKER_HOME": str(self.folder), **(environ or {})}, **options)

    def problems(self, environ: Mapping[str, str] | None = None, **options: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(environ, **options)
        error = caught.value
        # The traceback must not carry what the message leaves out.
        assert error.__cause__ is None
        assert error.__context__ is None
        found = error.details["problems"]
        assert all(problem in error.message for problem in found)
        return [str(problem).replace(f"{self.config}/", "") for problem in found]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def plain(loaded: Settings) -> dict[str, Any]:
    """What two equal settings have in common, without their origins."""
    return {**loaded.model_dump(), "secrets": environment(loaded)}


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_settings({})
    assert loaded.redis.url == "redis://127.0.0.1:6379/0"
    assert loaded.streams.model_dump() == {
        "data": "process:data",
        "control": "process:control",
        "group": "workers",
        "batch_size": 16,
    }
    assert loaded.channels.model_dump() == {
        "progress": "channel:progress",
        "status": "channel:status",
        "data": "channel:data",
    }
    assert loaded.jobs.ttl_seconds == 43200
    assert (loaded.server.host, loaded.server.port) == ("127.0.0.1", 8000)
    assert loaded.storage.endpoint == "127.0.0.1:9000"
    assert loaded.storage.use_ssl is False
    assert loaded.storage.buckets == ("input", "staged", "output")
    assert loaded.storage.secret_key == SecretStr("")
    assert loaded.comfyui.root_dir is None
    assert loaded.worker_home == tmp_path
    temp = Path(tempfile.gettempdir())
    assert loaded.farm.model_dump() == {
        "namespace": "farm",
        "engine": "preview",
        "actor_modules": (),
        "lease_seconds": 30.0,
        "reconcile_seconds": 2.0,
        "reclaim_idle_seconds": 5.0,
        "message_check_seconds": 5.0,
        "max_lost_attempts": 3,
        "keep_going": False,
        "handoff_completed": True,
        "handoff_failed": False,
        "scratch_dir": temp / "myspinbot-worker",
        "dead_letters_kept": 10000,
        "history_kept": 10000,
        "max_nodes": 10000,
        "max_entry_bytes": 67108864,
        "heartbeat_seconds": 60.0,
        "gpu_devices": "auto",
        "gpu_lock_dir": temp / "myspinbot-gpu",
        "metrics_host": "127.0.0.1",
        "metrics_port": 9191,
        "log_level": "INFO",
    }
    assert set(loaded.origins.values()) == {"default"}
    assert plain(Settings()) == plain(loaded)
    assert Settings().origins == loaded.origins


def test_an_operators_files_and_variables_work(home: Home) -> None:
    loaded = home.write(BRIDGE, CONFIG).load(VARIABLES)
    assert loaded.redis.url == "redis://redis:6379"
    assert (loaded.streams.data, loaded.streams.control) == ("stream:data", "stream:control")
    assert (loaded.streams.group, loaded.streams.batch_size) == ("workers", 1)
    assert (loaded.server.host, loaded.server.port) == ("0.0.0.0", 8000)
    assert loaded.storage.endpoint == "minio:9000"
    assert loaded.storage.buckets == ("input", "staged", "output")
    assert loaded.storage.secret_key.get_secret_value() == "hunter2hunter2"
    assert loaded.comfyui.root_dir == Path("/opt/ComfyUI")
    assert loaded.worker_home == home.folder
    assert loaded.origins["redis.url"] == "redis.bridge.json"
    assert loaded.origins["jobs.ttl_seconds"] == "redis.bridge.json"
    assert loaded.origins["streams.group"] == "config.json"
    assert loaded.origins["storage.endpoint"] == "env MINIO_ENDPOINT"
    assert loaded.origins["worker_home"] == "env WORKER_HOME"
    assert loaded.origins["farm.engine"] == "default"


def test_the_process_environment_is_the_default(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_HOME", str(home.folder))
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    assert load_settings().redis.url == "redis://elsewhere"


def test_later_layers_win(home: Home) -> None:
    home.write({"url": "redis://file"}, {"server": {"port": 1}, "farm": {"lease_seconds": 10}})
    assert home.load().redis.url == "redis://file"
    assert home.load().farm.lease_seconds == 10.0
    environ = {"REDIS_URL": "redis://env", "FARM_SERVER_PORT": "2", "FARM_LEASE_SECONDS": "20"}
    loaded = home.load(environ)
    assert (loaded.redis.url, loaded.server.port, loaded.farm.lease_seconds) == ("redis://env", 2, 20.0)
    assert loaded.origins["server.port"] == "env FARM_SERVER_PORT"
    loaded = home.load(environ, overrides={"server.port": 3, "farm.lease_seconds": None})
    assert (loaded.server.port, loaded.farm.lease_seconds) == (3, 20.0)
    assert loaded.origins["server.port"] == "command line"
    assert loaded.origins["farm.lease_seconds"] == "env FARM_LEASE_SECONDS"


def test_the_command_line_can_move_the_files(home: Home, tmp_path: Path) -> None:
    home.write({"url": "redis://file"})
    loaded = load_settings({"WORKER_HOME": str(tmp_path)}, {"worker_home": home.folder})
    assert loaded.redis.url == "redis://file"
    assert loaded.origins["worker_home"] == "command line"


def test_an_empty_variable_is_not_set(home: Home) -> None:
    home.write({"url": "redis://file"})
    loaded = home.load({"REDIS_URL": "", "FARM_ENGINE": "", "COMFYUI_ROOT_DIR": "", "MINIO_BUCKETS": ""})
    assert loaded.redis.url == "redis://file"
    assert loaded.comfyui.root_dir is None
    assert loaded.origins["storage.buckets"] == "default"


def test_a_byte_order_mark_is_no_error(home: Home) -> None:
    assert home.write("\ufeff" + json.dumps({"url": "redis://file"})).load().redis.url == "redis://file"


@pytest.mark.parametrize(
    ("variable", "text", "read", "value"),
    [
        ("REDIS_URL", "rediss://u:p@h:6380/3?ssl_cert_reqs=none", lambda s: s.redis.url[:9], "rediss://"),
        ("REDIS_URL", "unix:///run/redis.sock?db=1", lambda s: s.redis.url, "unix:///run/redis.sock?db=1"),
        ("REDIS_URL", "redis://:p%40ss@h/", lambda s: s.redis.url, "redis://:p%40ss@h/"),
        ("MINIO_ENDPOINT", "minio", lambda s: (s.storage.endpoint, s.storage.use_ssl), ("minio", False)),
        ("MINIO_ENDPOINT", "http://a:9", lambda s: (s.storage.endpoint, s.storage.use_ssl), ("a:9", False)),
        ("MINIO_ENDPOINT", "https://a:9/", lambda s: (s.storage.endpoint, s.storage.use_ssl), ("a:9", True)),
        ("MINIO_ENDPOINT", "[::1]:9000", lambda s: s.storage.endpoint, "[::1]:9000"),
        *[
            ("MINIO_USE_SSL", text, lambda s: s.storage.use_ssl, True)
            for text in ("true", "1", "yes", "TRUE")
        ],
        *[("MINIO_USE_SSL", text, lambda s: s.storage.use_ssl, False) for text in ("false", "0", "no")],
        ("MINIO_BUCKETS", "one", lambda s: s.storage.buckets, ("one",)),
        ("MINIO_BUCKETS", " one , two,", lambda s: s.storage.buckets, ("one", "two")),
        ("FARM_KEEP_GOING", "yes", lambda s: s.farm.keep_going, True),
        ("FARM_MAX_ENTRY_BYTES", "1024", lambda s: s.farm.max_entry_bytes, 1024),
        ("FARM_RECONCILE_SECONDS", "0.25", lambda s: s.farm.reconcile_seconds, 0.25),
        ("FARM_SCRATCH_DIR", "/var/tmp/x y", lambda s: s.farm.scratch_dir, Path("/var/tmp/x y")),
        ("FARM_SCRATCH_DIR", "~/x", lambda s: s.farm.scratch_dir, Path.home() / "x"),
        ("FARM_GPU_DEVICES", "0, 1", lambda s: s.farm.gpu_devices, "0, 1"),
        ("FARM_METRICS_PORT", "0", lambda s: s.farm.metrics_port, 0),
        ("FARM_STREAMS_DATA", "d", lambda s: s.streams.data, "d"),
        ("FARM_JOBS_TTL_SECONDS", "60", lambda s: s.jobs.ttl_seconds, 60),
    ],
)
def test_variables(
    home: Home, variable: str, text: str, read: Callable[[Settings], Any], value: object
) -> None:
    loaded = home.load({variable: text})
    assert read(loaded) == value
    assert f"env {variable}" in loaded.origins.values()


def test_a_relative_folder_becomes_absolute(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.folder)
    assert load_settings({"FARM_SCRATCH_DIR": "s"}).farm.scratch_dir == home.folder / "s"


def test_the_endpoints_scheme_is_the_origin_of_use_ssl(home: Home) -> None:
    loaded = home.load({"MINIO_ENDPOINT": "https://minio:9000"})
    assert loaded.origins["storage.use_ssl"] == "env MINIO_ENDPOINT"
    loaded = home.load({"MINIO_ENDPOINT": "https://minio:9000", "MINIO_USE_SSL": "yes"})
    assert loaded.origins["storage.use_ssl"] == "env MINIO_USE_SSL"


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
        ({"FARM_ENGINE": "magic"}, "farm.engine (env FARM_ENGINE): expected 'preview', got 'magic'"),
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


def test_settings_are_frozen_hashable_and_travel(home: Home) -> None:
    loaded = home.load({"FARM_ENGINE": "preview"})
    with pytest.raises(ValidationError):
        setattr(loaded.farm, "engine", "preview")  # noqa: B010 -- the type checker refuses the plain form
    assert hash(loaded) == hash(copy.deepcopy(loaded))
    again = pickle.loads(pickle.dumps(loaded))
    assert again == loaded
    assert again.origins == loaded.origins


SECRETS = {
    "REDIS_URL": "redis://user:hunter2@h:6379/1?password=hunter2",
    "MINIO_ACCESS_KEY": "hunter2",
    "MINIO_SECRET_KEY": " hunter2 ",
}


def test_no_secret_is_shown(home: Home) -> None:
    loaded = home.load(SECRETS)
    for text in (repr(loaded), str(loaded), f"{loaded.redis}", repr(loaded.storage), repr(describe(loaded))):
        assert "hunter2" not in text
    rows = {row.key: row for row in describe(loaded)}
    assert rows["redis.url"].value == "redis://user:***@h:6379/1?password=***"
    assert rows["storage.secret_key"].value == "***"
    assert environment(loaded)["MINIO_SECRET_KEY"] == " hunter2 "


def test_a_model_error_shows_no_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"redis": {"url": "http://:hunter2@h"}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://user@h", "redis://user@h"),
        ("redis://:p@h", "redis://:***@h"),
        ("redis://u:p@q@h", "redis://u:***@h"),
        ("redis://u:p:q@h", "redis://u:***@h"),
        ("unix://u:p@/run/x.sock?db=1&password=x&y=2", "unix://u:***@/run/x.sock?db=1&password=***&y=2"),
        ("rediss://h?ssl_password=x", "rediss://h?ssl_password=***"),
    ],
)
def test_masked_url(url: str, masked: str) -> None:
    assert masked_url(url) == masked


def test_describe_has_every_setting_once_with_its_meaning(home: Home) -> None:
    loaded = home.write(BRIDGE, CONFIG).load(VARIABLES)
    rows = describe(loaded)
    assert [row.key for row in rows] == list(loaded.origins)
    assert all(row.description.endswith(".") for row in rows)
    assert {row.key: row.origin for row in rows} == loaded.origins
    assert len(environment(loaded)) == len(rows)


def test_a_child_process_gets_the_same_settings(home: Home) -> None:
    home.write(BRIDGE, {**CONFIG, "farm": {"keep_going": True, "scratch_dir": "/x y"}})
    loaded = home.load({**VARIABLES, **SECRETS}, overrides={"streams.data": "other"})
    child = load_settings({**VARIABLES, **environment(loaded)})
    assert plain(child) == plain(loaded)
    assert child.streams.data == "other"


def test_the_schemas_of_the_files_know_the_same_settings_and_defaults() -> None:
    defaults = {row.key: row.value for row in describe(Settings())}
    documented = {"worker-config": {}, "redis-bridge": {"jobs.ttl": "jobs.ttl_seconds", "url": "redis.url"}}
    seen: set[str] = set()
    for name, renamed in documented.items():
        schema = json.loads(SCHEMAS.joinpath(f"{name}.schema.json").read_text(encoding="utf-8"))
        for group, inner in schema["properties"].items():
            for key, field in inner.get("properties", {"": inner}).items():
                at = f"{group}.{key}".rstrip(".")
                if group == "planning":
                    continue
                setting = renamed.get(at, at)
                seen.add(setting)
                if "default" in field:
                    default = field["default"]
                    text = str(default).lower() if isinstance(default, bool) else str(default)
                    text = ",".join(default) if isinstance(default, list) else text
                    assert defaults[setting] == text, setting
    from_environment_alone = {
        key for key in defaults if key.startswith(("storage.", "comfyui.", "worker_home"))
    }
    assert seen == set(defaults) - from_environment_alone


WORDS = st.sampled_from(
    [
        *("url", "streams", "data", "control", "group", "batch_size", "channels", "jobs", "ttl", "planning"),
        *("pipelines", "server", "host", "port", "farm", "lease_seconds", "keep_going", "engine"),
    ]
)
SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["redis://h", "preview", 16, 0.5, "~", "~\0", "\0"])
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(), inner, max_size=5),
    max_leaves=12,
)


@given(bridge=DOCUMENTS, config=DOCUMENTS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_json_gives_settings_or_a_config_error(bridge: Any, config: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder, "home")).write(json.dumps(bridge), json.dumps(config))
        try:
            loaded = home.load()
        except ConfigError as error:
            str(error).encode()
        else:
            assert plain(load_settings(environment(loaded))) == plain(loaded)
            RedisBridge.model_validate(bridge, strict=True)
            WorkerConfig.model_validate(config, strict=True)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_give_settings_or_a_config_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder, "home"))
        home.config.joinpath("config.json").write_bytes(content)
        try:
            home.load()
        except ConfigError as error:
            str(error).encode()


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(
    st.dictionaries(
        st.sampled_from([*sorted(environment(Settings()).keys() - {"WORKER_HOME"}), "FARM_X"]),
        TEXTS,
        max_size=4,
    )
)
def test_any_variables_give_settings_or_a_config_error(variables: dict[str, str]) -> None:
    try:
        loaded = load_settings({**variables, "WORKER_HOME": "/nowhere"})
    except ConfigError as error:
        str(error).encode()
    else:
        assert plain(load_settings(environment(loaded))) == plain(loaded)
