"""A worker's home folder, and files and variables as an operator has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from myspinbot_worker.config import environment, load_settings
from myspinbot_worker.errors import ConfigError
from myspinbot_worker.settings import Settings

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
