"""What a node costs Redis: the one part of a farm that workers cannot be added to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import jobs
from .figures import Figure
from .stage import Stage


def redis_cost(stage: Stage) -> Iterator[Figure]:
    """Processor time and commands of Redis a node, single-node jobs from entry to hand-back, one worker."""
    stage.farm(1)
    jobs.run(stage, [jobs.single() for _ in range(20)])
    micros, commands, each = [], [], []
    count = stage.effort.singles
    for number in range(stage.effort.rounds):
        stage.say(f"what {count} nodes cost Redis: round {number + 1} of {stage.effort.rounds}")
        before = _spent(stage)
        jobs.run(stage, [jobs.single() for _ in range(count)])
        seconds, calls = (after - then for after, then in zip(_spent(stage), before, strict=True))
        micros.append(seconds * 1e6 / count)
        commands.append(calls / count)
        each.append(seconds * 1e6 / calls)
    note = "processor time of the server, its sockets included"
    yield Figure("redis", "us_node", "Redis, a single-node job", "us/node", tuple(micros), note)
    yield Figure("redis", "commands_node", "commands, a single-node job", "commands/node", tuple(commands))
    yield Figure(
        "redis", "us_command", "Redis, one command", "us/command", tuple(each), "those in scripts included"
    )


def _spent(stage: Stage) -> tuple[float, float]:
    """Processor seconds and commands of the server so far."""
    cpu: Any = stage.client.info("cpu")
    stats: Any = stage.client.info("commandstats")
    calls = sum(int(value["calls"]) for value in stats.values())
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]), float(calls)
