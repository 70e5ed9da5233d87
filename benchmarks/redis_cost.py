"""What a node costs Redis, and what keeping its lease does: the one part of a farm that workers cannot be added to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.keys import NodeRef

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
    yield from _renewals(stage)


def _renewals(stage: Stage) -> Iterator[Figure]:
    """Of a node that nobody works on but whose lease is kept."""
    stage.ingestor()
    store, job = RunStore(stage.client), jobs.single()
    entry: Any = stage.client.xadd(jobs.DATA, job.fields)
    stage.wait(lambda: store.open_runs([entry]) == [job.id], "the job is admitted")
    ref = NodeRef(entry, 0, job.id)
    store.claim(ref, 1, "benchmark")
    count, micros = stage.effort.messages, []
    for number in range(stage.effort.rounds):
        stage.say(f"{count} renewals: round {number + 1} of {stage.effort.rounds}")
        before, _ = _spent(stage)
        for renewal in range(count):
            store.renew(ref, 1, (number + renewal / count) / stage.effort.rounds)
        micros.append((_spent(stage)[0] - before) * 1e6 / count)
    note = "with progress to be published"
    yield Figure("redis", "us_renewal", "Redis, a renewal of a lease", "us", tuple(micros), note)
    store.cancel(job.id)


def _spent(stage: Stage) -> tuple[float, float]:
    """Processor seconds and commands of the server so far."""
    cpu: Any = stage.client.info("cpu")
    stats: Any = stage.client.info("commandstats")
    calls = sum(int(value["calls"]) for value in stats.values())
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]), float(calls)
