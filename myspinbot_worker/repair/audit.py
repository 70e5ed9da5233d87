"""What does not match among entries, runs, leases and acts, from facts that were read at one moment. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..graph.transitions import Balance
from ..keys import NodeRef


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that does not match.

    Attributes:
        what: Stable, for programs.
        text: What was found.
        advice: What the farm will do about it, and what there is to do.
    """

    what: str
    text: str
    advice: str
    job: str | None = None
    entry: str | None = None
    node: int | None = None

    @property
    def identity(self) -> tuple[str, str | None, str | None, int | None]:
        """The same for the same mismatch seen again."""
        return self.what, self.job, self.entry, self.node


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that was read and has not ended.

    Attributes:
        idle_ms: Since when nobody has touched it.
        deliveries: How often an ingestor took it up.
        job: Its job, ``None`` if its text is gone from the stream.
    """

    id: str
    idle_ms: int
    deliveries: int
    job: str | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """An open run as its keys tell.

    Attributes:
        states: One letter a node, in the graph's order.
        halted: Nothing new starts, so that ready nodes may rest.
        lacks_payload: It has payloads to keep and no key that holds them.
    """

    job: str
    entry: str
    states: str
    running: int
    over: bool
    halted: bool
    has_graph: bool = True
    lacks_payload: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read.

    Attributes:
        now_ms: Redis' clock.
        grace_ms: How long what passes by itself may take.
        index: Entry id to job of every open run, as the index of runs has it.
        runs: By job.
        leases, outbox: Member to time (ms); ``over``: job to since when.
        full: As many runs are open as may be: entries wait, read or not.
        left: Entries, with their jobs, that are still on the stream though the group is done with them.
    """

    now_ms: int
    grace_ms: int
    balance: Balance
    index: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, RunFacts] = field(default_factory=dict)
    pending: Sequence[PendingEntry] = ()
    leases: Mapping[str, float] = field(default_factory=dict)
    outbox: Mapping[str, float] = field(default_factory=dict)
    over: Mapping[str, float] = field(default_factory=dict)
    left: Sequence[tuple[str, str]] = ()
    full: bool = False


_ANEW = "then open the books again with `audit --anew`"
_INGESTOR = "an ingestor does that every few seconds: see with `doctor` whether one runs"
MANY_DELIVERIES = 10
"""An entry that was taken up so often and has no run brings its admission down each time."""


def mismatches(facts: Facts) -> list[Mismatch]:
    """Everything that does not match."""
    return [*_books(facts.balance), *_entries(facts), *_runs(facts), *_nodes(facts), *_indexes(facts)]


def books_compared(balance: Balance) -> bool:
    """Whether the books are open, and Redis counts what comes in (it does since 7.0)."""
    return balance.added is not None and balance.before is not None


def _books(books: Balance) -> Iterator[Mismatch]:
    if books.added is None or books.before is None:
        return
    ended = (books.concluded or 0) + (books.rejected or 0)
    lost = books.added - books.before - (books.unread or 0) - (books.pending or 0) - ended
    if lost > 0:
        yield Mismatch(
            "entries_unaccounted",
            f"{lost} of {books.added} entries left the data stream without a terminal act",
            "somebody deleted, trimmed or acknowledged them (XDEL, XTRIM, MAXLEN, XACK): find their jobs in the "
            f"control plane's records and submit them again, {_ANEW}",
        )
    elif lost < 0:
        yield Mismatch(
            "acts_without_entry",
            f"{-lost} more terminal acts than entries that were added",
            f"the stream or its group was made anew, or a process of an older version took part; see to that, {_ANEW}",
        )
    astray = (books.admitted or 0) - (books.concluded or 0) - (books.open or 0)
    if astray:
        yield Mismatch(
            "runs_unaccounted",
            f"{books.admitted} runs were admitted, {books.concluded} concluded, {books.open} are open: "
            f"{abs(astray)} {'are missing' if astray > 0 else 'too many'}",
            "keys of runs were deleted or evicted, or a process of an older version took part; entries still "
            f"pending are admitted again by an ingestor; `doctor` looks at Redis' memory policy; {_ANEW}",
        )


def _entries(facts: Facts) -> Iterator[Mismatch]:
    open_jobs = {*facts.index.values(), *facts.runs}
    admitted = {*facts.index, *(run.entry for run in facts.runs.values())}
    for entry in facts.pending:
        if entry.id in admitted:
            continue
        if entry.job is None:
            yield Mismatch(
                "entry_gone",
                "was read, not admitted, and is gone from the stream",
                "an ingestor forgets it; find its job in the control plane's records and submit it again",
                entry=entry.id,
            )
        elif (
            entry.job not in open_jobs
            and not facts.full
            and (entry.idle_ms > facts.grace_ms or entry.deliveries >= MANY_DELIVERIES)
        ):
            yield Mismatch(
                "entry_without_run",
                f"was read {entry.deliveries} times, last {_seconds(entry.idle_ms)} ago, and neither admitted nor "
                "refused",
                f"an ingestor takes it up again; {_INGESTOR}, and what its log says of the entry",
                entry.job,
                entry.id,
            )
    for left, job in facts.left:
        yield Mismatch(
            "entry_left",
            "is on the stream though it was acknowledged, and not by the farm, which deletes what it ends",
            f"the farm will not touch it: submit its graph again if its job is not done, and XDEL it, {_ANEW}",
            job or None,
            left,
        )


def _runs(facts: Facts) -> Iterator[Mismatch]:
    pending = {entry.id for entry in facts.pending}
    for run in facts.runs.values():
        if facts.index.get(run.entry) != run.job:
            yield Mismatch(
                "run_not_indexed",
                "has a run that is not in the index of open runs",
                "it goes on and ends as usual; if it does not, cancel it",
                run.job,
                run.entry,
            )
        if run.entry not in pending:
            yield Mismatch(
                "run_without_entry",
                "has a run whose entry is not pending: somebody acknowledged it, or the group was made anew",
                "the run goes on and hands its graph back; after a crash of Redis it could not be found again",
                run.job,
                run.entry,
            )
        since = facts.over.get(run.job)
        if run.over and (since is None or facts.now_ms - since > facts.grace_ms):
            how_long = "" if since is None else f" for {_seconds(facts.now_ms - since)}"
            yield Mismatch(
                "run_not_concluded",
                f"is over{how_long} and not concluded",
                _INGESTOR
                if since is not None
                else f"no ingestor will find it: ZADD the job to the runs that are over, then {_INGESTOR}",
                run.job,
                run.entry,
            )
        if not run.has_graph:
            yield Mismatch(
                "run_without_graph",
                "has a run whose graph is gone",
                "it cannot be concluded: SET the graph's key to the graph field of its entry (XRANGE)",
                run.job,
                run.entry,
            )
        if run.lacks_payload:
            yield Mismatch(
                "run_without_payload",
                "has a run whose params, inputs and outputs are gone",
                "its nodes run without them and fail, or end the job wrongly: cancel it and submit it again",
                run.job,
                run.entry,
            )
        if run.running != run.states.count("R"):
            yield Mismatch(
                "run_miscounted",
                f"counts {run.running} running nodes and has {run.states.count('R')}",
                "it may end too early or never: cancel it, and `retry` it once it has ended",
                run.job,
                run.entry,
            )


def _nodes(facts: Facts) -> Iterator[Mismatch]:
    for run in facts.runs.values():
        for index, state in enumerate(run.states):
            member = str(NodeRef(run.entry, index, run.job))
            if state == "R" and member not in facts.leases:
                yield Mismatch(
                    "running_without_lease",
                    f"node {index} runs without a lease: a lost worker would not be noticed",
                    "its worker renews it, if it lives; if the worker is gone, ZADD the node to the leases with "
                    f"score 0 ({member!r}) and an ingestor takes it back",
                    run.job,
                    run.entry,
                    index,
                )
            elif state == "Q" and member not in facts.outbox and not (run.halted or run.over):
                yield Mismatch(
                    "ready_not_in_outbox",
                    f"node {index} is ready and nobody will look whether its message exists",
                    "it starts if its message does exist; if it does not start, ZADD the node to the outbox with "
                    f"score 0 ({member!r})",
                    run.job,
                    run.entry,
                    index,
                )


def _indexes(facts: Facts) -> Iterator[Mismatch]:
    for entry, job in facts.index.items():
        if job not in facts.runs or facts.runs[job].entry != entry:
            yield Mismatch(
                "index_without_run",
                "is in the index of open runs and has no run",
                "its entry, if pending, is not admitted again before it is removed there (HDEL)",
                job,
                entry,
            )
    for name, members, state in (("lease", facts.leases, "R"), ("outbox", facts.outbox, "Q")):
        for member, score in members.items():
            node = _node(member)
            run = facts.runs.get(node.job) if node else None
            if (
                node is None
                or run is None
                or run.entry != node.entry
                or run.states[node.index :][:1] != state
            ):
                yield Mismatch(
                    f"{name}_without_run",
                    f"{member!r} is kept and has no {'running' if state == 'R' else 'ready'} node",
                    "an ingestor removes it when its time has come",
                    node.job if node else None,
                    node.entry if node else None,
                    node.index if node else None,
                )
            elif facts.now_ms - score > facts.grace_ms:
                late = _seconds(facts.now_ms - score)
                yield Mismatch(
                    f"{name}_overdue",
                    f"node {node.index}'s lease ran out {late} ago and it was not taken back"
                    if state == "R"
                    else f"node {node.index} is ready, and its message should have been looked for {late} ago",
                    _INGESTOR,
                    node.job,
                    node.entry,
                    node.index,
                )
    for job in facts.over:
        if job not in facts.runs:
            yield Mismatch(
                "over_without_run",
                "is noted as over and has no run",
                "ZREM it from the runs that are over",
                job,
            )


def _node(member: str) -> NodeRef | None:
    try:
        return NodeRef.parse(member)
    except ValueError:
        return None


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.0f} s"
