"""Mistakes in code that runs in processes of its own: a test on a real farm must fail with them.

They are planted in every process by ``proof_site/sitecustomize.py``, which Python runs as it starts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PLANTED = "PLANTED_BUG"
"""The variable that names the mistake."""
ROOT = Path(__file__).parents[2]
_SECONDS = 120
_FAILED = 1
"""Exit code of pytest when tests failed, and not because of anything else."""


@dataclass(frozen=True, slots=True)
class Farmed:
    """A mistake.

    Attributes:
        where: The file.
        test: Fails with it.
        statement: What is then violated, as that test says it.
    """

    where: str
    plant: Callable[[], None]
    test: str
    statement: str


def _never_renew() -> None:
    from myspinbot_worker.reports import Reports

    Reports._renew = lambda self, fraction: "ok"  # type: ignore[method-assign]


def _charge_everybody() -> None:
    from myspinbot_worker.runner_pool import Runner

    Runner.answers_for_death = lambda self, lane: True  # type: ignore[method-assign]


def _forget_uploads() -> None:
    from myspinbot_worker.reports import Reports

    Reports.uploaded = property(lambda self: False, lambda self, value: None)  # type: ignore[assignment]


FARMED: dict[str, Farmed] = {
    "a lease is never renewed": Farmed(
        "reports.py",
        _never_renew,
        "tests/functional/test_crashes.py::test_the_lease_is_kept_while_a_task_holds_the_gil",
        "a node starts again only after its lease was lost",
    ),
    "a process that dies is charged to its neighbour as well": Farmed(
        "runner_pool.py",
        _charge_everybody,
        "tests/functional/test_runners.py::test_who_holds_the_device_answers_for_the_runner_they_share",
        "who shares a process with one that dies of its work starts again for free",
    ),
    "nobody notes that an attempt has uploaded": Farmed(
        "reports.py",
        _forget_uploads,
        "tests/functional/test_visits.py::test_attempts_leave_no_orphaned_objects",
        "attempts without a result leave no objects",
    ),
}


def plant_named() -> None:
    """Plant in this process what :data:`PLANTED` names."""
    if name := os.environ.get(PLANTED):
        FARMED[name].plant()


def failure(bug: Farmed, name: str = "") -> str:
    """How the test fails with a mistake planted (none without a name); empty if it does not."""
    site = Path(__file__).parent / "proof_site"
    path = os.pathsep.join([str(site), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", bug.test],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path, PLANTED: name},
        capture_output=True, text=True, timeout=_SECONDS,
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    assert done.returncode == _FAILED, done.stdout + done.stderr
    errors = re.findall(r"^E +(.*)$", done.stdout, re.MULTILINE)
    return errors[0][:200] if errors else "it fails"
