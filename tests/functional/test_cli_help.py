"""Help, and how fast it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from myspinbot_worker.cli import COMMANDS, main
from tests.functional.processes import ROOT


def test_help_loads_next_to_nothing() -> None:
    code = """
import sys
from myspinbot_worker.cli import main
main(["--help"], standalone_mode=False)
heavy = {"torch", "fastapi", "minio", "redis", "pydantic", "dramatiq", "rich", "numpy", "av", "uvicorn"}
print("loaded:", sorted(heavy & set(sys.modules)), "myspinbot_worker.actors" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "loaded: [] False"
    assert "Exit codes:" in done.stdout


@pytest.mark.parametrize(
    "module", ["jobs", "about", "doctor", "run", "dead", "retry", "audit", "explain", "workflow"]
)
def test_no_command_loads_what_it_does_not_need(module: str) -> None:
    code = f"""
import sys, myspinbot_worker.cli.{module}
heavy = {{"torch", "fastapi", "minio", "dramatiq", "numpy", "av", "uvicorn", "mediapipe"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_group_is_imported_in_half_a_second() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import myspinbot_worker.cli"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    (line,) = [line for line in done.stderr.splitlines() if line.endswith(" myspinbot_worker.cli")]
    assert int(line.split("|")[1]) < 500_000, line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert "Example:\n" in result.output
    assert f"myspinbot-worker {name}" in result.output
    if name != "demo":  # It brings its own servers and prints for people.
        assert "--json" in result.output
        assert "--redis-url" in result.output


def test_the_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.startswith("myspinbot-worker, version ")
