"""Settings: defaults, files, variables and the command line, and where each value came from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from myspinbot_worker.config import describe, load_settings
from myspinbot_worker.settings import Settings
from tests.unit.config_home import BRIDGE, CONFIG, VARIABLES, Home, plain
from tests.unit.config_home import home as home


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
    assert loaded.storage.ca_file is None
    assert loaded.server.token == SecretStr("")
    assert loaded.comfyui.root_dir is None
    assert loaded.worker_home == tmp_path
    temp = Path(tempfile.gettempdir())
    assert loaded.farm.model_dump() == {
        "namespace": "farm",
        "engine": "preview",
        "preview_services": (),
        "actor_modules": (),
        "lease_seconds": 30.0,
        "reconcile_seconds": 2.0,
        "reclaim_idle_seconds": 5.0,
        "message_check_seconds": 5.0,
        "max_lost_attempts": 3,
        "notice_seconds": 5.0,
        "interrupt_seconds": 5.0,
        "drain_seconds": 20.0,
        "max_open_runs": 1000,
        "keep_going": False,
        "handoff_completed": True,
        "handoff_failed": False,
        "scratch_dir": temp / "myspinbot-worker",
        "cache_dir": temp / "myspinbot-cache",
        "cache_bytes": 0,
        "reuse_results": False,
        "reuse_seconds": 604800,
        "reuse_most": 10000,
        "dead_letters_kept": 10000,
        "history_kept": 10000,
        "max_nodes": 10000,
        "max_entry_bytes": 67108864,
        "max_artifact_bytes": 4294967296,
        "max_image_pixels": 64000000,
        "max_media_seconds": 3600.0,
        "heartbeat_seconds": 20.0,
        "gpu_devices": "auto",
        "affinity_window": 32,
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


SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


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


def test_a_list_in_the_file(home: Home) -> None:
    home.write(config={"farm": {"actor_modules": ["a.b", "c"]}})
    assert home.load().farm.actor_modules == ("a.b", "c")
    for wrong in (["a", 1], [["a"]], ["a b"], {"a": 1}, [""]):
        assert "farm.actor_modules" in home.write(config={"farm": {"actor_modules": wrong}}).problems()[0]
