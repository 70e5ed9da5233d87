"""Jobs of no-op nodes: built beforehand, sent in one go, counted as they are handed back."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .stage import PATIENCE, Stage

SERVICE = "benchmark.noop"
DATA, CONTROL = "process:data", "process:control"


@dataclass(frozen=True, slots=True)
class Job:
    """An entry of the data stream, ready to be sent."""

    id: str
    fields: dict[Any, Any]


def single(service: str = SERVICE) -> Job:
    """One node."""
    return _job([_node(0, service=service)], [])


def busy(seconds: float) -> Job:
    """One node that is on the device for so long."""
    return _job([_node(0, {"seconds": seconds}, "benchmark.busy")], [])


def of(service: str, params: dict[str, Any]) -> Job:
    """One node of a service."""
    return _job([_node(0, params, service)], [])


def large(length: int, size: int) -> Job:
    """A chain of nodes with outputs of so many bytes."""
    nodes = [_node(index, {"size": size}, "benchmark.large") for index in range(length)]
    return _job(nodes, [(index, index + 1) for index in range(length - 1)])


def chain(length: int, params: dict[str, Any] | None = None) -> Job:
    """Nodes one after the other, each with the same params."""
    nodes = [_node(index, params) for index in range(length)]
    return _job(nodes, [(index, index + 1) for index in range(length - 1)])


def fan(size: int, params: dict[str, Any] | None = None) -> Job:
    """One node, after it all others at once, and after these the last."""
    out = [(0, index) for index in range(1, size - 1)]
    return _job(
        [_node(index, params) for index in range(size)], [*out, *((index, size - 1) for _, index in out)]
    )


def random_dag(size: int, params: dict[str, Any] | None = None) -> Job:
    """Each node after up to three of the hundred before it; the same graph each time."""
    dice = random.Random(size)
    edges = [
        (source, index)
        for index in range(1, size)
        for source in sorted(dice.sample(range(max(0, index - 100), index), min(index, dice.randint(1, 3))))
    ]
    return _job([_node(index, params) for index in range(size)], edges)


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


def _node(index: int, params: dict[str, Any] | None = None, service: str = SERVICE) -> dict[str, Any]:
    node = {"id": f"n{index}", "service": service, "plane": "python", "status": "pending"}
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
