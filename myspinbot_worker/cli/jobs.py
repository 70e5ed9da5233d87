"""Commands about jobs: submit, watch, jobs, show, cancel."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from typing import IO

import click

from ..admission import Admission, read_entry
from ..errors import RejectedEntry
from ..job_state import Concluded, JobState
from .following import Follower, TookTooLong, UnknownJob
from .graph_text import job_id_of, with_job_id
from .output import ago, clean, make_console, moment, percent, print_json, print_line, print_table
from .records import concluded_record, job_record, run_record
from .setup import FAILED, TIMED_OUT, UNKNOWN_JOB, Setup, common, fail
from .views import JobView, JsonView, PlainView, ending_text, error_text


def _is_job_id(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("not valid UTF-8") from None
    if not value:
        raise click.BadParameter("a job id is not empty")
    return value


job_argument = click.argument("job", callback=_is_job_id)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Give up watching after this long (exit code 4); the job goes on.",
)


@click.command()
@click.argument("graph", type=click.File("rb"))
@click.option("--job-id", metavar="ID", help="Replaces the graph's workflowId.")
@click.option("--watch", "watching", is_flag=True, help="Then do as `watch` does.")
@timeout_option
@common
def submit(setup: Setup, graph: IO[bytes], job_id: str | None, watching: bool, timeout: float | None) -> None:
    """Send GRAPH, a langgraph.v1 document in a file (- for standard input), to the farm.

    It is checked first, as the farm would check it; a graph that the farm would refuse is not sent. The text
    is sent as it is. Prints the job id.

    \b
    Example:
      myspinbot-worker submit graph.json --job-id "$(uuidgen)" --watch
    """
    fields = _fields(graph.read(), job_id)
    admission = _admitted(setup, fields)
    job = admission.job
    if timeout is not None and not watching:
        raise click.UsageError("--timeout goes with --watch")
    if not watching:
        entry = _send(setup, admission, fields)
        if setup.as_json:
            print_json({"jobId": job, "entry": entry, "nodes": len(admission.plan.nodes)})
        else:
            click.echo(job)
        return
    with Follower(setup.inspector, setup.messages, job) as follower:
        follower.entry = _send(setup, admission, fields)
        if setup.as_json:
            print_line({"event": "submitted", "jobId": job, "entry": follower.entry})
        else:
            click.echo(job)
        _follow(setup, follower, timeout)


def _fields(data: bytes, job_id: str | None) -> dict[bytes, bytes]:
    """The stream entry of a graph. What cannot be read is left to admission, which says what is wrong."""
    text = data.decode(errors="replace")
    if job_id is not None:
        with suppress(UnicodeError):
            data = with_job_id(data.decode(), job_id).encode()
    # A stand-in where the graph has none: the message is then about the graph.
    job = job_id if job_id is not None else job_id_of(text) or "unnamed"
    created = str(time.time_ns() // 1_000_000)
    return {
        b"jobId": job.encode(errors="replace"),
        b"created": created.encode(),
        b"graph": data,
    }


def _admitted(setup: Setup, fields: dict[bytes, bytes]) -> Admission:
    limits = setup.settings.farm
    try:
        return read_entry("0-0", fields, max_bytes=limits.max_entry_bytes, max_nodes=limits.max_nodes)
    except RejectedEntry as error:
        fail(f"the graph was not sent: {clean(error.message)}", FAILED)


def _send(setup: Setup, admission: Admission, fields: dict[bytes, bytes]) -> str:
    inspector = setup.inspector
    digest = setup.client.hget(inspector.keys.run(admission.job), "digest")
    if digest is not None:
        same = digest == admission.fingerprint[0].encode()
        consequence = "this repeats its graph and will be rejected" if same else "this visit follows it"
        click.echo(f"Warning: job {clean(admission.job)} has an open run: {consequence}", err=True)
    entry = setup.client.xadd(inspector.streams.data, dict(fields.items()))
    return entry.decode() if isinstance(entry, bytes) else str(entry)


@click.command()
@job_argument
@timeout_option
@common
def watch(setup: Setup, job: str, timeout: float | None) -> None:
    """Follow JOB until its visit to the farm ends.

    Exits with 0 if the job was completed or handed back to the control plane, with 1 if it failed, with 3 if
    there is no such job. With --json: one object a line, each with an "event": progress, status, data, node,
    redis, ended.

    \b
    Example:
      myspinbot-worker watch 7f0c1a52 --timeout 600
    """
    with Follower(setup.inspector, setup.messages, job) as follower:
        _follow(setup, follower, timeout)


def _follow(setup: Setup, follower: Follower, timeout: float | None) -> None:
    """Follow one visit to its end, and exit as it ended."""
    console = make_console()
    view: JsonView | JobView | PlainView
    if setup.as_json:
        view = JsonView(follower.job)
    elif console.is_terminal:
        view = JobView(console)
    else:
        view = PlainView()
    try:
        with view if isinstance(view, JobView) else nullcontext():
            visit = follower.follow(view, timeout)
    except UnknownJob:
        fail(f"nothing is known of job {clean(follower.job)}", UNKNOWN_JOB)
    except TookTooLong:
        fail(f"job {clean(follower.job)} goes on after {timeout:g} s of watching", TIMED_OUT)
    if isinstance(view, JobView):
        click.echo(ending_text(visit))
    if not visit.successful:
        raise click.exceptions.Exit(FAILED)


@click.command()
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most runs of each kind."
)
@common
def jobs(setup: Setup, limit: int) -> None:
    """List open runs, and the visits that ended last.

    \b
    Example:
      myspinbot-worker jobs --json | jq '.open[].jobId'
    """
    runs, total = setup.inspector.open_runs(limit)
    ended = setup.inspector.concluded(limit)
    if setup.as_json:
        print_json(
            {
                "openTotal": total,
                "open": [run_record(run) for run in runs],
                "concluded": [concluded_record(visit) for visit in ended],
            }
        )
        return
    console, now = make_console(), round(time.time() * 1000)
    print_table(
        console,
        ("job", "admitted", "nodes", "running", "ready", "progress", "remark"),
        [
            (
                run.job,
                ago(run.admitted_ms, now),
                f"{run.done}/{run.nodes}",
                str(run.running),
                str(run.ready),
                percent(run.progress),
                "cancelled" if run.cancelled else "failing" if run.failing else "",
            )
            for run in runs
        ],
        f"Open runs: {total}" + (f", the newest {len(runs)}" if len(runs) < total else ""),
    )
    click.echo()
    print_table(
        console,
        ("job", "verdict", "ended", "nodes", "reason"),
        [(v.job, v.verdict, ago(v.ended_ms, now), str(v.nodes), v.reason) for v in ended],
        "Ended last",
    )


@click.command()
@job_argument
@common
def show(setup: Setup, job: str) -> None:
    """Show JOB, node by node: state, attempts, worker, error.

    \b
    Example:
      myspinbot-worker show 7f0c1a52
    """
    found = setup.inspector.job(job)
    if found.phase == "unknown":
        fail(f"nothing is known of job {clean(job)}", UNKNOWN_JOB)
    if setup.as_json:
        print_json(job_record(found))
        return
    now = round(time.time() * 1000)
    for name, value in _facts(found, now):
        click.echo(f"{name}\t{clean(value)}")
    click.echo()
    print_table(
        make_console(),
        ("node", "service", "plane", "state", "done", "attempts", "worker", "started", "error"),
        [
            (
                node.id,
                node.service,
                "python" if node.ours else "node",
                node.state,
                percent(node.fraction),
                str(node.attempts),
                node.worker or "",
                ago(node.started_ms, now),
                error_text(node),
            )
            for node in found.nodes
        ],
    )


def _facts(found: JobState, now_ms: int) -> list[tuple[str, str]]:
    facts = [("job", found.job), ("phase", _phase_text(found, found.last, now_ms))]
    if found.run is not None:
        facts.append(("admitted", f"{moment(found.run.admitted_ms)} ({ago(found.run.admitted_ms, now_ms)})"))
    if found.progress is not None:
        facts.append(("progress", percent(found.progress)))
    if found.status is not None:
        facts.append(("status kept by the control plane", found.status))
    return facts


def _phase_text(found: JobState, last: Concluded | None, now_ms: int) -> str:
    if last is not None:
        return f"ended {ago(last.ended_ms, now_ms)}: {ending_text(last)}"
    if found.run is not None and found.run.cancelled:
        return "open, cancelled"
    return {
        "open": "open",
        "waiting": "waiting: not taken up by the farm yet",
        "elsewhere": "not in the farm now",
    }.get(found.phase, found.phase)


@click.command()
@job_argument
@common
def cancel(setup: Setup, job: str) -> None:
    """Cancel JOB: nothing new starts; a running task is told, then interrupted, then its process is killed.

    The times between are farm.notice_seconds and farm.interrupt_seconds. A job that waits in the data stream, or is
    with the control plane, is cancelled at its next visit. Exits with 3 if nothing is known of the job.

    Any program can do the same: ZADD farm:cancel 0 JOB

    \b
    Example:
      myspinbot-worker cancel 7f0c1a52 && myspinbot-worker watch 7f0c1a52
    """
    running = setup.store.cancel(job)
    if running is None:
        found = setup.inspector.job(job)
        goes_on = found.last is not None and found.last.verdict == "hand_back"
        if found.phase == "unknown" or (found.phase == "ended" and not goes_on):
            fail(f"job {clean(job)} has no open run", UNKNOWN_JOB)
        running = setup.store.cancel(job, note=True)
    if setup.as_json:
        print_json({"jobId": job, "cancelled": True, "running": running})
    elif running is None:
        click.echo(f"job {clean(job)} has no open run now; it is cancelled at its next visit")
    else:
        still = f"; nodes still running: {running}, they are being stopped" if running else ""
        click.echo(f"job {clean(job)} is cancelled{still}")
