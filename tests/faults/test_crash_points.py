"""A process killed before and after every single Redis command it sends: nothing lost, nothing twice.

Each test plays its points in a process of its own (``python -m tests.faults.crash_points``), on a server of its
own; some run side by side. With ``CRASH_POINTS_FULL=1`` nothing is left out and double faults come in quantity.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .crash_points_bugs import BUGS
from .crash_points_visits import WORLDS

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("CRASH_POINTS_FULL") == "1"
AT_ONCE = 3
"""Each is idle for a third of its time, waiting for its server."""

Order = tuple[str, ...]
Result = subprocess.CompletedProcess[str]

SMALL = "taken"
"""A world of one node, which shows what others hide."""
EVERYTHING: Order = ("--every-aftermath",) if FULL else ()
KILLED: list[Order] = [
    ("--world", world, "--side", "before", "--side", "after", *EVERYTHING) for world in WORLDS
]
SAMPLE: Order = () if FULL else ("--every", "12", "--seed", "3")
NOT_KILLED: list[Order] = [
    ("--world", world, "--side", "lost", "--side", "asleep", *SAMPLE) for world in WORLDS if world != SMALL
]
TWICE: list[Order] = [("--doubles", "1000" if FULL else "25", "--seed", "1")]
COMMANDS = {
    "xreadgroup", "admit", "dramatiq fetch cpu", "blmove", "take", "advance", "renew", "emit", "snapshot", "conclude",
    "exists", "zrangebyscore", "xpending", "xgroup",
}  # fmt: skip
"""Among the crash points of every world."""
PLANTED: Order = ("--bugs",)


def _play(order: Order) -> Result:
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.crash_points", *order],
        cwd=ROOT, capture_output=True, text=True, timeout=3600 if FULL else 300,
    )  # fmt: skip


@pytest.fixture(scope="session")
def started(request: pytest.FixtureRequest) -> Iterator[dict[Order, Future[Result]]]:
    """What the selected tests ask for, all of it begun at once."""
    ours = [item for item in request.session.items if item.path == Path(__file__)]
    callspecs = [getattr(item, "callspec", None) for item in ours]
    orders = [spec.params["order"] for spec in callspecs if spec and "order" in spec.params]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # What is begun last should be short.
        orders.sort(key=[*KILLED, PLANTED, *NOT_KILLED, *TWICE].index)
        yield {order: pool.submit(_play, order) for order in orders}
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def report(order: Order, started: dict[Order, Future[Result]]) -> dict[str, Any]:
    """What came of an order; nothing may have gone wrong."""
    done = started[order].result()
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    counts = ", ".join(f"{report[what]} {what}" for what in ("points", "faults", "aftermaths", "seconds"))
    print(f"{counts}: {' '.join(order)}")
    assert not report["problems"], "\n\n".join(report["problems"][:5])
    return report


def _name(order: Order) -> str:
    return " ".join(part for part in order[:2] if not part.startswith("--"))


@pytest.mark.parametrize("order", KILLED, ids=_name)
def test_a_kill_at_any_command_harms_nothing(report: dict[str, Any], order: Order) -> None:
    """Before and after each command; the aftermath of two crashes that left the same is played once."""
    assert report["points"] == 2 * sum(report["commands"].values())
    assert set(report["commands"]) >= ({"expire"} if SMALL in order else COMMANDS)


@pytest.mark.parametrize("order", NOT_KILLED, ids=_name)
def test_a_lost_reply_or_a_long_sleep_harms_nothing(report: dict[str, Any]) -> None:
    """A process that lives on with a broken connection; one that wakes when others have done its work."""
    assert report["points"] == report["faults"] >= 18


@pytest.mark.parametrize("order", TWICE, ids=["sample"])
def test_a_second_fault_while_others_clean_up_harms_nothing(report: dict[str, Any]) -> None:
    """A seeded sample of pairs, over all worlds and kinds of fault."""
    assert report["faults"] > 1.5 * report["points"] >= 37


@pytest.mark.parametrize("order", [PLANTED], ids=["planted"])
def test_a_bug_would_be_noticed(report: dict[str, Any]) -> None:
    """Each planted bug is of a kind that no play without a fault shows."""
    assert set(report["noticed"]) == set(BUGS)
    missed = [name for name, where in report["noticed"].items() if not where]
    assert not missed, f"no crash shows that {missed}"
