"""How many no-op nodes a second pass through the farm."""

from __future__ import annotations

from collections.abc import Iterator

from .figures import Figure
from .jobs import fan, run, single
from .stage import Stage


def throughput(stage: Stage) -> Iterator[Figure]:
    """Many jobs of one node, and one job of many nodes, with one and with two worker processes."""
    effort = stage.effort
    for processes in (1, 2):
        stage.farm(processes)
        run(stage, [single() for _ in range(20)])
        workers = f"{processes} worker process{'es' if processes > 1 else ''}"
        rates = []
        for number in range(effort.rounds):
            stage.say(f"single-node jobs, {workers}: round {number + 1} of {effort.rounds}")
            rates.append(effort.singles / run(stage, [single() for _ in range(effort.singles)]))
        yield Figure(
            "throughput",
            f"single_{processes}",
            f"single-node jobs, {workers}",
            "nodes/s",
            tuple(rates),
            f"{effort.singles} jobs sent at once, until the last is handed back",
        )
        rates = []
        for number in range(effort.rounds):
            stage.say(f"fan of {effort.fan} nodes, {workers}: round {number + 1} of {effort.rounds}")
            rates.append(effort.fan / run(stage, [fan(effort.fan)]))
        yield Figure(
            "throughput",
            f"fan_{processes}",
            f"fan of {effort.fan} nodes, {workers}",
            "nodes/s",
            tuple(rates),
            "one job: one node, then all others at once, then a join",
        )
