"""The files an operator deploys with: they parse, agree with each other and with the package.

Whether the images build and the services start needs a Docker engine, which a test cannot count on. Most
mistakes in such files are names that no longer match, and those are found here.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from dramatiq.cli import make_argument_parser

from myspinbot_worker.config import Settings, environment, load_settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = ["deploy/Dockerfile.cpu", "deploy/Dockerfile.gpu"]
# ${NAME}, ${NAME:-default} and ${NAME:?message}; $$ is a dollar sign that Compose leaves to others.
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")
KEYS = {"MINIO_ACCESS_KEY": "an-access-key", "MINIO_SECRET_KEY": "a secret $key"}

Service = dict[str, Any]


def read_yaml(path: str) -> dict[str, Any]:
    return cast(dict[str, Any], yaml.safe_load((ROOT / path).read_text()))


COMPOSE = read_yaml("compose.yaml")
SERVICES = cast(dict[str, Service], COMPOSE["services"])
FARM = {name: service for name, service in SERVICES.items() if "build" in service}
WORKERS = {name: service for name, service in FARM.items() if service["command"][0] == "dramatiq"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def interpolated(text: str, values: dict[str, str]) -> str:
    """``text`` as Compose hands it to a container."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match["name"])
        if not found and match["kind"] == "?":
            raise AssertionError(f"{match['name']} is required")
        return found or (match["text"] if match["kind"] == "-" else "")

    return VARIABLE.sub(value, text).replace("$$", "$")


def container_environment(service: Service) -> dict[str, str]:
    """The environment of a container when ``.env`` holds nothing but the required keys."""
    return {name: interpolated(value, KEYS) for name, value in service["environment"].items()}


def dramatiq_arguments(arguments: list[str]) -> argparse.Namespace:
    """What Dramatiq's own command line makes of ``arguments``."""
    parser: argparse.ArgumentParser = make_argument_parser()  # type: ignore[no-untyped-call]
    return parser.parse_args(arguments)


def mounts(service: Service) -> Iterator[tuple[str, str]]:
    """(source, target) of each volume and bind mount, interpolated."""
    for volume in service.get("volumes", []):
        if isinstance(volume, dict):
            yield interpolated(volume["source"], {}), volume["target"]
        else:
            source, target = interpolated(volume, {}).split(":")[:2]
            yield source, target


# --- compose.yaml: shape --------------------------------------------------------------------------------


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


# --- compose.yaml: what the farm relies on --------------------------------------------------------------


def test_redis_keeps_what_it_was_told() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
    }
    assert ("redis-data", "/data") in mounts(SERVICES["redis"])


def test_buckets_are_made_by_the_shell_as_listed(tmp_path: Path) -> None:
    """The script itself, with a stand-in for ``mc`` that writes down its arguments."""
    service = SERVICES["minio-buckets"]
    stand_in = tmp_path / "mc"
    stand_in.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {tmp_path}/calls\necho >> {tmp_path}/calls\n')
    stand_in.chmod(0o755)
    subprocess.run(
        [*service["entrypoint"], *(interpolated(part, KEYS) for part in service["command"])],
        env={**container_environment(service), "PATH": f"{tmp_path}:{os.defpath}"},
        check=True,
    )
    assert (tmp_path / "calls").read_text().splitlines() == [
        "alias|set|farm|http://minio:9000|an-access-key|a secret $key|",
        "mb|--ignore-existing|farm/input|",
        "mb|--ignore-existing|farm/staged|",
        "mb|--ignore-existing|farm/output|",
    ]


def test_minio_and_its_clients_use_the_same_keys() -> None:
    minio = container_environment(SERVICES["minio"])
    for name in ["minio-buckets", *FARM]:
        client = container_environment(SERVICES[name])
        assert client["MINIO_ACCESS_KEY"] == minio["MINIO_ROOT_USER"]
        assert client["MINIO_SECRET_KEY"] == minio["MINIO_ROOT_PASSWORD"]


@pytest.mark.parametrize("name", ["minio", "minio-buckets", *FARM])
def test_keys_for_storage_are_required(name: str) -> None:
    values = " ".join(SERVICES[name]["environment"].values())
    with pytest.raises(AssertionError, match="MINIO_ACCESS_KEY is required"):
        interpolated(values, {})
    with pytest.raises(AssertionError, match="MINIO_SECRET_KEY is required"):
        interpolated(values, {"MINIO_ACCESS_KEY": "k"})


def test_gpu_workers_can_be_scaled() -> None:
    worker = SERVICES["worker-gpu"]
    assert "container_name" not in worker
    assert "ports" not in worker
    environ = container_environment(worker)
    assert ("gpu-locks", environ["FARM_GPU_LOCK_DIR"]) in mounts(worker)
    # A fixed device would be the same one in every replica; the lock needs all of them in sight.
    assert not {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"} & set(environ)
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_a_gpu_worker_works_on_one_task_at_a_time() -> None:
    command = shlex.join(SERVICES["worker-gpu"]["command"])
    assert command == "dramatiq myspinbot_worker.actors -Q gpu --processes 1 --threads 1"


def test_a_gpu_worker_is_given_longer_than_dramatiq_waits() -> None:
    wait_ms = dramatiq_arguments(["m"]).worker_shutdown_timeout
    assert int(SERVICES["worker-gpu"]["stop_grace_period"].removesuffix("m")) * 60_000 > wait_ms


def test_other_services_ask_for_no_gpu() -> None:
    assert [name for name, service in SERVICES.items() if "deploy" in service] == ["worker-gpu"]


def test_preview_is_only_there_when_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["worker-preview"]
    environ = container_environment(SERVICES["worker-preview"])
    assert environ["FARM_ENGINE"] == "preview"
    assert environ["FARM_GPU_DEVICES"] == "none"


@pytest.mark.parametrize("name", WORKERS)
def test_dramatiq_understands_a_worker_s_command(name: str) -> None:
    args = dramatiq_arguments(WORKERS[name]["command"][1:])
    assert args.broker == "myspinbot_worker.actors"
    assert set(args.queues) <= {"gpu", "cpu"}


def test_every_queue_has_a_worker_without_a_profile() -> None:
    commands = [service["command"] for service in WORKERS.values() if "profiles" not in service]
    assert {command[command.index("-Q") + 1] for command in commands} == {"gpu", "cpu"}


@pytest.mark.parametrize("name", FARM)
def test_what_runs_is_a_console_script_of_the_farm_or_of_dramatiq(name: str) -> None:
    scripts = set(PROJECT["scripts"]) | {
        script.name
        for script in entry_points(group="console_scripts")
        if script.value.startswith("dramatiq.")
    }
    assert FARM[name]["command"][0] in scripts


# --- the environment ------------------------------------------------------------------------------------


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


# --- Dockerfiles ----------------------------------------------------------------------------------------


def instructions(path: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile without here-documents, continuation lines joined."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(instruction.upper(), " ".join(rest.split())) for instruction, _, rest in found]


def arguments(path: str, instruction: str) -> list[str]:
    return [rest for name, rest in instructions(path) if name == instruction]


def copied(path: str) -> list[str]:
    return [source for rest in arguments(path, "COPY") for source in shlex.split(rest)[:-1]]


def ignored(path: str) -> bool:
    """Whether ``.dockerignore`` keeps a top-level ``path`` out of the build; its last match decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and fnmatch(path, pattern.removeprefix("!")):
            verdict = not pattern.startswith("!")
    return verdict


def test_every_dockerfile_is_used() -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "deploy").glob("Dockerfile*")}
    assert found == set(DOCKERFILES)
    assert {service["build"]["dockerfile"] for service in FARM.values()} == found


@pytest.mark.parametrize("path", DOCKERFILES)
def test_instructions_are_known(path: str) -> None:
    known = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"}
    assert {name for name, _ in instructions(path)} <= known


@pytest.mark.parametrize("path", DOCKERFILES)
def test_the_base_image_is_pinned(path: str) -> None:
    for image in arguments(path, "FROM"):
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-[\w.-]+", image)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_the_farm_does_not_run_as_root(path: str) -> None:
    assert arguments(path, "USER") == ["10001:10001"]
    names = [name for name, _ in instructions(path)]
    assert names.index("USER") > max(index for index, name in enumerate(names) if name == "RUN")
    assert any("useradd --uid 10001 --gid farm" in run for run in arguments(path, "RUN"))


@pytest.mark.parametrize("path", DOCKERFILES)
def test_what_is_copied_exists_and_is_not_ignored(path: str) -> None:
    for source in copied(path):
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


@pytest.mark.parametrize("path", DOCKERFILES)
def test_what_the_package_is_built_from_is_copied(path: str) -> None:
    needed = {"pyproject.toml", "myspinbot_worker", PROJECT["readme"], *PROJECT["license-files"]}
    assert needed <= set(copied(path))


@pytest.mark.parametrize("name", [".env", ".git", ".venv", "ComfyUI", "tests", "deploy"])
def test_the_rest_stays_out_of_the_build(name: str) -> None:
    assert ignored(name)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_shell_commands_are_well_formed(path: str) -> None:
    for command in arguments(path, "RUN"):
        subprocess.run(["sh", "-n", "-c", command], check=True)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_pip_keeps_no_cache(path: str) -> None:
    for command in arguments(path, "RUN"):
        assert command.count("pip install") == command.count("pip install --no-cache-dir")


def test_extras_exist() -> None:
    pattern = r"(?:\.\[|ARG EXTRAS=\")([\w,]+)[\]\"]"
    named = [part for path in DOCKERFILES for part in re.findall(pattern, (ROOT / path).read_text())]
    named += [service["build"].get("args", {}).get("EXTRAS", "") for service in FARM.values()]
    extras = {extra for part in named for extra in part.split(",") if extra}
    assert extras == {"gpu", "preview", "speech"}
    assert extras <= set(PROJECT["optional-dependencies"])


def test_build_arguments_are_declared() -> None:
    for service in FARM.values():
        declared = {arg.partition("=")[0] for arg in arguments(service["build"]["dockerfile"], "ARG")}
        assert set(service["build"].get("args", {})) <= declared


@pytest.mark.parametrize("name", WORKERS)
def test_folders_that_a_worker_writes_to_are_made_for_it(name: str) -> None:
    settings = load_settings(container_environment(WORKERS[name])).farm
    runs = " ".join(arguments(WORKERS[name]["build"]["dockerfile"], "RUN"))
    assert f"install -d -o farm -g farm -m 0700 {settings.scratch_dir}" in runs
    if name == "worker-gpu":
        assert f"install -d -m 1777 {settings.gpu_lock_dir}" in runs


# --- prometheus.yml -------------------------------------------------------------------------------------


def test_prometheus_scrapes_the_services_where_they_listen() -> None:
    jobs = {job["job_name"]: job for job in read_yaml("deploy/prometheus.yml")["scrape_configs"]}
    assert set(jobs) == {"ingestor", "workers"}

    server = load_settings(container_environment(SERVICES["ingestor"])).server
    (static,) = jobs["ingestor"]["static_configs"]
    assert static["targets"] == [f"ingestor:{server.port}"]

    (dns,) = jobs["workers"]["dns_sd_configs"]
    assert set(dns["names"]) == set(WORKERS)
    assert dns["type"] == "A"
    for service in WORKERS.values():
        assert load_settings(container_environment(service)).farm.metrics_port == dns["port"]


def test_prometheus_reads_the_file_that_is_mounted() -> None:
    assert ("./deploy/prometheus.yml", "/etc/prometheus/prometheus.yml") in mounts(SERVICES["prometheus"])
