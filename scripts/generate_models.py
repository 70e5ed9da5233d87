#!/usr/bin/env python3
"""Write ``myspinbot_worker/models/`` from ``schemas/``.

Run it after every change of a schema::

    python scripts/generate_models.py [FOLDER]

The result depends on the schemas and on the generator's version alone: no time, no path, no setting of
this machine is in it. ``FOLDER`` (default: the package's own ``models/``) is emptied of Python files first.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = ROOT / "schemas"
MODELS = ROOT / "myspinbot_worker" / "models"

OPTIONS = [
    "--input-file-type=jsonschema",
    "--output-model-type=pydantic_v2.BaseModel",
    "--target-python-version=3.11",
    # The first Pydantic whose MISSING is no experiment.
    "--target-pydantic-version=2.14",
    # Literals, so that strict validation takes the plain strings that JSON gives.
    "--enum-field-as-literal=all",
    # `created` stays the string that came: a datetime would come back spelt differently.
    "--type-mappings=date-time=string",
    # An absent key is MISSING, not None: null is allowed only where the schema says so, and dumping a model
    # never adds a key that was not there.
    "--strict-nullable",
    "--use-missing-sentinel",
    "--use-annotated",
    "--field-constraints",
    "--use-schema-description",
    "--use-field-description",
    "--use-title-as-name",
    "--use-exact-imports",
    "--no-treat-dot-as-module",
    "--no-allow-remote-refs",
    "--disable-timestamp",
    # The generator's own formatter: black's and isort's output changes with their versions.
    "--formatters=builtin",
]


def schema_files() -> list[Path]:
    """Every schema, in the order of its name."""
    return sorted(SCHEMAS.glob("*.schema.json"))


def digest() -> str:
    """SHA-256 over all schemas; the generated package carries it, so that a stale one is told without the
    generator."""
    sums = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in schema_files())
    return hashlib.sha256(sums.encode()).hexdigest()


def header() -> str:
    """First lines of every generated file."""
    return (
        "# Generated from schemas/ by scripts/generate_models.py; do not edit.\n"
        f"# datamodel-code-generator {version('datamodel-code-generator')}\n"
    )


def module_name(schema: Path) -> str:
    """``langgraph.v1.schema.json`` becomes ``langgraph_v1``."""
    return re.sub(r"\W", "_", schema.name.removesuffix(".schema.json"))


def package_init() -> str:
    """The package's ``__init__``: the one model of each document."""
    titles = {module_name(path): json.loads(path.read_text())["title"] for path in schema_files()}
    lines = [header(), '"""The wire contract as Pydantic models, one module a document."""\n']
    lines += [f"from .{module} import {title}" for module, title in titles.items()]
    lines += ["", f'SCHEMAS_SHA256 = "{digest()}"', "", "__all__ = ["]
    lines += [f'    "{title}",' for title in sorted([*titles.values(), "SCHEMAS_SHA256"])]
    return "\n".join([*lines, "]", ""])


def generate(destination: Path) -> None:
    """Write the models into ``destination``.

    Raises:
        subprocess.CalledProcessError: The generator refused a schema; its reason is on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Module names come from file names: without ".schema" they read as they should.
        source = Path(folder, "schemas")
        source.mkdir()
        for path in schema_files():
            text = path.read_text(encoding="utf-8").replace('.schema.json"', '.json"')
            source.joinpath(path.name.replace(".schema.json", ".json")).write_text(text, encoding="utf-8")
        output = Path(folder, "models")
        command = [
            sys.executable,
            "-m",
            "datamodel_code_generator",
            f"--input={source}",
            f"--output={output}",
        ]
        # In the temporary folder no pyproject.toml can change what the generator does.
        subprocess.run([*command, *OPTIONS, f"--custom-file-header={header()}"], check=True, cwd=folder)
        output.joinpath("__init__.py").write_text(package_init(), encoding="utf-8")
        destination.mkdir(parents=True, exist_ok=True)
        for stale in destination.glob("*.py"):
            stale.unlink()
        for path in sorted(output.glob("*.py")):
            destination.joinpath(path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else MODELS)
