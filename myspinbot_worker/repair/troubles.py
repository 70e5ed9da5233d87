"""What waits for an operator: refused entries and failed nodes, as values, grouped by their error. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from .fingerprint import fingerprint, normalise

LETTER_ID = re.compile(r"\d+-\d+")
NODE_ID = re.compile(r"\d+-\d+\.(?:\d+|gone)")
FINGERPRINT = re.compile(r"[0-9a-f]{8}")

_REASON = re.compile(r"node '(?P<node>.*?)' failed: (?P<code>\w+): (?P<message>.*)", re.DOTALL)


@dataclass(frozen=True)
class Trouble:
    """A refused entry, or a failed node of a job that failed.

    Attributes:
        id: A letter's stream id; for a node, its visit's entry id, a dot, and its index (``gone`` where the
            job's snapshot is).
        at_ms: When it was refused, or when the job's visit ended.
        entry: The stream entry it came with.
        job: ``None`` if the entry had none.
        retryable: There is something left to send.
    """

    id: str
    kind: Literal["entry", "node"]
    code: str
    message: str
    at_ms: int
    entry: str
    job: str | None
    node: str | None = None
    service: str | None = None
    retryable: bool = True

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.code, self.message)


@dataclass(frozen=True, slots=True)
class Group:
    """All troubles with one error.

    Attributes:
        message: With what differs from case to case replaced.
        example: The newest.
    """

    fingerprint: str
    kind: str
    code: str
    message: str
    count: int
    oldest_ms: int
    example: Trouble


def grouped(troubles: Iterable[Trouble]) -> list[Group]:
    """Groups by error, the one with the newest case first."""
    cases: dict[str, list[Trouble]] = {}
    for trouble in troubles:
        cases.setdefault(trouble.fingerprint, []).append(trouble)
    groups = []
    for name, found in cases.items():
        example = max(found, key=lambda trouble: trouble.at_ms)
        groups.append(
            Group(
                name,
                example.kind,
                example.code,
                normalise(example.message),
                len(found),
                min(trouble.at_ms for trouble in found),
                example,
            )
        )
    return sorted(groups, key=lambda group: group.example.at_ms, reverse=True)


def of_reason(job: str, entry: str, reason: str, at_ms: int) -> Trouble | None:
    """The failed node that a visit's reason tells of, for a job whose snapshot has expired."""
    told = _REASON.fullmatch(reason)
    if told is None:
        return None
    return Trouble(
        f"{entry}.gone", "node", told["code"], told["message"], at_ms, entry, job, told["node"], None, False
    )
