"""The files an operator deploys with, read for the tests of them.

Whether the images build and the services start needs a Docker engine, which a test cannot count on. Most
mistakes in such files are names that no longer match, and those are found by ``test_deploy_*``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml

ROOT = Path(__file__).resolve().parents[2]
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


def mounts(service: Service) -> Iterator[tuple[str, str]]:
    """(source, target) of each volume and bind mount, interpolated."""
    for volume in service.get("volumes", []):
        if isinstance(volume, dict):
            yield interpolated(volume["source"], {}), volume["target"]
        else:
            source, target = interpolated(volume, {}).split(":")[:2]
            yield source, target
