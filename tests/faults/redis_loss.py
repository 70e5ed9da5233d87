"""What is lost when Redis itself is killed: acknowledged writes of before, looked for after its restart.

``python -m tests.faults.redis_loss`` puts a server under load, kills it (SIGKILL), starts it on what it left on
disk, and counts; so many times for each way of flushing its log. SIGKILL takes the server's memory and not the
kernel's: what was written and not flushed survives it, and would not survive a power cut.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rich.console import Console
from rich.table import Table

from myspinbot_worker.admission import read_entry
from myspinbot_worker.embedded import EmbeddedRedis
from myspinbot_worker.graph.ending import Handoff, end_visit
from myspinbot_worker.graph.plan import State
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.keys import job as job_key
from tests.functional.harness import graph, node

MODES: dict[str, tuple[str, ...] | None] = {
    "always": ("--appendfsync", "always"),
    "everysec": ("--appendfsync", "everysec"),
    "no": ("--appendfsync", "no"),
    "(no log)": None,
}
"""How the log is flushed; without a log it can be seen that what is lost is noticed."""
SENDERS, FARMERS = 2, 2
_LOAD_SECONDS = (0.5, 1.5)
"""From the first write to the kill, at random."""


@dataclass
class Acknowledged:
    """What Redis said it had done: ids of entries by their jobs, and jobs that ended."""

    entries: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)


@dataclass
class Loss:
    """Counts over all kills of one mode."""

    mode: str
    kills: int = 0
    entries: int = 0
    entries_lost: int = 0
    acts: int = 0
    acts_lost: int = 0
    torn: int = 0
    """Acts of which only a part was there."""
    seconds: float = 0.0


def _client(url: str) -> Any:
    return redis.Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0), socket_timeout=30)


def _send(url: str, said: Acknowledged, begun: threading.Event) -> None:
    """The control plane: an entry after the other, until Redis is gone."""
    client, number = _client(url), 0
    while True:
        number += 1
        document = graph([node("a", output={"some": "result"})])
        fields = {"jobId": document["workflowId"], "created": str(number), "graph": json.dumps(document)}
        try:
            said.entries[document["workflowId"]] = client.xadd("process:data", fields)
        except redis.RedisError:
            return
        begun.set()


def _farm(url: str, name: str, said: Acknowledged) -> None:
    """Ingestor and worker: a visit after the other, from its entry to its terminal act."""
    client = _client(url)
    store = RunStore(client)
    while True:
        try:
            for _, entries in (
                client.xreadgroup("workers", name, {"process:data": ">"}, count=10, block=20) or []
            ):
                for entry, fields in entries:
                    said.ended.append(_visit(store, entry, fields, name))
        except redis.RedisError:
            return


def _visit(store: RunStore, entry: str, fields: dict[str, str], worker: str) -> str:
    """One node, done at once; the job."""
    encoded = {key.encode(): value.encode() for key, value in fields.items()}
    admission = read_entry(entry, encoded)
    _, ready = store.admit(
        entry, admission.document, admission.plan, admission.created, admission.fingerprint, keep_going=False
    )
    store.claim(ready[0].ref, 1, worker)
    store.settle(ready[0].ref, 1, State.COMPLETED, '{"some": "result"}')
    job, keys, client = fields["jobId"], store.keys, store.client
    run, payloads = client.hgetall(keys.run(job)), client.hgetall(keys.payload(job))
    ending = end_visit(client.get(keys.graph(job)), run, payloads, Handoff())
    store.conclude(
        job, entry, verdict=ending.verdict, graph=ending.graph, hand_back=ending.hand_back,
        last_progress=ending.last_progress, last_status=ending.last_status,
    )  # fmt: skip
    return job


@contextmanager
def _load(url: str, begun: threading.Event) -> Iterator[list[Acknowledged]]:
    """Senders and farmers at work; all have ended after the block, in which Redis is killed."""
    said = [Acknowledged() for _ in range(SENDERS + FARMERS)]
    threads = [threading.Thread(target=_send, args=(url, one, begun)) for one in said[:SENDERS]]
    threads += [
        threading.Thread(target=_farm, args=(url, f"farmer-{number}", one))
        for number, one in enumerate(said[SENDERS:])
    ]
    for thread in threads:
        thread.start()
    yield said
    for thread in threads:
        thread.join()


def kill_once(server: EmbeddedRedis, chance: random.Random, loss: Loss) -> None:
    """Load, kill, restart, look."""
    begun = threading.Event()
    with _client(server.url) as client:
        client.flushall()
        client.xgroup_create("process:data", "workers", id="0", mkstream=True)
    with _load(server.url, begun) as said:
        begun.wait(30)
        time.sleep(chance.uniform(*_LOAD_SECONDS))
        server.kill()
    server.start()
    with _client(server.url) as client:
        _look(client, said, loss)
    loss.kills += 1


def _look(client: Any, said: list[Acknowledged], loss: Loss) -> None:
    there = {entry for entry, _ in client.xrange("process:data")}
    backs = {fields["jobId"] for _, fields in client.xrange("process:control")}
    snapshots = set(client.scan_iter("job:*", count=10_000))
    for one in said:
        for job, entry in one.entries.items():
            loss.entries += 1
            loss.entries_lost += entry not in there and job_key(job) not in snapshots
        entries = {job: entry for each in said for job, entry in each.entries.items()}
        for job in one.ended:
            loss.acts += 1
            parts = (job in backs, job_key(job) in snapshots, entries.get(job) not in there)
            loss.acts_lost += not all(parts)
            loss.torn += any(parts[:2]) and not all(parts)


def measure(mode: str, kills: int, seed: int) -> Loss:
    """Kill a server so often."""
    loss, chance, config = Loss(mode), random.Random(seed), MODES[mode]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="redis-loss-") as folder:
        server = EmbeddedRedis(Path(folder), aof=config is not None, config=config or ())
        with server:
            for _ in range(kills):
                kill_once(server, chance, loss)
    loss.seconds = time.monotonic() - began
    return loss


def table_of(losses: list[Loss]) -> Table:
    table = Table(title="Acknowledged writes lost when Redis was killed (SIGKILL)", title_justify="left")
    table.add_column("appendfsync")
    for column in ("kills", "XADDs", "lost", "terminal acts", "lost", "torn", "seconds"):
        table.add_column(column, justify="right")
    for loss in losses:
        counts = (loss.kills, loss.entries, loss.entries_lost, loss.acts, loss.acts_lost, loss.torn)
        table.add_row(loss.mode, *(f"{count:,}" for count in counts), f"{loss.seconds:.0f}")
    return table


@click.command()
@click.option("--mode", "modes", type=click.Choice(list(MODES)), multiple=True, default=list(MODES))
@click.option("--kills", default=10, show_default=True, help="Of each mode.")
@click.option("--seed", default=1, show_default=True, help="Of the moments of the kills.")
def main(modes: tuple[str, ...], kills: int, seed: int) -> None:
    """Count the acknowledged writes that are lost when Redis is killed; exits with 1 if a log lost any."""
    losses = [measure(mode, kills, seed) for mode in modes]
    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(table_of(losses))
    console.print("SIGKILL leaves the kernel's memory alone: this says nothing of a power cut.")
    sys.exit(any((loss.entries_lost or loss.acts_lost) and MODES[loss.mode] for loss in losses))


if __name__ == "__main__":
    main(prog_name="python -m tests.faults.redis_loss")
