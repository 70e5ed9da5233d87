"""Large outputs, many jobs at the door, and how long programs take to start."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

from . import jobs
from .figures import Figure
from .processes import ROOT
from .stage import Stage

OUTPUT = 100_000
IMPORTS = {"cli": "myspinbot_worker.cli", "ingestor": "myspinbot_worker.ingest"}


def outputs(stage: Stage) -> Iterator[Figure]:
    """Bytes that reach Redis for each byte of outputs, in one job whose nodes return 100 KB each."""
    stage.farm(1)
    jobs.run(stage, [jobs.single()])
    count = stage.effort.outputs
    stage.say(f"a chain of {count} nodes with outputs of {OUTPUT:,} bytes")
    before = int(stage.client.info("stats")["total_net_input_bytes"])
    jobs.run(stage, [jobs.large(count, OUTPUT)])
    read = int(stage.client.info("stats")["total_net_input_bytes"]) - before
    note = f"{count} nodes in a chain, entry and hand-back included"
    yield Figure(
        "outputs", "bytes", "bytes to Redis per byte of outputs", "", (read / (count * OUTPUT),), note
    )


def admission(stage: Stage) -> Iterator[Figure]:
    """Single-node jobs a second that an ingestor admits, and what its memory grows by."""
    process = psutil.Process(stage.ingestor())
    count, rates, grown = stage.effort.admitted, [], []
    _admit(stage, 200)
    for number in range(stage.effort.rounds):
        stage.say(f"{count} jobs at once: round {number + 1} of {stage.effort.rounds}")
        before = process.memory_info().rss
        rates.append(count / _admit(stage, count))
        grown.append((process.memory_info().rss - before) / (1 << 20))
    note = f"{count} entries written at once, until the last is admitted; no worker runs"
    yield Figure("admission", "jobs", "single-node jobs admitted", "jobs/s", tuple(rates), note)
    yield Figure("admission", "memory", "ingestor's memory grows by, a round", "MB", tuple(grown))


def _admit(stage: Stage, count: int) -> float:
    client = stage.client
    with client.pipeline(transaction=False) as pipe:
        for _ in range(count):
            pipe.xadd(jobs.DATA, jobs.single().fields)
        start = time.perf_counter()
        pipe.execute()
    stage.wait(lambda: client.hlen("farm:runs") >= count, "all jobs are admitted")
    took = time.perf_counter() - start
    # Nobody will work on them. The group stays: a new one would be a change of scene for the ingestor.
    for pattern in ("farm:run:*", "farm:dramatiq:*"):
        for key in client.scan_iter(pattern, count=1000):
            client.unlink(key)
    client.unlink("farm:runs", "farm:outbox")
    client.xtrim(jobs.DATA, maxlen=0, approximate=False)
    for item in client.xpending_range(jobs.DATA, "workers", "-", "+", count + 1000):
        client.xack(jobs.DATA, "workers", item["message_id"])
    return took


def startup(stage: Stage) -> Iterator[Figure]:
    """Seconds that importing the command line and the ingestor takes."""
    for name, module in IMPORTS.items():
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        times = []
        for _ in range(stage.effort.imports):
            stage.say(f"import of {module}")
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
            )
            times.append(float(done.stdout))
        yield Figure("startup", name, f"import of {module}", "s", tuple(times), "without Python's own start")
