"""What the farm costs while nothing is to be done, and how quickly it takes up what comes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from . import jobs
from .chains import Listener
from .figures import Figure
from .stage import Stage


def idle(stage: Stage) -> Iterator[Figure]:
    """Redis commands a second of one ingestor and one idle worker."""
    stage.farm(1)
    jobs.run(stage, [jobs.single()])
    seconds = stage.effort.idle_seconds
    stage.say(f"idling for {seconds:.0f} seconds")
    time.sleep(1.0)
    before, start = _calls(stage), time.perf_counter()
    time.sleep(seconds)
    after, took = _calls(stage), time.perf_counter() - start
    made = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    made.pop("info", None)
    often = sorted(made.items(), key=lambda item: -item[1])
    most = ", ".join(f"{name} {count / took:.1f}" for name, count in often[:5])
    note = f"those within scripts included: {most}"
    rate = sum(made.values()) / took
    yield Figure("idle", "commands", "one ingestor, one idle worker", "commands/s", (rate,), note)


def pickup(stage: Stage) -> Iterator[Figure]:
    """Milliseconds from a job's entry to its status ``running`` when nothing else is to be done."""
    stage.farm(1)
    jobs.run(stage, [jobs.single()])
    times = []
    with Listener(stage) as listener:
        for number in range(stage.effort.pickups):
            stage.say(f"idle pick-up: {number + 1} of {stage.effort.pickups}")
            job = jobs.single()
            time.sleep(random.uniform(0.05, 0.15))
            start = time.perf_counter()
            stage.client.xadd(jobs.DATA, job.fields)
            listener.wait_running(job.id)
            times.append((time.perf_counter() - start) * 1000)
    yield Figure(
        "pickup", "running", "idle pick-up, one worker", "ms", tuple(times), "from the entry to `running`"
    )


def _calls(stage: Stage) -> dict[str, int]:
    """How often each command has been called."""
    stats = stage.client.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(value["calls"]) for name, value in stats.items()}
