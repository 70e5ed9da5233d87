"""The command that says why a job is where it is: explain."""

from __future__ import annotations

import textwrap

import click

from ..repair.explain import explain as explained
from ..repair.surroundings import look_around
from .jobs import job_argument
from .output import clean, make_console, print_json
from .redis_checks import alive, consumers, heartbeats
from .setup import UNKNOWN_JOB, Setup, common, fail


@click.command()
@job_argument
@common
def explain(setup: Setup, job: str) -> None:
    """Say in a paragraph why JOB is where it is: what it waits for, who holds it, since when, what happens next.

    Changes nothing. Exits with 3 if nothing is known of the job.

    \b
    Example:
      myspinbot-worker explain 7f0c1a52
    """
    found = setup.inspector.job(job)
    if found.phase == "unknown":
        fail(f"nothing is known of job {clean(job)}", UNKNOWN_JOB)
    ingestors, workers = _living(setup)
    around = look_around(
        setup.client,
        setup.inspector,
        found,
        ingestors=ingestors,
        workers=workers,
        most_open=setup.settings.farm.max_open_runs,
    )
    text = clean(explained(found, around))
    if setup.as_json:
        print_json({"jobId": job, "phase": found.phase, "entry": found.entry, "text": text})
        return
    console = make_console()
    click.echo(textwrap.fill(text, console.width) if console.is_terminal else text)


def _living(setup: Setup) -> tuple[int, int]:
    """How many ingestors and how many workers gave a sign of life lately."""
    inspector = setup.inspector
    ingestors = len(alive(consumers(setup.client, inspector.streams)))
    since = setup.store.now_ms() - setup.settings.farm.heartbeat_seconds * 1000
    beats = sum(beat >= since for beat in heartbeats(setup.client, inspector.keys))
    # Ingestors send messages, and so have a heartbeat too.
    return ingestors, max(0, beats - ingestors)
