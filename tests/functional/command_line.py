"""Running the command line: in this process, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from myspinbot_worker.cli import main
from tests.functional.harness import Farm
from tests.functional.processes import ROOT

PROGRAM = [sys.executable, "-m", "myspinbot_worker"]
Run = Callable[..., Result]


def run_in(env: dict[str, str], *arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner(env={**env, "COLUMNS": "200"}).invoke(main, arguments, input=given)


@pytest.fixture
def cli(farm_env: dict[str, str]) -> Run:
    """Runs a command in this process, on an empty database of its own."""
    return lambda *arguments, **options: run_in(farm_env, *arguments, **options)


@pytest.fixture
def on_farm(running: Farm) -> Run:
    """Runs a command in this process, on the farm that all tests share."""
    return lambda *arguments, **options: run_in(running.env, *arguments, **options)


def child(env: dict[str, str], *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def one_line(result: Result, code: int) -> str:
    """The error on stderr: one line, no traceback, nothing on stdout."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert result.stdout == ""
    return lines[0].removeprefix("Error: ")
