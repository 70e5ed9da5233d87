"""Commands about what waits for an operator: dead list, dead show, dead retry, dead drop."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click

from ..repair.desk import DONE_WITHOUT
from ..repair.letters import Letter, Outcome
from ..repair.troubles import FINGERPRINT, LETTER_ID, NODE_ID, Group, Trouble, grouped
from .output import ago, clean, make_console, moment, print_json, print_table
from .setup import FAILED, UNKNOWN_JOB, Setup, common, fail

_MANY = 20
"""From so many on, a bar shows how far it is."""
_SHOWN = 20
_LONGEST = 2000
"""How much of a document `dead show` prints for people; as JSON it is whole."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def dead() -> None:
    """Look at refused entries and failed nodes; retry or drop them.

    An entry that cannot be understood becomes a dead letter; a job with a failure that nothing takes up fails,
    and its failed nodes are listed here as long as its snapshot is there. Errors that differ in numbers, names
    and paths only have the same fingerprint. Every command has --json and --redis-url.

    \b
    Example:
      myspinbot-worker dead list
      myspinbot-worker dead show 7603c9d3
      myspinbot-worker dead retry 7603c9d3
    """


def _names(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> Sequence[str]:
    for value in [values] if isinstance(values, str) else values:
        if not any(shape.fullmatch(value) for shape in (LETTER_ID, NODE_ID, FINGERPRINT)):
            raise click.BadParameter(
                f"{clean(value)!r} is neither an id (1700000000000-0, 1700000000000-0.2) nor a fingerprint "
                "(8 hex digits)"
            )
    return values


kind_option = click.option(
    "--kind", type=click.Choice(["entry", "node"]), help="Only refused entries, or only failed nodes."
)


@dead.command("list", short_help="List errors, with their number and an example.")
@click.option("--ungrouped", is_flag=True, help="One line a letter or node, not one an error.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most lines.")
@kind_option
@common
def list_(setup: Setup, ungrouped: bool, limit: int, kind: str | None) -> None:
    """List errors by fingerprint, the newest first, with their number and an example.

    \b
    Example:
      myspinbot-worker dead list --ungrouped --kind node
      myspinbot-worker dead list --json | jq '.groups[] | select(.count > 10)'
    """
    troubles = setup.desk.all(kind)
    groups = grouped(troubles)
    if setup.as_json:
        listed = {"troubles": [trouble_record(one) for one in troubles[:limit]]} if ungrouped else {}
        by_error = {} if ungrouped else {"groups": [group_record(one) for one in groups[:limit]]}
        print_json({"total": len(troubles), **by_error, **listed})
        return
    now = round(time.time() * 1000)
    console = make_console()
    if ungrouped:
        rows = [
            (
                one.id,
                one.fingerprint,
                one.code,
                ago(one.at_ms, now),
                one.job or "",
                one.node or "",
                one.message,
            )
            for one in troubles[:limit]
        ]
        print_table(console, ("id", "error", "code", "when", "job", "node", "message"), rows)
    else:
        grouped_rows = [
            (
                group.fingerprint,
                group.kind,
                group.code,
                str(group.count),
                ago(group.example.at_ms, now),
                group.example.id,
                group.example.message,
            )
            for group in groups[:limit]
        ]
        columns = ("error", "kind", "code", "count", "newest", "example", "message")
        print_table(console, columns, grouped_rows)
    left = (len(troubles) if ungrouped else len(groups)) - limit
    if left > 0:
        click.echo(f"… and {left} more (--limit)", err=True)


@dead.command("show", short_help="Show a letter, a failed node, or all cases of an error.")
@click.argument("name", metavar="ID|FINGERPRINT", callback=_names)
@common
def show(setup: Setup, name: str) -> None:
    """Show a dead letter with its fields, a failed node with its error and params, or all cases of an error.

    \b
    Example:
      myspinbot-worker dead show 1700000000000-0
      myspinbot-worker dead show 1700000000000-0 --json | jq -r .fields.graph > graph.json
    """
    found, missing = setup.desk.named([name])
    if missing:
        fail(_absent(missing[0]), UNKNOWN_JOB)
    if FINGERPRINT.fullmatch(name):
        (group,) = grouped(found)
        if setup.as_json:
            print_json({**group_record(group), "ids": [one.id for one in found]})
            return
        _print_facts(_group_facts(group))
        click.echo(f"ids\t{' '.join(one.id for one in found[:_SHOWN])}{' …' if len(found) > _SHOWN else ''}")
        click.echo()
        found = [group.example]
    record = _whole_record(setup, found[0])
    if setup.as_json:
        print_json(record)
    else:
        _print_facts(record)


@dead.command("retry", short_help="Send entries again, and jobs on from where they failed.")
@click.argument("names", metavar="[ID|FINGERPRINT]...", nargs=-1, callback=_names)
@click.option(
    "--all", "everything", is_flag=True, help="All there is, but for duplicates: their work was done."
)
@kind_option
@click.option(
    "--graph", type=click.File("rb"), help="A corrected graph (a file, - for standard input) for one letter."
)
@click.option(
    "--force", is_flag=True, help="Send also entries that the farm would refuse again as it is now."
)
@common
def retry(
    setup: Setup,
    names: tuple[str, ...],
    everything: bool,
    kind: str | None,
    graph: IO[bytes] | None,
    force: bool,
) -> None:
    """Send refused entries again, and jobs of failed nodes on from where they failed.

    An entry goes back onto the data stream with its own fields; it gets a new "created" only where the farm would
    take it for one it knows. A failed node's job is sent on as `retry` does, with all its failed nodes. What was
    retried or dropped before is left alone, and that is said. Exits with 1 if something was refused, with 3 if
    there is nothing of that name.

    \b
    Example:
      myspinbot-worker dead retry 7603c9d3
      myspinbot-worker dead retry 1700000000000-0 --graph corrected.json
      myspinbot-worker dead retry --all --kind node
    """
    troubles, missing = _chosen(setup, names, everything, kind)
    if everything:
        troubles = [one for one in troubles if one.code not in DONE_WITHOUT]
    corrected = None
    if graph is not None:
        if len(troubles) + len(missing) != 1 or any(one.kind != "entry" for one in troubles):
            raise click.UsageError("--graph goes with the id of one dead letter")
        corrected = graph.read()
    outcomes = setup.desk.retry(troubles, graph=corrected, force=force)
    _report(setup, "retried", missing + _with_bar(setup, "retrying", outcomes, len(troubles)))


@dead.command("drop", short_help="Delete letters, and take failed nodes off the list.")
@click.argument("names", metavar="[ID|FINGERPRINT]...", nargs=-1, callback=_names)
@click.option("--all", "everything", is_flag=True, help="All there is.")
@kind_option
@click.option("--yes", is_flag=True, help="Do not ask before dropping with --all.")
@common
def drop(setup: Setup, names: tuple[str, ...], everything: bool, kind: str | None, yes: bool) -> None:
    """Delete dead letters, and take failed nodes off the list. Jobs and their snapshots stay as they are.

    What was retried or dropped before is left alone, and that is said. Exits with 3 if there is nothing of that
    name.

    \b
    Example:
      myspinbot-worker dead drop 7603c9d3 1700000000000-0
      myspinbot-worker dead drop --all --kind entry --yes
    """
    troubles, missing = _chosen(setup, names, everything, kind)
    if everything and troubles and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("--all without a terminal needs --yes")
        click.confirm(f"Drop all {len(troubles)}?", abort=True, err=True)
    outcomes = setup.desk.letters.drop([one.id for one in troubles])
    _report(setup, "dropped", missing + _with_bar(setup, "dropping", outcomes, len(troubles)))


def _chosen(
    setup: Setup, names: Sequence[str], everything: bool, kind: str | None
) -> tuple[list[Trouble], list[Outcome]]:
    if everything == bool(names):
        raise click.UsageError("name ids or fingerprints, or say --all")
    if everything:
        return setup.desk.all(kind), []
    troubles, missing = setup.desk.named(names)
    return [one for one in troubles if kind in (None, one.kind)], missing


def _with_bar(setup: Setup, doing: str, outcomes: Iterable[Outcome], count: int) -> list[Outcome]:
    if count < _MANY or setup.as_json or not sys.stderr.isatty():
        return list(outcomes)
    with click.progressbar(outcomes, length=count, label=doing, file=sys.stderr) as going:
        return list(going)


def _report(setup: Setup, done: str, outcomes: list[Outcome]) -> None:
    """Say what became of everything, and exit as it went."""
    counts = Counter(one.what for one in outcomes)
    if setup.as_json:
        print_json({"counts": dict(counts), "outcomes": [_outcome_record(one) for one in outcomes]})
    else:
        _report_in_words(done, outcomes, counts)
    if counts["refused"]:
        raise click.exceptions.Exit(FAILED)
    if counts["unknown"] == len(outcomes) > 0:
        raise click.exceptions.Exit(UNKNOWN_JOB)


def _report_in_words(done: str, outcomes: list[Outcome], counts: Counter[str]) -> None:
    good = [one for one in outcomes if one.what in ("sent", "dropped")]
    for one in good[:_SHOWN]:
        job = f" of job {clean(one.job)}" if one.job else ""
        click.echo(f"{one.id}{job} {done}{f' as entry {one.entry}' if one.entry else ''}{_because(one.why)}")
    if len(good) > _SHOWN:
        click.echo(f"… and {len(good) - _SHOWN} more")
    bad = [one for one in outcomes if one not in good]
    for one in bad[:_SHOWN]:
        click.echo(
            _absent(one) if one.what != "refused" else f"{one.id} refused{_because(one.why)}", err=True
        )
    if len(bad) > _SHOWN:
        click.echo(f"… and {len(bad) - _SHOWN} more", err=True)
    told = [f"{done}: {len(good)}"]
    told += [f"{what}: {counts[name]}" for name, what in _OTHERS if counts[name]]
    click.echo(", ".join(told))


_OTHERS = (
    ("already", "retried or dropped before, nothing done"),
    ("refused", "refused"),
    ("unknown", "unknown"),
)


def _because(why: str) -> str:
    return f" ({clean(why)})" if why else ""


def _absent(outcome: Outcome) -> str:
    if outcome.what == "already":
        return f"{outcome.id} was retried or dropped before"
    return f"there is no dead letter, failed node or error {outcome.id}"


# For programs, and for people in the same order.


def trouble_record(trouble: Trouble) -> dict[str, Any]:
    return {
        "id": trouble.id,
        "kind": trouble.kind,
        "fingerprint": trouble.fingerprint,
        "code": trouble.code,
        "message": trouble.message,
        "at": moment(trouble.at_ms),
        "jobId": trouble.job,
        "entry": trouble.entry,
        "node": trouble.node,
        "service": trouble.service,
        "retryable": trouble.retryable,
    }


def group_record(group: Group) -> dict[str, Any]:
    return {
        "fingerprint": group.fingerprint,
        "kind": group.kind,
        "code": group.code,
        "message": group.message,
        "count": group.count,
        "oldestAt": moment(group.oldest_ms),
        "newestAt": moment(group.example.at_ms),
        "example": trouble_record(group.example),
    }


def _group_facts(group: Group) -> dict[str, Any]:
    record = group_record(group)
    del record["example"]
    return record


def _outcome_record(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.id,
        "outcome": outcome.what,
        "jobId": outcome.job,
        "entry": outcome.entry,
        "why": outcome.why,
    }


def _whole_record(setup: Setup, trouble: Trouble) -> dict[str, Any]:
    """Everything there is on one letter or node."""
    record = trouble_record(trouble)
    if trouble.kind == "entry":
        letter = setup.desk.letters.letter(trouble.id)
        return {**record, "fields": _fields(letter)}
    node = setup.desk.failures.node(trouble)
    raw = node.raw if node else {}
    return {**record, **{name: raw.get(name) for name in ("error", "params", "input", "retries")}}


def _fields(letter: Letter | None) -> dict[str, str]:
    found = letter.fields if letter else {}
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()}


def _print_facts(record: dict[str, Any]) -> None:
    for name, value in record.items():
        if isinstance(value, dict):
            _print_facts({f"{name}.{key}": inner for key, inner in value.items()})
        elif value is not None:
            text = str(value)
            more = f" … ({len(text)} characters)" if len(text) > _LONGEST else ""
            click.echo(f"{clean(name)}\t{clean(text[:_LONGEST])}{more}")
