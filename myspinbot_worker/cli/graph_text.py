"""The job id in a graph's text: found, and replaced without touching anything else."""

from __future__ import annotations

import json

from ..graph.scanner import Scanner


def job_id_of(text: str) -> str | None:
    """``workflowId``, ``None`` where the text has no usable one (admission says what is wrong with it)."""
    try:
        found = _spans(text)
        value = json.loads(text[slice(*found[-1])]) if found else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) and value else None


def with_job_id(text: str, job: str) -> str:
    """The same text with another ``workflowId``; unchanged where there is none."""
    try:
        found = _spans(text)
    except (ValueError, RecursionError):
        return text
    for begin, end in reversed(found):
        text = text[:begin] + json.dumps(job) + text[end:]
    return text


def _spans(text: str) -> list[tuple[int, int]]:
    """Where the values of ``workflowId`` stand at the top of the document."""
    scanner = Scanner(text)
    found = []
    if scanner.next_is("{"):
        for name in scanner.members():
            begin = scanner.at
            scanner.value()
            if name == "workflowId":
                found.append((begin, scanner.at))
    return found
