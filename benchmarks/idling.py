"""What the farm costs while nothing is to be done, and how quickly it takes up what comes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from . import jobs
from .figures import Figure
from .marks import MARKS
from .stage import Stage


def idle(stage: Stage) -> Iterator[Figure]:
    """Redis commands a second of an ingestor, and of an idle worker beside it."""
    stage.ingestor()
    ingestor, often = commands_a_second(stage)
    yield Figure("idle", "ingestor", "one idle ingestor", "commands/s", (ingestor,), often)
    stage.farm(1)
    jobs.run(stage, [jobs.single()])
    both, often = commands_a_second(stage)
    yield Figure("idle", "farm", "one ingestor and one worker, idle", "commands/s", (both,), often)
    note = "what both ask for, less what the ingestor asks for alone"
    yield Figure("idle", "worker", "one idle worker", "commands/s", (max(0.0, both - ingestor),), note)


def commands_a_second(stage: Stage) -> tuple[float, str]:
    """Commands that idle processes send, and those that are sent most."""
    seconds = stage.effort.idle_seconds
    stage.say(f"idling for {seconds:.0f} seconds")
    # What a process asks as it starts is not idling.
    time.sleep(5.0)
    before, start = _calls(stage), time.perf_counter()
    time.sleep(seconds)
    after, took = _calls(stage), time.perf_counter() - start
    made = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    made.pop("info", None)
    often = sorted(made.items(), key=lambda item: -item[1])
    most = ", ".join(f"{name} {count / took:.1f}" for name, count in often[:5])
    return sum(made.values()) / took, f"those within scripts included: {most}"


def pickup(stage: Stage) -> Iterator[Figure]:
    """Milliseconds from a job's entry to its task's first line when nothing else is to be done."""
    stage.farm(1)
    times = []
    for number in range(stage.effort.pickups + 1):
        stage.say(f"idle pick-up: {number} of {stage.effort.pickups}")
        job = jobs.single("benchmark.mark")
        time.sleep(random.uniform(0.05, 0.15))
        start = time.monotonic()
        stage.client.xadd(jobs.DATA, job.fields)
        (began,) = _marks(stage, 1)
        times.append((float(began) - start) * 1000)
    # The first one meets cold processes.
    note = "from the entry to the task's first line"
    yield Figure("pickup", "mark", "idle pick-up, one worker", "ms", tuple(times[1:]), note)


def gap(stage: Stage) -> Iterator[Figure]:
    """Milliseconds between two tasks of a worker of the GPU queue that has enough to do."""
    stage.farm(1, "gpu")
    count = stage.effort.busy
    stage.say(f"{count} tasks one after the other")
    jobs.run(stage, [jobs.busy(0.0)])
    _marks(stage, 1)
    jobs.run(stage, [jobs.busy(0.05) for _ in range(count)])
    spans = sorted(tuple(map(float, text.split())) for text in _marks(stage, count))
    gaps = [(begin - end) * 1000 for (_, end), (begin, _) in pairwise(spans)]
    note = "tasks of 50 ms, one job each; one thread, so that one message is in hand"
    yield Figure("gap", "busy", "device idle between two tasks", "ms", tuple(gaps), note)


def _marks(stage: Stage, count: int) -> list[str]:
    found: list[str] = []
    for _ in range(count):
        came: Any = stage.client.blpop([MARKS], timeout=60)
        if came is None:
            raise stage.failure("a task begins")
        found.append(came[1])
    return found


def _calls(stage: Stage) -> dict[str, int]:
    """How often each command has been called."""
    stats = stage.client.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(value["calls"]) for name, value in stats.items()}
