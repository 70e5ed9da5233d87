"""Importing the packages of an optional extra, with an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from myspinbot_worker.errors import EngineUnavailable


@contextmanager
def packages_of(extra: str) -> Iterator[None]:
    """Run the ``import`` statements in the block; a failing one names the extra to install.

    Raises:
        EngineUnavailable: A package is missing, or is there and cannot be loaded (a missing system library).
    """
    try:
        yield
    except ImportError as error:
        raise EngineUnavailable(
            f"this needs: pip install 'myspinbot-worker[{extra}]' ({error})",
            details={"extra": extra, "module": error.name},
        ) from error


def package_folder(package: str, extra: str) -> Path:
    """The folder of an installed package that is used for its data files and never imported.

    Raises:
        EngineUnavailable: The package is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EngineUnavailable(
            f"this needs: pip install 'myspinbot-worker[{extra}]' (no package {package})",
            details={"extra": extra, "module": package},
        )
    return Path(spec.origin).parent
