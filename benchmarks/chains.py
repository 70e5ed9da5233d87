"""What one hop of a chain costs, and how that grows with the graph."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from myspinbot_worker.graph.store import RunStore

from . import jobs
from .figures import Figure
from .stage import Stage

LENGTH = 20
PARAMS = {"text": "x" * 1000}


def chain(stage: Stage) -> Iterator[Figure]:
    """Milliseconds a hop: chains of 20, one job at a time, one worker."""
    stage.farm(1)
    jobs.run(stage, [jobs.chain(LENGTH)])
    hops = []
    for number in range(stage.effort.chains):
        stage.say(f"chains of {LENGTH}: {number + 1} of {stage.effort.chains}")
        hops.append(jobs.run(stage, [jobs.chain(LENGTH)]) * 1000 / LENGTH)
    note = f"from the entry to its hand-back, divided by {LENGTH}"
    yield Figure("chain", "hop", f"chain of {LENGTH}, one worker", "ms/node", tuple(hops), note)


SHAPES = {"chain": jobs.chain, "fan": jobs.fan, "random": jobs.random_dag}


def growth(stage: Stage) -> Iterator[Figure]:
    """Time and traffic per node as graphs grow; how long a large graph takes to be taken in."""
    stage.farm(1)
    jobs.run(stage, [jobs.chain(LENGTH)])
    idle = _idle_bytes_a_second(stage, stage.effort.idle_seconds / 2)
    for shape, build in SHAPES.items():
        for size in stage.effort.growth:
            # Small graphs several times: one takes too short to be measured.
            rounds = max(1, min(stage.effort.rounds, 2000 // size))
            times, traffic = [], []
            for number in range(rounds):
                stage.say(f"{shape} of {size}: round {number + 1} of {rounds}")
                job = build(size, PARAMS)
                before = _bytes(stage)
                seconds = jobs.run(stage, [job])
                traffic.append((_bytes(stage) - before - idle * seconds) / size)
                times.append(seconds * 1000 / size)
            what = f"{shape} of {size:,}, one worker"
            note = "1 KB of params a node, outputs are small"
            yield Figure("growth", f"time_{shape}_{size}", what, "ms/node", tuple(times), note)
            note = "to and from Redis, with entry and hand-back, without idling"
            yield Figure("growth", f"bytes_{shape}_{size}", what, "bytes/node", tuple(traffic), note)
    yield from _ingest(stage)


def _ingest(stage: Stage) -> Iterator[Figure]:
    """Time from a large graph's entry to its first node's claim; the job is cancelled then."""
    length = stage.effort.ingest_nodes
    store, times = RunStore(stage.client), []
    rounds = min(3, stage.effort.rounds)
    for number in range(rounds):
        stage.say(f"taking in a graph of {length} nodes: round {number + 1} of {rounds}")
        job = jobs.chain(length, PARAMS)
        with Listener(stage) as listener:
            start = time.perf_counter()
            stage.client.xadd(jobs.DATA, job.fields)
            listener.wait_running(job.id)
            times.append(time.perf_counter() - start)
        store.cancel(job.id)
        stage.wait(lambda: stage.client.xlen(jobs.DATA) == 0, "the cancelled job ends")
    note = "from the entry to the status `running` of its first node"
    yield Figure("growth", "ingest", f"graph of {length} nodes taken in", "s", tuple(times), note)


class Listener:
    """Hears the statuses of jobs from the block's beginning on."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pubsub: Any = stage.client.pubsub()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Listener:
        self._pubsub.psubscribe("channel:status:*")
        self._stage.wait(lambda: self._pubsub.get_message(timeout=0.1) is not None, "a subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._pubsub.close()

    def wait_running(self, job: str) -> None:
        """Until the status of ``job`` is ``running``."""

        def there() -> bool:
            message = self._pubsub.get_message(timeout=0.5)
            if message is None:
                return False
            return bool(message["channel"] == f"channel:status:{job}" and '"running"' in message["data"])

        self._stage.wait(there, f"job {job} runs", pause=0)


def _bytes(stage: Stage) -> int:
    """Bytes Redis has read and written since it started."""
    info = stage.client.info("stats")
    return int(info["total_net_input_bytes"]) + int(info["total_net_output_bytes"])


def _idle_bytes_a_second(stage: Stage, seconds: float) -> float:
    # What follows an earlier job's hand-back is not idling.
    time.sleep(1.0)
    before, start = _bytes(stage), time.perf_counter()
    time.sleep(seconds)
    return (_bytes(stage) - before) / (time.perf_counter() - start)
