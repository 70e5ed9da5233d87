"""Plants every seeded bug, one after the other, and shows what noticed it.

``python -m tests.faults.proof`` plants them all; ``--quick`` those that no test on every change plants otherwise.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import redis
from rich.console import Console
from rich.table import Table

from myspinbot_worker.embedded import EmbeddedRedis

from .bugs import BREAKS, Bug
from .crash_points import player
from .crash_points_bugs import BUGS
from .crash_points_visits import WORLDS
from .explore import Search, explore
from .proof_farm import FARMED, failure
from .proof_walk import WALKED, WALKS_OF_A_CONTROL, notice
from .shapes import shapes
from .worlds import EXPLORED, SEARCHED

_LONGEST = 100
"""Of what is violated, so many characters are shown."""
QUICK = 1
"""How many of the mistakes that other tests plant, too, a quick proof plants."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one mistake.

    Attributes:
        where: Model, or the file.
        violated: What is said to be violated; empty if nothing noticed the mistake.
    """

    bug: str
    where: str
    caught_by: str
    violated: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Control:
    """What a machine saw with nothing planted; ``wrong`` is what it should not have seen."""

    machine: str
    saw: str
    wrong: str
    seconds: float


Line = Row | Control


def explored(*, quick: bool) -> Iterator[Line]:
    """Mistakes in the model's world."""
    began, states, wrong = time.monotonic(), 0, ""
    for world in EXPLORED[:1] if quick else EXPLORED:
        seen, violated = explore(shapes(world.nodes), world.scope)
        states += seen
        wrong = wrong or str(violated or "")
    yield Control("explored states", f"{states:,} distinct states", wrong, time.monotonic() - began)
    for bug in list(Bug)[:QUICK] if quick else Bug:
        began, states, statement = time.monotonic(), 0, ""
        for shape, scope in SEARCHED:
            result = Search(shape, scope, bug).run()
            states += result.states
            if result.violation is not None:
                statement = result.violation.statement if result.violation.statement is BREAKS[bug] else ""
                break
        yield Row(bug.value, "model", f"explored states ({states:,})", statement, time.monotonic() - began)


def crashed(*, quick: bool) -> Iterator[Line]:
    """Mistakes that only a crash at the right moment shows."""
    with player() as stage:
        began = time.monotonic()
        for world in list(WORLDS)[:QUICK] if quick else WORLDS:
            stage.clean(world)
        plays = len(WORLDS) if not quick else QUICK
        wrong = "; ".join(stage.report.problems)
        yield Control("crash points", f"{plays} worlds without a crash", wrong, time.monotonic() - began)
        for name in list(BUGS)[:QUICK] if quick else BUGS:
            began, before = time.monotonic(), stage.report.points
            stage.plant(name)
            # "<side> <command> (<number>): <kind>: <what>"
            point, _, violated = stage.report.noticed[name].partition("): ")
            caught = f"crash points ({stage.report.points - before}: {point}))" if point else ""
            yield Row(name, BUGS[name].where, caught, violated, time.monotonic() - began)


def walked(*, quick: bool) -> Iterator[Line]:
    """Mistakes in the scripts that a walk beside the model comes upon."""
    with (
        tempfile.TemporaryDirectory(prefix="proof-") as folder,
        EmbeddedRedis(Path(folder)) as server,
        redis.Redis.from_url(server.url, decode_responses=True) as client,
    ):
        began = time.monotonic()
        wrong = notice(client, WALKS_OF_A_CONTROL)
        yield Control("model walk", f"{WALKS_OF_A_CONTROL} walks", wrong, time.monotonic() - began)
        for name, bug in WALKED.items():
            if quick and bug.rare:
                continue
            began = time.monotonic()
            with bug.plant():
                differs = notice(client)
            expected = any(differs.startswith(f"{what}:") for what in bug.notices)
            caught = "model walk on a real server"
            yield Row(name, bug.where, caught, differs if expected else "", time.monotonic() - began)


def farmed(*, quick: bool) -> Iterator[Line]:
    """Mistakes in the processes of a real farm."""
    for name, bug in FARMED.items():
        if quick:
            return
        began = time.monotonic()
        test = bug.test.rpartition("::")[2]
        yield Control(test, "passed", failure(bug), time.monotonic() - began)
        began = time.monotonic()
        violated = bug.statement if failure(bug, name) else ""
        yield Row(name, bug.where, f"real farm ({test})", violated, time.monotonic() - began)


MACHINES: tuple[Callable[..., Iterator[Line]], ...] = (explored, crashed, walked, farmed)


def table_of(rows: list[Row]) -> Table:
    table = Table(title="Seeded bugs", title_justify="left")
    for column in ("bug", "planted in", "caught by", "violated"):
        table.add_column(column, overflow="fold")
    table.add_column("seconds", justify="right")
    for row in rows:
        violated = row.violated[:_LONGEST] or "[bold red]nothing: not caught"
        table.add_row(
            row.bug, row.where, row.caught_by if row.violated else "", violated, f"{row.seconds:.1f}"
        )
    return table


def markdown_of(rows: list[Row]) -> str:
    """The table as docs/reliability.md has it."""
    lines = ["| bug | planted in | caught by | violated | s |", "| --- | --- | --- | --- | ---: |"]
    for row in rows:
        told = row.violated[:_LONGEST].replace("`", "'").replace("|", "/")
        bug = row.bug.replace("`", "'")
        lines.append(f"| {bug} | `{row.where}` | {row.caught_by} | `{told}` | {row.seconds:.1f} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option(
    "--markdown",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table in Markdown, too.",
)
@click.option("--quick", is_flag=True, help="Only what no other test plants, and what is found soon.")
def main(quick: bool, markdown: Path | None) -> None:
    """Plant every seeded bug and see that it is noticed; exits with 1 if one is not."""
    logging.getLogger().addHandler(logging.NullHandler())
    progress = Console(stderr=True, soft_wrap=True)
    lines: list[Line] = []
    for machine in MACHINES:
        for line in machine(quick=quick):
            lines.append(line)
            said = line.bug if isinstance(line, Row) else f"{line.machine}, nothing planted"
            progress.print(f"{line.seconds:6.1f} s  {said}", highlight=False, markup=False)
    rows = [line for line in lines if isinstance(line, Row)]
    controls = [line for line in lines if isinstance(line, Control)]
    console = Console() if sys.stdout.isatty() else Console(width=170)
    console.print(table_of(rows))
    for control in controls:
        found = f"something wrong: {control.wrong[:300]}" if control.wrong else "nothing wrong"
        console.print(
            f"nothing planted: {control.machine}: {control.saw}, {found} ({control.seconds:.1f} s)",
            markup=False, highlight=False,
        )  # fmt: skip
    if markdown is not None:
        markdown.write_text(markdown_of(rows), encoding="utf-8")
    missed = [row.bug for row in rows if not row.violated]
    real = sum(row.where != "model" for row in rows)
    console.print(
        f"{len(rows)} bugs planted, {real} of them in code and scripts: {len(rows) - len(missed)} caught"
    )
    sys.exit(1 if missed or any(control.wrong for control in controls) else 0)


if __name__ == "__main__":
    main(prog_name="python -m tests.faults.proof")
