"""Jobs of no-op nodes: built beforehand, sent in one go, counted as they are handed back."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .stage import PATIENCE, Stage

SERVICE = "dummy.dummy_task"
DATA, CONTROL = "process:data", "process:control"


@dataclass(frozen=True, slots=True)
class Job:
    """An entry of the data stream, ready to be sent."""

    id: str
    fields: dict[Any, Any]


def single() -> Job:
    """One node."""
    return _job([_node(0)], [])


def chain(length: int, params: dict[str, Any] | None = None) -> Job:
    """Nodes one after the other, each with the same params."""
    nodes = [_node(index, params) for index in range(length)]
    return _job(nodes, [(index, index + 1) for index in range(length - 1)])


def fan(size: int) -> Job:
    """One node, and after it all others at once."""
    return _job([_node(index) for index in range(size)], [(0, index) for index in range(1, size)])


def run(stage: Stage, jobs: Sequence[Job]) -> float:
    """Send jobs and wait until all are handed back; seconds from the first to the last."""
    stage.client.delete(CONTROL)
    waiting = {job.id for job in jobs}
    with stage.client.pipeline(transaction=False) as pipe:
        for job in jobs:
            pipe.xadd(DATA, job.fields)
        start = time.perf_counter()
        pipe.execute()
    position, deadline = "0", time.monotonic() + PATIENCE
    while waiting:
        found: Any = stage.client.xread({CONTROL: position}, count=1000, block=500)
        for _, entries in found or ():
            position, deadline = entries[-1][0], time.monotonic() + PATIENCE
            waiting.difference_update(fields["jobId"] for _, fields in entries)
        if time.monotonic() > deadline:
            raise stage.failure(f"{len(waiting)} of {len(jobs)} jobs come back")
    return time.perf_counter() - start


def _node(index: int, params: dict[str, Any] | None = None) -> dict[str, Any]:
    node = {"id": f"n{index}", "service": SERVICE, "plane": "python", "status": "pending"}
    return {**node, "params": params} if params else node


def _job(nodes: list[dict[str, Any]], edges: Iterable[tuple[int, int]]) -> Job:
    job = str(uuid.uuid4())
    graph = {
        "schema": "langgraph.v1",
        "workflowId": job,
        "nodes": nodes,
        "edges": [{"from": f"n{source}", "to": f"n{target}"} for source, target in edges],
    }
    fields = {"jobId": job, "created": str(time.time_ns() // 1_000_000), "graph": json.dumps(graph)}
    return Job(job, fields)
