"""The proof that bugs are noticed, in short; all of it: ``python -m tests.faults.proof``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from . import proof
from .proof import Control, Line, Row

ROOT = Path(__file__).parents[2]


def test_every_planted_bug_is_caught() -> None:
    # In a process of its own: crash points take over the time that others need.
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.proof", "--quick"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def _exit_code(*lines: Line) -> int:
    machines, proof.MACHINES = proof.MACHINES, (lambda quick: iter(lines),)
    try:
        return CliRunner().invoke(proof.main, []).exit_code
    finally:
        proof.MACHINES = machines


CAUGHT = Row("a bug", "claim.lua", "model walk", "claim: ok, not leased", 0.1)
MISSED = Row("another", "claim.lua", "model walk", "", 0.1)


def test_a_bug_that_nothing_notices_is_told() -> None:
    assert _exit_code(CAUGHT) == 0
    assert _exit_code(CAUGHT, MISSED) == 1


def test_so_is_what_is_noticed_with_nothing_planted() -> None:
    assert _exit_code(CAUGHT, Control("model walk", "100 walks", "", 0.1)) == 0
    assert _exit_code(CAUGHT, Control("model walk", "100 walks", "claim: ok, not leased", 0.1)) == 1
