"""The environment of containers: ``.env.example``, ``compose.yaml`` and the farm's settings agree."""

from __future__ import annotations

import re

import pytest

from myspinbot_worker.config import environment, load_settings
from myspinbot_worker.settings import Settings
from tests.unit.deploy_files import (
    FARM,
    KEYS,
    ROOT,
    SERVICES,
    VARIABLE,
    WORKERS,
    container_environment,
    mounts,
)


def settings_of_compose() -> set[str]:
    return {match["name"] for match in VARIABLE.finditer((ROOT / "compose.yaml").read_text())}


def example_lines() -> dict[str, str]:
    """Variables of ``.env.example``, those with a default being commented out."""
    lines = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(dict(lines)) == len(lines)
    return dict(lines)


def test_the_example_names_what_compose_reads() -> None:
    assert set(example_lines()) == settings_of_compose()


def test_the_example_shows_the_defaults_of_compose() -> None:
    for match in VARIABLE.finditer((ROOT / "compose.yaml").read_text()):
        assert example_lines()[match["name"]] == (match["text"] if match["kind"] == "-" else "")


def test_the_example_sets_only_what_is_required() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "MINIO_ACCESS_KEY=",
        "MINIO_SECRET_KEY=",
    ]


@pytest.mark.parametrize("name", FARM)
def test_the_farm_knows_every_variable_of_its_containers(name: str) -> None:
    assert set(FARM[name]["environment"]) <= set(environment(Settings()))


@pytest.mark.parametrize("name", FARM)
def test_the_farm_accepts_the_environment_of_its_containers(name: str) -> None:
    settings = load_settings(container_environment(FARM[name]))
    assert settings.redis.url == "redis://redis:6379/0"
    assert settings.storage.endpoint == "minio:9000"
    assert settings.storage.buckets == ("input", "staged", "output")
    assert settings.storage.secret_key.get_secret_value() == KEYS["MINIO_SECRET_KEY"]
    assert ("./deploy", str(settings.worker_home)) in mounts(FARM[name])


def test_servers_in_containers_can_be_reached_from_outside_them() -> None:
    server = load_settings(container_environment(SERVICES["ingestor"])).server
    assert server.host == "0.0.0.0"
    assert SERVICES["ingestor"]["ports"] == [f"127.0.0.1:8000:{server.port}"]
    assert f":{server.port}/health" in SERVICES["ingestor"]["healthcheck"]["test"][-1]
    for service in WORKERS.values():
        assert load_settings(container_environment(service)).farm.metrics_host == "0.0.0.0"


def test_the_ingestor_s_healthcheck_is_python() -> None:
    command = SERVICES["ingestor"]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "python", "-c"]
    compile(command[3], "healthcheck", "exec")
