"""How commands print: rich tables on a terminal, tab-separated lines into a pipe, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOURS = {
    "completed": "green",
    "completed_with_skips": "green",
    "hand_back": "green",
    "running": "cyan",
    "ready": "blue",
    "waiting": "dim",
    "skipped": "dim",
    "failed": "red",
    "rejected": "red",
    "cancelled": "yellow",
}
"""Colours of states and verdicts."""


def make_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: nothing in it is markup."""
    return Console(markup=False, highlight=False, emoji=False, stderr=stderr)


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(json.dumps(value, indent=2))


def print_line(value: Any) -> None:
    """One JSON document on one line, at once."""
    click.echo(json.dumps(value))


def print_table(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = ""
) -> None:
    """A table. Cells are cleaned; those that name a state are coloured."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if not console.is_terminal:
        for row in [list(columns), *cleaned]:
            click.echo("\t".join(row))
        return
    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in cleaned:
        table.add_row(*(Text(cell, style=COLOURS.get(cell.split(" ")[0], "")) for cell in row))
    console.print(table)


def clean(text: str) -> str:
    """``text`` on one line and without control characters: ids and messages come from outside."""
    return "".join(character if character.isprintable() else " " for character in text)


def moment(milliseconds: int | None) -> str | None:
    """A time since the epoch as ISO 8601, for programs."""
    if milliseconds is None:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None


def ago(milliseconds: int | None, now_ms: int) -> str:
    """A time since the epoch as people say it."""
    if milliseconds is None:
        return ""
    return f"{duration((now_ms - milliseconds) / 1000)} ago"


def duration(seconds: float) -> str:
    """A length of time in its largest unit."""
    seconds = max(0, round(seconds))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def percent(fraction: float | None) -> str:
    """A fraction in whole percent; only what is wholly done is 100 %."""
    return "" if fraction is None else f"{int(fraction * 100 + 1e-9)} %"
