"""From the bytes of a stream entry to a run's plan, or to a clear reason why not. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .errors import RejectedEntry
from .graph.document import Document
from .graph.plan import CycleError, Plan, make_plan
from .graph.scanner import DocumentError
from .graph_schema import faults

MAX_JOB_ID_BYTES = 1024
_FAULTS_TOLD = 3


@dataclass(frozen=True, slots=True)
class Admission:
    """An entry that was understood.

    Attributes:
        created: Milliseconds since the epoch, digits.
        fingerprint: Digest of the graph, and of the whole entry (two sends of one entry share both).
    """

    job: str
    created: str
    document: Document
    plan: Plan
    fingerprint: tuple[str, str]


def job_of(fields: Mapping[bytes, bytes]) -> str | None:
    """The entry's job id, if it has one that can be published for."""
    try:
        job = fields.get(b"jobId", b"").decode()
    except UnicodeDecodeError:
        return None
    return job if job and ":" not in job and len(job.encode()) <= MAX_JOB_ID_BYTES else None


def read_entry(
    entry: str, fields: Mapping[bytes, bytes], *, max_bytes: int = 64 << 20, max_nodes: int = 10_000
) -> Admission:
    """Understand an entry.

    Args:
        entry: The stream entry's id; its time stands in for an absent or malformed ``created``.
        max_bytes: Largest graph text.
        max_nodes: Most nodes a graph may have.

    Raises:
        RejectedEntry: Why it cannot be understood; the message names the field.
    """
    job_text = _text(fields, b"jobId")
    job = job_of(fields)
    if job is None:
        why = "is empty" if not job_text else "contains a colon" if ":" in job_text else "is too long"
        raise RejectedEntry(f"jobId {job_text[:80]!r} {why}")
    if len(fields.get(b"graph", b"")) > max_bytes:
        raise RejectedEntry(f"graph has {len(fields[b'graph'])} bytes; at most {max_bytes} are taken")
    text = _text(fields, b"graph")
    try:
        document = parse_graph(text, max_nodes)
        if document.workflow_id != job:
            raise RejectedEntry(
                f"graph.workflowId {document.workflow_id[:80]!r} is not the entry's jobId {job!r}"
            )
        plan = make_plan(document)
    except (DocumentError, CycleError) as error:
        raise RejectedEntry(f"graph: {error}") from None
    created = fields.get(b"created", b"")
    if not (created.isdigit() and len(created) <= 16):
        created = entry.split("-")[0].encode()
    graph_digest = hashlib.sha256(fields[b"graph"]).hexdigest()[:32]
    return Admission(
        job, created.decode(), document, plan, (graph_digest, f"{graph_digest}@{created.decode()}")
    )


def parse_graph(text: str, max_nodes: int = 10_000) -> Document:
    """A graph's document, checked against the schema.

    Raises:
        DocumentError: It is not JSON, or its nodes and edges do not fit together.
        RejectedEntry: It does not fit the schema, or has too many nodes.
    """
    return Document.parse(text, validate=lambda value: _validate(value, max_nodes))


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    if name not in fields:
        raise RejectedEntry(f"the entry has no field {name.decode()}")
    try:
        return fields[name].decode()
    except UnicodeDecodeError as error:
        raise RejectedEntry(f"{name.decode()} is not UTF-8: {error.reason} at byte {error.start}") from None


def _validate(value: Any, max_nodes: int) -> None:
    if isinstance(value, dict) and isinstance(nodes := value.get("nodes"), list) and len(nodes) > max_nodes:
        raise RejectedEntry(f"graph.nodes has {len(nodes)} nodes; at most {max_nodes} are taken")
    found = list(islice(faults(value), _FAULTS_TOLD + 1))
    if found:
        more = "; and more" if len(found) > _FAULTS_TOLD else ""
        raise RejectedEntry("; ".join(found[:_FAULTS_TOLD]) + more)
