"""The command that sees whether everything that came in is accounted for: audit."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.text import Text

from ..repair.audit import Facts, Mismatch, books_compared, mismatches
from ..repair.audit_facts import read_facts
from .output import clean, make_console, print_json
from .setup import FAILED, Setup, common

_GRACE_FACTOR = 3


@click.command()
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long what passes by itself may take. [default: three rounds of reconciliation]",
)
@click.option(
    "--pause",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="What does not match is looked at again after this long, and counts if it is still so.",
)
@click.option(
    "--anew",
    is_flag=True,
    help="Open the books again as things are: what was lost before is no longer counted.",
)
@common
def audit(setup: Setup, grace: float | None, pause: float, anew: bool) -> None:
    """See whether every entry that came in was ended by one terminal act, or is on its way to it.

    Compares the entries of the data stream with the farm's counts of what it admitted, concluded and refused,
    and open runs with their entries, leases and messages. Names whatever does not match, what the farm will do
    about it and what there is to do. Changes nothing but with --anew. Exits with 0 if all matches, with 1 if not.

    \b
    Example:
      myspinbot-worker audit
      myspinbot-worker audit --json | jq '.mismatches[] | {what, jobId, entry}'
    """
    if anew:
        setup.store.open_books(anew=True)
    farm = setup.settings.farm
    seconds = (
        grace if grace is not None else _GRACE_FACTOR * (farm.reclaim_idle_seconds + farm.reconcile_seconds)
    )
    grace_ms = round(seconds * 1000)
    facts = read_facts(setup.client, setup.store, grace_ms, farm.max_open_runs)
    found = mismatches(facts)
    if found:
        time.sleep(pause)
        facts = read_facts(setup.client, setup.store, grace_ms, farm.max_open_runs)
        before = {one.identity for one in found}
        found = [one for one in mismatches(facts) if one.identity in before]
    if setup.as_json:
        print_json(
            {"matches": not found, "books": _books(facts), "mismatches": [_record(one) for one in found]}
        )
    else:
        _print(facts, found)
    if found:
        raise click.exceptions.Exit(FAILED)


def _print(facts: Facts, found: list[Mismatch]) -> None:
    console, books = make_console(), facts.balance
    if books_compared(books):
        click.echo(
            f"{(books.added or 0) - (books.before or 0)} entries came in: {books.unread} not read yet, "
            f"{books.pending} open, {books.concluded} concluded, {books.rejected} refused"
        )
    elif books.added is None:
        click.echo("this Redis does not count what comes in (7.0 and later do): the books are not compared")
    else:
        click.echo("no ingestor has opened the books yet: they are not compared")
    for one in found:
        where = " ".join(
            [f"job {one.job}"] * (one.job is not None) + [f"entry {one.entry}"] * (one.entry is not None)
        )
        console.print(
            Text.assemble((one.what, "red"), " ", clean(f"{where} {one.text}".strip())), soft_wrap=True
        )
        console.print(Text(f"    {clean(one.advice)}"), soft_wrap=True)
    click.echo(
        "all matches" if not found else f"{len(found)} do not match" if len(found) > 1 else "1 does not match"
    )


def _books(facts: Facts) -> dict[str, Any]:
    books = facts.balance
    return {
        "compared": books_compared(books),
        "added": books.added,
        "before": books.before,
        "unread": books.unread,
        "pending": books.pending,
        "open": books.open,
        "admitted": books.admitted,
        "concluded": books.concluded,
        "rejected": books.rejected,
    }


def _record(one: Mismatch) -> dict[str, Any]:
    return {
        "what": one.what,
        "jobId": one.job,
        "entry": one.entry,
        "node": one.node,
        "text": one.text,
        "advice": one.advice,
    }
