"""The Dockerfiles: pinned, without root, and in agreement with the package and ``compose.yaml``."""

from __future__ import annotations

import re
import shlex
import subprocess
from fnmatch import fnmatch

import pytest

from myspinbot_worker.config import load_settings
from tests.unit.deploy_files import FARM, PROJECT, ROOT, WORKERS, container_environment

DOCKERFILES = ["deploy/Dockerfile.cpu", "deploy/Dockerfile.gpu"]


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
    assert extras == {"gpu", "comfyui", "preview", "speech"}
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
