"""What becomes of the devices' time: how busy a backlog keeps them, what loading models costs, what is not repeated."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator
from typing import Any

from . import jobs
from .figures import Figure
from .gpu_tasks import MODELS, RECORD, REUSABLE
from .stage import Stage

FETCH, COMPUTE, UPLOAD = 0.2, 0.5, 0.2
LOAD, WORK = 1.0, 0.3
WINDOW = 32


def staging(stage: Stage) -> Iterator[Figure]:
    """How much of the time a device is busy while a backlog of tasks fetches, computes and uploads (``-t 2``)."""
    params = {"fetch": FETCH, "compute": COMPUTE, "upload": UPLOAD}
    for threads in (2, 1):
        stage.gpu_farm(1, threads)
        jobs.run(stage, [jobs.of(MODELS[0], {"compute": 0.0})])
        stage.client.delete(RECORD)
        count = stage.effort.staged if threads == 2 else max(4, stage.effort.staged // 4)
        stage.say(f"{count} tasks that fetch, compute and upload, {threads} at a time")
        jobs.run(stage, [jobs.of(MODELS[0], params) for _ in range(count)])
        record = _record(stage)
        busy = sum(until - since for _, _, since, until in record)
        share = 100 * busy / (record[-1][3] - record[0][2])
        note = f"fetch {FETCH * 1000:.0f} ms, compute {COMPUTE * 1000:.0f} ms, upload {UPLOAD * 1000:.0f} ms"
        yield Figure(
            "staging", f"busy_{threads}", f"device busy, -t {threads}, one device", "%", (share,), note
        )
        gaps = [(after[2] - before[3]) * 1000 for before, after in itertools.pairwise(record)]
        yield Figure(
            "staging", f"gap_{threads}", f"between two tasks on the device, -t {threads}", "ms", tuple(gaps)
        )


def affinity(stage: Stage) -> Iterator[Figure]:
    """A backlog of three models in random order on two devices: first come first served, and what is loaded first."""
    scale, count = stage.effort.model_scale, stage.effort.modelled
    found = {}
    for name, window in (("first come", 0), ("loaded first", WINDOW)):
        stage.gpu_farm(2, 1, FARM_AFFINITY_WINDOW=str(window))
        stage.client.delete(RECORD)
        draw = random.Random(1)
        params = {"load": LOAD * scale, "compute": WORK * scale}
        backlog = [jobs.of(draw.choice(MODELS), params) for _ in range(count)]
        stage.say(f"{count} tasks of three models, {name}")
        start = time.monotonic()
        jobs.run(stage, backlog)
        record = _record(stage)
        total, wait = record[-1][3] - start, max(began for _, began, *_ in record) - start
        found[name] = (total, wait)
        note = f"{count} tasks, 2 devices, load {LOAD * scale:.2g} s, compute {WORK * scale:.2g} s"
        key = name.replace(" ", "_")
        yield Figure("affinity", f"total_{key}", f"all of three models done, {name}", "s", (total,), note)
        yield Figure("affinity", f"wait_{key}", f"the longest wait, {name}", "s", (wait,))
    (first_total, first_wait), (total, wait) = found.values()
    yield Figure("affinity", "total_ratio", "total, loaded first / first come", "x", (total / first_total,))
    yield Figure(
        "affinity", "wait_ratio", "longest wait, loaded first / first come", "x", (wait / first_wait,)
    )


def reuse(stage: Stage) -> Iterator[Figure]:
    """A job, and the same again, on a farm that uses results again."""
    stage.gpu_farm(1, 1, FARM_REUSE_RESULTS="true")
    jobs.run(stage, [jobs.of(REUSABLE, {"compute": 0.0})])
    times: dict[str, list[float]] = {"first": [], "again": []}
    device: dict[str, list[float]] = {"first": [], "again": []}
    for number in range(stage.effort.rounds):
        params = {"compute": WORK + number / 1000}
        for name in times:
            stage.say(f"a job and the same again: round {number + 1} of {stage.effort.rounds}")
            stage.client.delete(RECORD)
            times[name].append(jobs.run(stage, [jobs.of(REUSABLE, params)]) * 1000)
            device[name].append(sum(until - since for _, _, since, until in _record(stage)) * 1000)
    for name, what in (("first", "a job"), ("again", "the same job again")):
        yield Figure("reuse", f"device_{name}", f"{what}, time of the device", "ms", tuple(device[name]))
        yield Figure("reuse", f"time_{name}", f"{what}, from entry to hand-back", "ms", tuple(times[name]))


def _record(stage: Stage) -> list[tuple[str, float, float, float]]:
    """Service, beginning, device taken, device given back, in the order of the device."""
    lines: Any = stage.client.lrange(RECORD, 0, -1)
    return sorted((tuple(json.loads(line)) for line in lines), key=lambda entry: entry[2])
