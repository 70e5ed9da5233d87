"""The generated models are what today's schemas give."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import pytest

from myspinbot_worker import models

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "generate_models.py"
MODELS = ROOT / "myspinbot_worker" / "models"
STALE = "models/ is stale: run python scripts/generate_models.py"


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_models", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_models_carry_the_digest_of_the_schemas(script: ModuleType) -> None:
    assert script.digest() == models.SCHEMAS_SHA256, STALE


def test_models_are_what_the_generator_makes(tmp_path: Path) -> None:
    made_by = texts(MODELS)["__init__.py"].splitlines()[1].split()[-1]
    try:
        installed = version("datamodel-code-generator")
    except PackageNotFoundError:
        pytest.skip("datamodel-code-generator is not installed")
    if installed != made_by:
        pytest.skip(f"models were made by datamodel-code-generator {made_by}, {installed} is installed")
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], check=True)
    assert texts(tmp_path) == texts(MODELS), STALE
