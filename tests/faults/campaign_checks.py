"""What must be true of every job in the end. Pure: a history in, what is wrong with it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .campaign_expected import Expected
from .campaign_history import Heard, History
from .campaign_jobs import Job
from .campaign_values import ARTIFACT, artifacts, canonical

CHANGEABLE = ("status", "input", "output", "error", "retries")
"""All of a node that the farm may change."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that is not as it must be.

    Attributes:
        subject: A job's id, or what else it is about.
    """

    check: str
    subject: str
    expected: str
    actual: str


Check = Callable[[Job, Expected, History], Iterator[tuple[str, str]]]
"""Yields what is expected and what was seen instead."""


def lost(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """Every visit ends, every graph that should come back does."""
    visits = len(expected.visits)
    backs = [number for number, visit in enumerate(expected.visits) if visit.handed_back]
    concluded = {history.sent.get(entry) for entry, _ in history.conclusions}
    if missing := [number for number in range(visits) if number not in concluded]:
        yield f"{visits} visits end", f"visits {missing} did not"
    elif missing := [number for number in backs if number not in history.backs]:
        yield f"visits {backs} are handed back", f"visits {missing} were not"
    elif history.final is None:
        yield "a final graph", "there is none"


def handed_back_twice(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """A graph comes back once a visit, and only where it should."""
    allowed = Counter(number for number, visit in enumerate(expected.visits) if visit.handed_back)
    if extra := Counter(history.backs) - allowed:
        yield f"visits {sorted(allowed)} handed back once", f"once more: {sorted(extra.elements())}"


def ended_twice(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """Every visit has one terminal act."""
    acts = Counter(history.sent.get(entry, entry) for entry, _ in history.conclusions)
    if extra := {visit: count for visit, count in acts.items() if count > 1 or not isinstance(visit, int)}:
        yield "one terminal act a visit", f"by visit: {extra}"


def innocent_failed(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """A job does not fail because of what befell the farm."""
    verdicts = {verdict for _, verdict in history.conclusions}
    if expected.status == "completed" and verdicts & {"failed", "cancelled"}:
        yield "the job completes", f"it ended as {sorted(verdicts)}"


def wrong_inputs(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """Every start, of whatever attempt, is given what its sources put out; no other node starts."""
    for start in history.starts:
        node = expected.nodes[start.node]
        if not node.starts:
            yield f"{start.node} never starts ({node.status})", f"it started: {start}"
        elif history.sent.get(start.entry) != node.visit:
            yield f"{start.node} runs in visit {node.visit}", f"it started in another: {start}"
        elif start.digest != node.digest:
            yield f"{start.node} is given {node.input}, digest {node.digest}", f"it was not: {start}"


def one_start_twice(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """No two runs of a task have the same start number."""
    counts = Counter((start.entry, start.node, start.attempt) for start in history.starts)
    for (_, node, attempt), count in counts.items():
        if count > 1:
            yield f"one run of {node}, start {attempt}", f"{count} runs"


def wrong_results(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """The last verdict and each node of the final graph are as foretold."""
    if history.final is None or next(innocent_failed(job, expected, history), None):
        return
    verdicts = {history.sent.get(entry): verdict for entry, verdict in history.conclusions}
    wanted = {number: visit.verdict for number, visit in enumerate(expected.visits)}
    if set(verdicts) == set(wanted) and verdicts != wanted:
        yield f"verdicts {wanted}", f"{verdicts}"
    for document in history.final["nodes"]:
        node, node_id = expected.nodes[document["id"]], document["id"]
        seen = {
            "status": document["status"],
            "input": canonical(document.get("input")),
            "output": canonical(document.get("output")),
            "code": (document.get("error") or {}).get("code"),
        }
        for name, value in seen.items():
            if value != getattr(node, name):
                yield f"{name} of {node_id} is {getattr(node, name)}", f"it is {value}"
        for artifact in artifacts((document.get("output") or {}).get(ARTIFACT + node_id)):
            if not artifact["key"].startswith(f"{job.id}/{node_id}/"):
                yield f"the artifact of {node_id} is its own", f"it is {artifact}"


def changed_documents(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """Nothing of a graph changes but what may."""
    if history.final is None:
        return
    sent, final = _fixed(job.document), _fixed(history.final)
    for name in sorted(sent.keys() | final.keys()):
        if repr(sent.get(name)) != repr(final.get(name)):
            yield f"{name} stays {sent.get(name)}", f"it became {final.get(name)}"


def _fixed(document: Mapping[str, Any]) -> dict[str, Any]:
    nodes = [
        {key: value for key, value in node.items() if key not in CHANGEABLE} for node in document["nodes"]
    ]
    return {**document, "nodes": nodes, "context": {**document["context"], "visit": 0}}


def wrong_progress(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """Progress does not fall, is within 0 and 1, and is 1 in the end."""
    values = [item.value for item in history.heard if item.kind == "progress"]
    if values != sorted(values) or any(not 0 <= value <= 1 for value in values):
        yield "progress from 0 to 1 that does not fall", f"{values}"
    elif expected.status == "completed" and expected.last_word and not history.deaf and values[-1:] != [1.0]:
        yield "progress 1 in the end", f"{values}"


def wrong_statuses(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """What the farm says of a job, visit by visit; where nobody listened for a moment, nothing else than that."""
    wanted = [list(visit.statuses) for visit in expected.visits]
    seen = [_status(part) for part in visits_heard(history.heard)]
    if not history.deaf:
        if seen != wanted:
            yield f"statuses {wanted}", f"{seen}"
    elif not _is_part([s for part in seen for s in part], [s for part in wanted for s in part]):
        yield f"of the statuses {wanted}", f"{seen}"


def late_messages(job: Job, expected: Expected, history: History) -> Iterator[tuple[str, str]]:
    """Nothing is said of a visit after its end."""
    last, ended, late = len(expected.visits) - 1, False, []
    for item in history.heard:
        if ended and item.kind != "mark":
            late.append(item)
        ended |= (item.kind == "mark" and item.value == last) or (
            item.kind == "status" and item.value in ("completed", "failed")
        )
    if not history.deaf:
        for visit, part in zip(expected.visits, visits_heard(history.heard), strict=False):
            # What a visit begins with is known, so what comes before that is of the one before.
            before = [item.kind == "status" for item in part].index(True) if _status(part) else len(part)
            late += part[:before] if len(visit.statuses) > 1 else []
    if late:
        yield "nothing after the end", f"{late}"


def _status(part: list[Heard]) -> list[str]:
    return [item.value for item in part if item.kind == "status"]


def visits_heard(heard: Iterable[Heard]) -> list[list[Heard]]:
    """Messages cut at our marks; what follows the last mark is a part of its own if there is any."""
    parts: list[list[Heard]] = [[]]
    marks: set[int] = set()
    for item in heard:
        if item.kind == "mark":
            # One whose reply was lost is published again.
            parts += [] if item.value in marks else [[]]
            marks.add(item.value)
        else:
            parts[-1].append(item)
    return parts if parts[-1] else parts[:-1]


def _is_part(part: list[str], whole: list[str]) -> bool:
    remaining = iter(whole)
    return all(item in remaining for item in part)


JOB_CHECKS: dict[str, Check] = {
    "lost": lost,
    "handed back twice": handed_back_twice,
    "ended twice": ended_twice,
    "innocent jobs failed": innocent_failed,
    "wrong inputs": wrong_inputs,
    "one start twice": one_start_twice,
    "wrong results": wrong_results,
    "changed documents": changed_documents,
    "progress falls": wrong_progress,
    "wrong statuses": wrong_statuses,
    "messages after the end": late_messages,
}


def check_job(job: Job, expected: Expected, history: History) -> Iterator[Violation]:
    """Everything that is wrong with one job's history."""
    for name, check in JOB_CHECKS.items():
        for wanted, seen in check(job, expected, history):
            yield Violation(name, job.id, wanted, seen)
