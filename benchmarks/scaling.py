"""``python -m benchmarks.scaling``: how far one Redis carries a farm, and what several of them buy. A simulation.

Every GPU of a farm with a backlog goes round and round: it computes, the worker does its part, and Redis does its.
GPUs do not wait for each other, but all wait for their Redis, which does one thing at a time. That is all there is in
the model (a closed queueing network); the costs come from ``make bench`` (``--costs``). Several Redis servers share
the jobs by job id, each with its own ingestors and its own part of the GPUs: no key is in two of them.
"""

from __future__ import annotations

import heapq
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console
from rich.table import Table

SIZES = (10, 30, 100, 300, 1000)
SHARDS = (1, 2, 4, 8)
ROOMY, TIGHT = 0.5, 0.8
"""Redis busier than this: still quick; no room for bursts."""

Spread = Literal["fixed", "exponential"]


@dataclass(frozen=True, slots=True)
class Costs:
    """What things cost, in seconds; the defaults were measured on one machine (docs/scaling.md).

    Attributes:
        task: Mean time a node computes.
        overhead: Of a worker, a node, while its GPU waits; with ``-t 2`` most of it is hidden.
        redis: Of Redis, a node, in all.
        renewal: Of Redis, one of a lease with progress.
        renewals: A second, by each running node.
    """

    task: float
    overhead: float = 0.001
    redis: float = 0.0006
    renewal: float = 0.000034
    renewals: float = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a farm did.

    Attributes:
        rate: Nodes a second.
        gpu: Busy share of the GPUs, 0 to 1.
        redis: Busy share of the busiest Redis, 0 to 1; renewals included.
        wait: Mean seconds a node waits for Redis.
    """

    rate: float
    gpu: float
    redis: float
    wait: float


def background(gpus: int, costs: Costs) -> float:
    """The share of one Redis that the renewals of so many running nodes take."""
    return gpus * costs.renewals * costs.renewal


def ceiling(shards: int, gpus: int, costs: Costs) -> float:
    """Nodes a second that Redis can do at most, renewals of all GPUs taken off."""
    return max(0.0, shards - background(gpus, costs)) / costs.redis


def simulate(
    gpus: int, shards: int, costs: Costs, *, nodes: int = 20_000, spread: Spread = "exponential"
) -> Outcome:
    """Let a farm with a backlog do so many nodes.

    Args:
        gpus: Shared out evenly over the shards.
        spread: Whether the times of tasks and of Redis vary.
    """
    draw = random.Random(1)

    def takes(mean: float) -> float:
        return mean if spread == "fixed" or not mean else draw.expovariate(1 / mean)

    # Renewals are many and short: to a node they look like a slower Redis.
    slower = [max(1e-9, 1 - background(len(range(shard, gpus, shards)), costs)) for shard in range(shards)]
    # In full swing: each is somewhere in its work.
    ready = [(draw.uniform(0, costs.task + costs.overhead), gpu) for gpu in range(gpus)]
    heapq.heapify(ready)
    free, busy = [0.0] * shards, [0.0] * shards
    waited = computed = began = 0.0
    warm_up = nodes // 5
    for number in range(nodes + warm_up):
        now, gpu = heapq.heappop(ready)
        if number == warm_up:
            waited, computed, began, busy = 0.0, 0.0, now, [0.0] * shards
        shard = gpu % shards
        start, service = max(now, free[shard]), takes(costs.redis) / slower[shard]
        free[shard] = start + service
        busy[shard] += service
        waited += start - now
        work = takes(costs.task)
        computed += work
        heapq.heappush(ready, (free[shard] + work + takes(costs.overhead), gpu))
    took = now - began
    used = [min(1.0, part / took * share + 1 - share) for part, share in zip(busy, slower, strict=True)]
    return Outcome(nodes / took, min(1.0, computed / took / gpus), max(used), waited / nodes)


def advice(outcome: Outcome, gpus: int, shards: int, costs: Costs) -> str:
    """What an operator should do about it."""
    if outcome.redis < ROOMY:
        return "fine"
    if outcome.redis < TIGHT:
        return "works; keep Redis alone on its core"
    needed = next((more for more in range(shards, 1025) if gpus / (costs.task + costs.overhead)
                   <= ROOMY * ceiling(more, gpus, costs)), None)  # fmt: skip
    return f"split over {needed} Redis servers" if needed else "make tasks longer"


def read_costs(file: Path, costs: Costs) -> Costs:
    """Costs as the benchmarks wrote them (``python -m benchmarks --json FILE``); what is missing stays.

    Raises:
        click.BadParameter: The file is not such a report.
    """
    try:
        report: Any = json.loads(file.read_text(encoding="utf-8"))
        found = {(item["benchmark"], item["name"]): float(item["median"]) for item in report["figures"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.BadParameter(
            f"{file} is no report of the benchmarks: {error!r}", param_hint="--costs"
        ) from None
    return replace(
        costs,
        redis=found.get(("redis", "us_node"), costs.redis * 1e6) / 1e6,
        renewal=found.get(("redis", "us_renewal"), costs.renewal * 1e6) / 1e6,
        overhead=found.get(("chain", "hop"), costs.overhead * 1e3) / 1e3,
    )


@click.command()
@click.option(
    "--costs", "file", type=click.Path(dir_okay=False, path_type=Path), help="Report of the benchmarks."
)
@click.option("--task", "tasks", type=click.FloatRange(0, min_open=True), multiple=True, default=(0.1, 1.0, 10.0, 60.0),
              help="Mean seconds a node computes; may be repeated.")  # fmt: skip
@click.option("--gpus", type=click.IntRange(1), multiple=True, default=SIZES, help="May be repeated.")
@click.option(
    "--shards", type=click.IntRange(1), multiple=True, default=SHARDS, help="Redis servers; may be repeated."
)
@click.option("--nodes", type=click.IntRange(100), default=20_000, help="Nodes to simulate for each line.")
def main(
    file: Path | None, tasks: tuple[float, ...], gpus: tuple[int, ...], shards: tuple[int, ...], nodes: int
) -> None:
    """Simulate farms with a backlog, of so many GPUs on so many Redis servers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("task s", "GPUs", "Redis", "nodes/s", "GPUs busy", "Redis busy", "wait ms"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("do", no_wrap=True)
    for task in tasks:
        costs = Costs(task)
        if file is not None:
            costs = read_costs(file, costs)
        for size in gpus:
            for servers in shards:
                if servers > size:
                    continue
                seen = simulate(size, servers, costs, nodes=nodes)
                numbers = (f"{task:g}", str(size), str(servers), f"{seen.rate:,.1f}", f"{seen.gpu:.1%}",
                           f"{seen.redis:.1%}", f"{seen.wait * 1000:,.2f}")  # fmt: skip
                table.add_row(*numbers, advice(seen, size, servers, costs))
                if seen.redis < ROOMY:
                    break  # more servers would buy nothing
    Console(width=120).print(table)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.scaling")
