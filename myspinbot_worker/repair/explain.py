"""Why a job is where it is, in one paragraph: what it waits for, who holds it, since when, what happens next. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..job_state import Concluded, JobState, NodeState, RunSummary

MOST_NODES = 3
"""How many nodes of a kind are told of one by one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node of an open run is to be found.

    Attributes:
        lease_ms: How long its lease is still good; negative since it ran out; ``None`` if it has none.
        due_ms: In how long somebody will look for its message; ``None`` if nobody will.
        queue: Where its message is, ``None`` if it has none.
        ahead: How many messages are before it; ``None`` if a worker has fetched it.
    """

    lease_ms: int | None = None
    due_ms: int | None = None
    queue: str | None = None
    ahead: int | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is around a job.

    Attributes:
        now_ms: Redis' clock.
        ingestors, workers: Processes that gave a sign of life lately.
        places: By node index, of nodes that are running or ready.
        over_ms: Since when its run is over and not concluded; ``None`` if not known.
        paused: Queues from which no worker takes anything.
        full: As many runs are open as may be.
        ahead: Entries before its own that are not read yet; ``None`` if its own was read.
        read_ms: How long ago an ingestor took its entry up last; ``None`` if none did.
        reads: How often one did.
    """

    now_ms: int
    ingestors: int = 1
    workers: int = 1
    places: Mapping[int, Place] = field(default_factory=dict)
    over_ms: int | None = None
    paused: frozenset[str] = frozenset()
    full: bool = False
    ahead: int | None = None
    read_ms: int | None = None
    reads: int = 0


def explain(job: JobState, around: Surroundings) -> str:
    """The paragraph."""
    match job.phase:
        case "waiting":
            sentences = _waiting(job, around)
        case "open" if job.run is not None:
            sentences = _open(job, job.run, around)
        case "ended" if job.last is not None:
            sentences = _ended(job, job.last, around)
        case "elsewhere":
            sentences = _elsewhere(job)
        case _:
            sentences = iter(
                [
                    f"Nothing is known of job {job.job}: it was never sent here, or all traces of it have expired."
                ]
            )
    return " ".join(sentences)


def _waiting(job: JobState, around: Surroundings) -> Iterator[str]:
    age = ""
    if job.entry is not None and (written := job.entry.partition("-")[0]).isdigit():
        age = f", written {duration(around.now_ms - int(written))} ago,"
    if around.read_ms is None:
        before = {None: "", 0: "; it is the next"}.get(
            around.ahead, f"; {_count(around.ahead, 'entry')} before it"
        )
        yield f"Job {job.job} waits on the data stream: its entry {job.entry}{age} was not read yet{before}."
        yield _room(around) or _ingestors(around, "they read on as they can")
        return
    yield (
        f"Job {job.job} waits to be admitted: its entry {job.entry}{age} was taken up {_times(around.reads)}, "
        f"last {duration(around.read_ms)} ago."
    )
    if around.full:
        yield _room(around)
        return
    yield _ingestors(around, "one takes it up again, or refuses it, within seconds")
    if around.reads > 3:
        yield "So many times are not usual: the ingestors' logs say why."


def _room(around: Surroundings) -> str:
    if not around.full:
        return ""
    return "As many jobs are open as may be (farm.max_open_runs): it is admitted, in its turn, when one has ended."


def _open(job: JobState, run: RunSummary, around: Surroundings) -> Iterator[str]:
    yield (
        f"Job {job.job} has been open for {duration(around.now_ms - run.admitted_ms)} (entry {run.entry}): "
        f"{run.done} of {_count(run.nodes, 'node')} done, {int(run.progress * 100 + 1e-9)} %."
    )
    if run.over:
        since = f" {duration(around.over_ms)} ago" if around.over_ms is not None else ""
        yield f"All that could run in this visit ended{since}; its conclusion is due."
        yield _ingestors(around, "one concludes it if the worker of its last node does not")
        return
    running = [node for node in job.nodes if node.state == "running"]
    ready = [node for node in job.nodes if node.state == "ready"]
    if run.cancelled:
        yield "It was cancelled: nothing new starts."
    elif run.failing:
        yield from _failure(job.nodes)
    yield from _running(running, around, cancelled=run.cancelled)
    if run.cancelled or run.failing:
        verdict = "cancelled" if run.cancelled else "failed"
        what = {0: "It", 1: "When that node has ended, it"}.get(
            len(running), "When these nodes have ended, it"
        )
        yield f"{what} ends as {verdict}."
        return
    yield from _ready(ready, around)
    waiting = sum(node.state == "waiting" and node.ours for node in job.nodes)
    if waiting and (running or ready):
        yield f"{_count(waiting, 'more node')} of ours {'waits' if waiting == 1 else 'wait'} for nodes before."
    if not running and not ready:
        yield "Nothing of it runs or is ready, and it is not over: `audit` says what does not match."


def _failure(nodes: Sequence[NodeState]) -> Iterator[str]:
    failed = next((node for node in nodes if node.state == "failed"), None)
    if failed is None:
        yield "It is failing: nothing new starts."
    else:
        yield f"Node {failed.id!r} failed{_error(failed)}, and nothing takes that up: nothing new starts."


def _running(nodes: Sequence[NodeState], around: Surroundings, *, cancelled: bool) -> Iterator[str]:
    for node in nodes[:MOST_NODES]:
        worker = node.worker or "a worker"
        since = f" for {duration(around.now_ms - node.started_ms)}" if node.started_ms is not None else ""
        place = around.places.get(node.index, Place())
        if place.lease_ms is None:
            yield (
                f"Node {node.id!r} ({node.service}) counts as running on {worker}{since} but has no lease: "
                "`audit` says what to do if that stays so."
            )
        elif place.lease_ms < 0:
            yield (
                f"Node {node.id!r} ({node.service}) was running on {worker}{since}, which has not been heard of: its "
                f"lease ran out {duration(-place.lease_ms)} ago."
            )
            cost = f"; it has cost {_count(node.lost, 'worker')} before" if node.lost else ""
            yield _ingestors(around, f"one takes the node back and starts it elsewhere{cost}")
        else:
            yield (
                f"Node {node.id!r} ({node.service}) has been running on {worker}{since}, attempt {node.attempts}, "
                f"{int(node.fraction * 100 + 1e-9)} % done; its lease is good for {duration(place.lease_ms)} more."
            )
            if cancelled:
                yield "It is being stopped: told, then interrupted, then its process is killed."
    if len(nodes) > MOST_NODES:
        yield f"Running as well: {_count(len(nodes) - MOST_NODES, 'node')}."


def _ready(nodes: Sequence[NodeState], around: Surroundings) -> Iterator[str]:
    queued = False
    paused = sorted(
        {
            place.queue
            for node in nodes
            if (place := around.places.get(node.index, Place())).queue in around.paused
        }
        - {None}
    )
    for node in nodes[:MOST_NODES]:
        place = around.places.get(node.index, Place())
        who = f"Node {node.id!r} ({node.service})"
        soon = "now" if (place.due_ms or 0) <= 0 else f"in {duration(place.due_ms or 0)}"
        if place.queue is not None and place.ahead is None:
            yield f"{who} is ready, and a worker has fetched its message from the queue {place.queue}: it starts next."
        elif place.queue is not None:
            queued = True
            before = (
                f"behind {place.ahead} other{'s' * (place.ahead != 1)}" if place.ahead else "and is the next"
            )
            yield f"{who} is ready and waits in the queue {place.queue} {before}."
        elif place.due_ms is None:
            yield f"{who} is ready, has no message, and nobody will look for it: `audit` says what to do."
        elif node.error is not None:
            yield f"{who} waits to be tried again after attempt {node.attempts} failed{_error(node)}: due {soon}."
            yield from [_ingestors(around, "")] * (not around.ingestors)
        else:
            yield f"{who} is ready and its message is not there yet: an ingestor looks for it {soon}."
            yield from [_ingestors(around, "")] * (not around.ingestors)
    if len(nodes) > MOST_NODES:
        yield f"Ready as well: {_count(len(nodes) - MOST_NODES, 'node')}."
    if paused:
        yield f"Paused: {', '.join(map(str, paused))}; nothing is taken from there until `resume`."
    elif queued and not around.workers:
        yield "No worker has given a sign of life: start one with dramatiq myspinbot_worker.actors."
    elif queued:
        yield (
            f"{_count(around.workers, 'worker')} {'is' if around.workers == 1 else 'are'} alive; one that listens to "
            "the queue takes it when it has a free slot."
        )


def _ended(job: JobState, last: Concluded, around: Surroundings) -> Iterator[str]:
    when = f" {duration(around.now_ms - last.ended_ms)} ago" if last.ended_ms is not None else ""
    reason = f": {' '.join(last.reason.split())}" if last.reason else ""
    match last.verdict:
        case "hand_back":
            yield f"Job {job.job} is at the control plane: its graph was handed back{when} (entry {last.entry})."
            theirs = [
                node.id
                for node in job.nodes
                if not node.ours and node.state in ("waiting", "ready", "running")
            ]
            if theirs:
                named = ", ".join(repr(name) for name in theirs[:MOST_NODES])
                more = f" and {len(theirs) - MOST_NODES} more" if len(theirs) > MOST_NODES else ""
                yield f"Nodes of its own are open there: {named}{more}; it sends the graph here again if need be."
        case "completed" | "completed_with_skips":
            skips = " (some nodes were skipped by the graph's rules)" if last.verdict != "completed" else ""
            yield f"Job {job.job} was completed{when}{skips}. There is nothing to wait for."
        case "failed":
            yield f"Job {job.job} failed{when}{reason}."
            yield f"Nothing happens by itself; `retry {job.job}` sends it on from where it failed."
        case "cancelled":
            yield f"Job {job.job} was cancelled and ended{when}."
            yield f"Nothing happens by itself; `retry {job.job}` sends it on from where it stopped."
        case "rejected":
            yield f"The entry {last.entry} of job {job.job} was refused{when}{reason}."
            yield "Nothing happens by itself; `dead list` has it, and `dead retry` sends it again once it is corrected."
        case _:
            yield f"Job {job.job} ended{when} as {last.verdict}{reason}."


def _elsewhere(job: JobState) -> Iterator[str]:
    status = f" (the status it keeps is {job.status!r})" if job.status is not None else ""
    yield f"Job {job.job} is known to the control plane{status}, and no visit of it here is remembered."
    yield "It waits for the control plane, which sends its graph when there is something for the farm to do."


def _ingestors(around: Surroundings, then: str) -> str:
    if not around.ingestors:
        return "No ingestor is running, and without one this stays as it is: start one with myspinbot-worker ingest."
    return (
        f"{_count(around.ingestors, 'ingestor')} {'is' if around.ingestors == 1 else 'are'} running: {then}."
    )


def _error(node: NodeState) -> str:
    error = node.error or {}
    if not error:
        return ""
    return f" ({error.get('code', 'unknown')}: {' '.join(str(error.get('message', '')).split())[:200]})"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _count(number: int | None, noun: str) -> str:
    several = {"entry": "entries"}.get(noun, f"{noun}s")
    return f"{number} {noun if number == 1 else several}"


def duration(milliseconds: float) -> str:
    """A length of time in its largest unit."""
    seconds = max(0, round(milliseconds / 1000))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
