"""``compose.yaml`` is well formed and agrees with itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.unit.deploy_files import COMPOSE, FARM, KEYS, ROOT, SERVICES, mounts


def test_the_services_are_those_of_the_farm() -> None:
    assert set(SERVICES) == {
        "redis",
        "minio",
        "minio-buckets",
        "ingestor",
        "worker-gpu",
        "worker-cpu",
        "worker-preview",
        "prometheus",
    }


def test_top_level_keys_are_known() -> None:
    known = {"name", "services", "volumes", "networks", "configs", "secrets"}
    assert {key for key in COMPOSE if not key.startswith("x-")} <= known


def test_no_key_is_given_twice() -> None:
    """Compose refuses a doubled key; PyYAML would take the last one without a word."""

    def check(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{node.start_mark}: {keys}"
            for _, value in node.value:
                check(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                check(value)

    for path in ("compose.yaml", "deploy/prometheus.yml"):
        root = yaml.compose((ROOT / path).read_text(), Loader=yaml.SafeLoader)
        assert root is not None
        check(root)


@pytest.mark.parametrize("name", SERVICES)
def test_keys_of_a_service_are_known(name: str) -> None:
    known = {
        *("build", "cap_drop", "command", "depends_on", "deploy", "entrypoint", "environment", "healthcheck"),
        *("image", "init", "ports", "profiles", "restart", "security_opt", "stop_grace_period", "volumes"),
    }
    assert set(SERVICES[name]) <= known


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_depends_on_services_that_can_fulfil_it(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert not SERVICES[other].get("profiles")
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


@pytest.mark.parametrize("name", ["redis", "minio", "ingestor", "prometheus"])
def test_a_server_has_a_healthcheck(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= set(check)


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_port_is_published_twice() -> None:
    published = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == len(set(published))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(FARM)))
def test_an_image_of_others_is_pinned(name: str) -> None:
    assert re.search(r":(v?\d+\.\d+\.\d+(-\w+)?|RELEASE\.[\dTZ-]+)$", SERVICES[name]["image"])


def test_services_with_one_image_build_it_alike() -> None:
    builds: dict[str, Any] = {}
    for service in FARM.values():
        assert builds.setdefault(service["image"], service["build"]) == service["build"]


def test_volumes_are_declared_and_used() -> None:
    sources = {source for service in SERVICES.values() for source, _ in mounts(service)}
    assert {source for source in sources if not source.startswith(".")} == set(COMPOSE["volumes"])


def test_folders_and_files_that_are_mounted_exist() -> None:
    for service in SERVICES.values():
        for source, _ in mounts(service):
            # ComfyUI is the operator's; Compose refuses to start without it.
            if source.startswith(".") and source != "./ComfyUI":
                assert (ROOT / source).exists()


@pytest.mark.parametrize("name", FARM)
def test_a_farm_process_restarts_and_may_drain(name: str) -> None:
    assert FARM[name]["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+[sm]", FARM[name]["stop_grace_period"])


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command")
def test_docker_compose_accepts_the_file() -> None:
    """Needs the Compose plugin, but no engine."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the docker command has no compose plugin")
    command = ["docker", "compose", "--file", str(ROOT / "compose.yaml"), "--env-file", os.devnull]
    done = subprocess.run(
        [*command, "--profile", "preview", "config", "--quiet"],
        env={**os.environ, **KEYS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
