"""The command that sends a failed job on: retry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from ..graph.resume import CannotResume, ParamsEdit, json_text
from .jobs import job_argument
from .output import clean, print_json
from .setup import Setup, common


@click.command()
@job_argument
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NODE.KEY=VALUE",
    help="Change one of a node's params. VALUE is JSON; what is no JSON is text. May be repeated.",
)
@click.option(
    "--params",
    "replacements",
    multiple=True,
    nargs=2,
    metavar="NODE JSON|@FILE",
    help="Replace all of a node's params. May be repeated.",
)
@common
def retry(
    setup: Setup, job: str, assignments: tuple[str, ...], replacements: tuple[tuple[str, str], ...]
) -> None:
    """Send JOB, which failed or was cancelled, on from where it stopped.

    Its failed nodes, and those that were skipped because of them, run again with fresh attempts; what is
    completed is kept. The graph is the job's snapshot, changed nowhere else. Progress is counted anew from what
    is kept. Of two retries at once one is done.

    Exits with 1 if the job is open or nothing of it failed, with 3 if there is no such job.

    \b
    Example:
      myspinbot-worker retry 7f0c1a52
      myspinbot-worker retry 7f0c1a52 --set tts.refText="Good morning" --set upscale.factor=2
      myspinbot-worker retry 7f0c1a52 --params tts @params.json && myspinbot-worker watch 7f0c1a52
    """
    edits = dict(_replaced(replacements))
    if assignments:
        nodes = [node.id for node in setup.inspector.job(job).nodes]
        edits = _with_assignments(edits, assignments, nodes)
    done = setup.job_retry.retry(job, edits)
    if setup.as_json:
        print_json(
            {
                "jobId": job,
                "entry": done.entry,
                "again": done.resumed.again,
                "revived": done.resumed.revived,
                "kept": done.resumed.kept,
            }
        )
        return
    revived = f", skipped ones revived: {len(done.resumed.revived)}" if done.resumed.revived else ""
    click.echo(
        f"job {clean(job)} goes on as entry {done.entry}: again {clean(', '.join(done.resumed.again[:10]))}"
        f"{' …' if len(done.resumed.again) > 10 else ''}{revived}, finished ones kept: {done.resumed.kept}"
    )


def _replaced(replacements: Iterable[tuple[str, str]]) -> Iterable[tuple[str, ParamsEdit]]:
    for node, text in replacements:
        try:
            if text.startswith("@"):
                text = Path(text[1:]).read_text(encoding="utf-8")
            json_text(text, f"params of node {node!r}")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise click.BadParameter(f"{clean(text[1:])}: {reason}", param_hint="--params") from None
        except CannotResume as error:
            raise click.BadParameter(clean(str(error)), param_hint="--params") from None
        yield node, ParamsEdit(text)


def _with_assignments(
    edits: dict[str, ParamsEdit], assignments: Iterable[str], nodes: Sequence[str]
) -> dict[str, ParamsEdit]:
    for assignment in assignments:
        node, key, value = split_assignment(assignment, nodes)
        edit = edits.get(node, ParamsEdit())
        edits[node] = ParamsEdit(edit.whole, {**edit.members, key: value})
    return edits


def split_assignment(assignment: str, nodes: Sequence[str]) -> tuple[str, str, str]:
    """``NODE.KEY=VALUE`` as node, key and the value's JSON text.

    Args:
        nodes: The job's node ids: an id may hold dots, and then the longest that fits is meant.

    Raises:
        click.BadParameter: It is no assignment.
    """
    target, equals, value = assignment.partition("=")
    node = max((name for name in nodes if target.startswith(f"{name}.")), key=len, default=None)
    if node is None:
        node = target.partition(".")[0]
    key = target[len(node) + 1 :]
    if not equals or not node or not key:
        raise click.BadParameter(f"{clean(assignment)!r} is not NODE.KEY=VALUE", param_hint="--set")
    try:
        return node, key, json_text(value, "value")
    except CannotResume:
        return node, key, json.dumps(value)
