"""One campaign from its plan to its verdict."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from myspinbot_worker.graph.store import RunStore

from .campaign_checks import JOB_CHECKS, Violation, check_job
from .campaign_control_plane import DATA, KEYS, ControlPlane, patient_client, read_finals
from .campaign_expected import Expected, expect
from .campaign_faults import Fault, plan_faults
from .campaign_history import History, Start
from .campaign_jobs import Job, plan_jobs
from .campaign_leaks import leaked_keys, leaked_objects, wrong_dead_letters
from .campaign_recovery import recoveries, slow_recovery
from .campaign_stage import MOST_LOST, Size, Stage, set_up
from .campaign_strikes import Strikes
from .campaign_values import STARTS

STALL_SECONDS = 60.0
"""Without the end of any visit for this long, what is open is lost."""
MOST_BEHIND = 3
"""When more faults than this wait for their turn, jobs come slowly."""
_SETTLING = 40.0
"""Seconds in which queues must become empty and messages of dead processes be given up."""
CHECKS = (
    *JOB_CHECKS, "dead letters", "the farm's own books", "leaked keys", "leaked scratch files", "leaked objects",
    "missing objects", "processes left", "processes that ended by themselves", "slow recovery", "the campaign itself",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is asked for.

    Attributes:
        at_once: Most jobs that are open at a time.
        deadly: Whether there are tasks that hang, exit or kill their process.
    """

    jobs: int = 5000
    faults: int = 500
    seed: int = 1
    at_once: int = 60
    deadly: bool = True
    size: Size = field(default_factory=Size)


@dataclass
class Result:
    """What came of a campaign.

    Attributes:
        starts: How often nodes were started, and how often had nothing been killed.
        waits: Seconds from the kill of each running node's worker to its next start ...
        task_waits: ... and from the kill of its own process.
        restarts: How often programs were started again.
    """

    campaign: Campaign
    jobs: dict[str, Job] = field(default_factory=dict)
    expected: dict[str, Expected] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    seconds: float = 0.0
    nodes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    starts: int = 0
    needed_starts: int = 0
    waits: list[float] = field(default_factory=list)
    task_waits: list[float] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)


class Watcher:
    """Told how a campaign goes."""

    def say(self, text: str) -> None:
        """Something happened."""

    def went_on(self, ended: int, struck: int) -> None:
        """So many jobs have ended, so many faults have happened."""


def run(campaign: Campaign, folder: Path, watcher: Watcher) -> Result:
    """Run a campaign; nothing is left running, however it ends."""
    result = Result(campaign)
    for job in plan_jobs(campaign.seed, campaign.jobs, deadly=campaign.deadly):
        result.jobs[job.id] = job
        result.expected[job.id] = expect(job, most_lost=MOST_LOST)
        result.nodes += len(job.order)
    visits = sum(len(expected.visits) for expected in result.expected.values())
    faults = plan_faults(campaign.seed, campaign.faults, visits, campaign.size.lease, deadly=campaign.deadly)
    began = time.monotonic()

    def say(text: str) -> None:
        watcher.say(f"{time.monotonic() - began:7.2f} {text}")

    with set_up(folder, campaign.size, say) as stage:
        stage.start()
        with ControlPlane(stage.redis.url) as plane:
            began = time.monotonic()
            strikes = _play(result, faults, stage, plane, watcher, say)
            result.seconds = time.monotonic() - began
            client = patient_client(stage.redis.url)
            result.violations += _quiet(stage, plane, client)
            stage.stop()
            if not plane.wait_heard_all(client, 10):
                plane.problems.append("what was published is not heard")
            read_finals(plane.histories.items(), client)
        result.histories = plane.histories
        _read_starts(result, client)
        result.restarts = sum(program.starts - 1 for program in stage.programs)
        result.faults = Counter({kind.value: count for kind, count in strikes.done.items()})
        result.missed = Counter({kind.value: count for kind, count in strikes.missed.items()})
        result.violations += _after_all(result, stage, plane, strikes, client)
        client.close()
    for job_id, history in result.histories.items():
        result.violations += check_job(result.jobs[job_id], result.expected[job_id], history)
    return result


def _play(
    result: Result,
    faults: list[Fault],
    stage: Stage,
    plane: ControlPlane,
    watcher: Watcher,
    say: Callable[[str], None],
) -> Strikes:
    """Send the jobs and wait for their ends, while faults happen."""
    client = patient_client(stage.redis.url)
    jobs = iter(result.jobs.values())
    following = next(jobs, None)
    with Strikes(faults, stage, plane, say) as strikes:
        moved, seen = time.monotonic(), -1
        while following or plane.open or not strikes.over:
            # Faults that wait for their turn need jobs to befall.
            most = result.campaign.at_once
            if strikes.behind >= MOST_BEHIND:
                most = max(1, most // 6)
            while following and len(plane.open) < most:
                plane.submit(following, client)
                following = next(jobs, None)
            with plane.changed:
                at = plane.visits_ended
                plane.changed.wait_for(lambda at=at: plane.visits_ended != at, 0.5)  # type: ignore[misc]
            if seen != plane.visits_ended:
                moved, seen = time.monotonic(), plane.visits_ended
            watcher.went_on(len(plane.histories) - len(plane.open), strikes.done.total())
            if plane.problems or time.monotonic() - moved > STALL_SECONDS + result.campaign.size.lease:
                say(f"nothing goes on any more: {sorted(plane.open)[:20]}")
                break
    client.close()
    return strikes


def _quiet(stage: Stage, plane: ControlPlane, client: Any) -> Iterator[Violation]:
    """Wait until the farm has nothing left to do; what it still has."""
    deadline = time.monotonic() + _SETTLING
    while left := _left(client):
        if time.monotonic() > deadline:
            yield from leaked_keys(left)
            return
        time.sleep(0.05)


def _left(client: Any) -> list[str]:
    found = [violation.subject for violation in leaked_keys(client.scan_iter(count=10000))]
    waiting, groups = client.xlen(DATA), client.xinfo_groups(DATA)
    if waiting or any(group["pending"] for group in groups):
        found.append(f"{DATA} ({waiting} entries)")
    return found


def _read_starts(result: Result, client: Any) -> None:
    texts: set[str] = set(client.lrange(STARTS, 0, -1))
    for start in sorted((Start(**json.loads(text)) for text in texts), key=lambda start: start.at):
        result.histories[start.job].starts.append(start)
    result.starts = len(texts)
    result.needed_starts = sum(
        node.starts for expected in result.expected.values() for node in expected.nodes.values()
    )


def _after_all(
    result: Result, stage: Stage, plane: ControlPlane, strikes: Strikes, client: Any
) -> Iterator[Violation]:
    """What is left when everything has ended, and what concerns no single job."""
    dead = [(fields.get("jobId", ""), fields["code"]) for _, fields in client.xrange(KEYS.dead)]
    yield from wrong_dead_letters(plane.doubled, dead)
    yield from _unbalanced(client)
    finals = [history.final for history in plane.histories.values() if history.final is not None]
    yield from leaked_objects(stage.objects(), finals)
    for path in stage.scratch_left():
        yield Violation("leaked scratch files", path, "gone with its attempt", "it is still there")
    for told in stage.left:
        yield Violation("processes left", told, "ended", "it was still there")
    for program in stage.programs:
        for end in program.wrong_ends:
            yield Violation("processes that ended by themselves", end.name, end.why, end.last_lines)
    starts = [start for history in result.histories.values() for start in history.starts]
    waits = recoveries(strikes.losses, starts)
    result.waits = [wait.seconds for wait in waits]
    result.task_waits = [wait.seconds for wait in recoveries(strikes.task_losses, starts)]
    yield from slow_recovery(waits, result.campaign.size.lease)
    for problem in (*plane.problems, *strikes.problems):
        yield Violation("the campaign itself", "", "it works", problem)


def _unbalanced(client: Any) -> Iterator[Violation]:
    """What the farm itself has counted: every entry that came in was ended once."""
    books = RunStore(client, KEYS).balance()
    if books.added is None or books.before is None:
        return
    ended = (books.concluded or 0) + (books.rejected or 0)
    if books.added - books.before != ended or books.admitted != books.concluded:
        yield Violation("the farm's own books", "", "as many ended as came", f"{books}")
