"""What the control plane sends in the crash tests, and how each of it must end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from myspinbot_worker.admission import read_entry
from myspinbot_worker.farm import Farm
from myspinbot_worker.graph.plan import State
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.graph.transitions import Claim, ReadyNode
from tests.functional.harness import graph, node

QUEUED, RUNNING, COMPLETED, FAILED = "queued", "running", "completed", "failed"


@dataclass(frozen=True)
class Visit:
    """One job's entries and their one right ending.

    Attributes:
        job: The job's id.
        entries: Fields of its stream entries.
        statuses: All that is ever heard on its status channel.
        nodes: Statuses of the nodes in ``job:<id>``; a set where the moment of the crash decides.
        backs: How often a graph comes back.
        dead: Codes of the dead letters.
        inputs: Inputs of nodes in the final graph.
        results: How often results are recorded, all nodes and visits together; None if the moment decides.
        errors: Codes of the errors in the final graph.
    """

    job: str
    entries: list[dict[str, str]]
    statuses: list[str]
    nodes: dict[str, str | set[str]] = field(default_factory=dict)
    backs: int = 0
    dead: list[str] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    results: int | None = 0
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """Visits that a crew works off, and what an earlier crew left behind."""

    visits: list[Visit]
    prepare: Callable[[Farm, dict[str, list[str]]], None] = lambda farm, entries: None


def _entry(job: str, document: dict[str, Any], created: int = 1_700_000_000_000) -> dict[str, str]:
    return {"jobId": job, "created": str(created), "graph": json.dumps(document)}


def _visit(
    job: str,
    nodes: list[dict[str, Any]],
    edges: list[tuple[str, ...]],
    statuses: list[str],
    ended: dict[str, str | set[str]],
    **more: Any,
) -> Visit:
    return Visit(job, [_entry(job, graph(nodes, edges, job))], statuses, ended, **more)


def everything() -> World:
    """A chain with a join, a retry, an unknown service, failures taken up, skips: one graph."""
    echo = "crash.echo"
    nodes = [
        node("start", echo, params={"output": {"x": 1, "from": "start"}}),
        node("again", "crash.retry"),
        node("side", echo, params={"output": {"y": 2, "from": "side"}}),
        node("join", echo, input={"own": [], "x": 0}),
        node("unknown", "no.such"),
        node("instead", echo),
        node("fails", "crash.fail"),
        node("rescue", echo),
        node("unneeded", echo),
        node("further", echo),
    ]
    edges = [
        ("start", "again"), ("start", "side"), ("again", "join"), ("side", "join"),
        ("unknown", "instead", "on_failure"), ("start", "fails"), ("fails", "rescue", "on_failure"),
        ("start", "unneeded", "on_failure"), ("unneeded", "further"),
    ]  # fmt: skip
    ended: dict[str, str | set[str]] = {item["id"]: COMPLETED for item in nodes}
    ended |= {"unknown": FAILED, "fails": FAILED, "unneeded": "skipped", "further": "skipped"}
    return World(
        [
            _visit(
                "everything", nodes, edges, [QUEUED, RUNNING, COMPLETED], ended, results=8,
                inputs={"join": {"own": [], "x": 0, "from": "side", "y": 2}},
                errors={"unknown": "unknown_service", "fails": "internal"},
            )
        ]
    )  # fmt: skip


def entries() -> World:
    """Every way in which an entry can end, one after another in one stream."""
    job = "twice"
    twice = _entry(job, graph([node("a", "crash.echo")], [], job))
    job = "waits"
    first = _entry(job, graph([node("a", "crash.echo", params={"n": 1})], [], job), 1)
    second = _entry(job, graph([node("a", "crash.echo", params={"n": 2})], [], job), 2)
    whole = [QUEUED, RUNNING, COMPLETED]
    return World(
        [
            Visit("garbled", [{"jobId": "garbled", "created": "1", "graph": "{"}], [FAILED], dead=["bad_entry"]),
            Visit("nameless", [{"graph": "{}"}], [], dead=["bad_entry"]),
            _visit(
                "over-at-once", [node("a", status="completed"), node("b", plane="node")], [("a", "b")],
                [], {"a": COMPLETED, "b": "pending"}, backs=1,
            ),
            _visit(
                "stuck-at-once", [node("a", status="failed"), node("b")], [("a", "b")],
                [FAILED], {"a": FAILED, "b": "skipped"},
            ),
            _visit(
                "hand-back",
                [node("a", "crash.echo"), node("b", plane="node"), node("c", "crash.echo")],
                [("a", "b"), ("b", "c")],
                [QUEUED, RUNNING], {"a": COMPLETED, "b": "pending", "c": "pending"}, backs=1, results=1,
            ),
            Visit("twice", [twice, twice], whole, {"a": COMPLETED}, backs=1, dead=["duplicate"], results=1),
            Visit("waits", [first, second], whole * 2, {"a": COMPLETED}, backs=2, results=2),
            _visit(
                "fails", [node("a", "crash.fail"), node("b", "crash.echo")], [("a", "b")],
                [QUEUED, RUNNING, FAILED], {"a": FAILED, "b": "skipped"}, results=1, errors={"a": "internal"},
            ),
            _visit(
                "cancelled", [node("a", "crash.cancel"), node("b", "crash.echo")], [("a", "b")],
                [QUEUED, RUNNING, FAILED], {"a": {COMPLETED, FAILED}, "b": {FAILED, "pending"}},
                results=None,
            ),
        ]
    )  # fmt: skip


def leftovers() -> World:
    """What crews that died long ago have left: nothing here goes on but by reconciliation."""
    whole = [QUEUED, RUNNING, COMPLETED]

    def single(job: str, statuses: list[str] = whole, ended: str = COMPLETED, **more: Any) -> Visit:
        backs = int(ended == COMPLETED)
        return _visit(job, [node("a", "crash.echo")], [], statuses, {"a": ended}, backs=backs, **more)

    return World(
        [
            single("read", results=1),
            single("unsent", results=1),
            single("fetched", results=1),
            single("claimed", results=1),
            single("settled", results=1),
            single("poison", [QUEUED, RUNNING, FAILED], FAILED, results=1, errors={"a": "worker_lost"}),
            single("halted", [QUEUED, RUNNING, FAILED], FAILED, errors={"a": "cancelled"}),
            _visit(
                "retried", [node("a", "crash.retry"), node("b", "crash.echo")], [("a", "b")],
                whole, {"a": COMPLETED, "b": COMPLETED}, backs=1, results=2,
            ),
        ],
        _leave,
    )  # fmt: skip


def _leave(farm: Farm, entries: dict[str, list[str]]) -> None:
    """What happened to each job of :func:`leftovers` before its crew died."""
    # Services without queues: nothing is sent but what is said so below.
    own = farm.store
    store, client = RunStore(farm.client, own.keys, own.streams, own.messages, own.limits), own.client
    farm.broker.broker_id = "long-dead"
    farm.bridge.ensure_group()
    got = {entry.id: entry for entry in farm.bridge.read("long-dead", 100, 0.001)}

    def admit(job: str) -> ReadyNode:
        admission = read_entry(entries[job][0], got[entries[job][0]].fields)
        _, ready = store.admit(
            entries[job][0], admission.document, admission.plan, admission.created,
            admission.fingerprint, keep_going=False,
        )  # fmt: skip
        return ready[0]

    def claim(item: ReadyNode) -> ReadyNode:
        assert isinstance(store.claim(item.ref, item.token, "long-dead"), Claim)
        return item

    admit("unsent")
    farm.dispatcher().send([admit("fetched"), claim(admit("claimed"))])
    assert len(farm.broker.do_fetch("cpu", 2)) == 2
    done = claim(admit("settled"))
    assert store.settle(done.ref, done.token, State.COMPLETED, '{"from": "a"}').over
    claim(admit("poison"))
    client.hset(store.keys.run("poison"), "x:0", store.limits.max_lost_attempts - 1)
    claim(admit("halted"))
    assert store.cancel("halted") == 1
    again = claim(admit("retried"))
    store.settle(again.ref, again.token, State.READY, '{"message": "", "code": ""}', delay_ms=60_000)


def taken() -> World:
    """A node that a crew took with it when it died long ago, and nothing else: only its lease tells of it."""
    visit = _visit(
        "taken",
        [node("a", "crash.echo")],
        [],
        [QUEUED, RUNNING, COMPLETED],
        {"a": COMPLETED},
        backs=1,
        results=1,
    )
    return World([visit], _die_with_it)


def _die_with_it(farm: Farm, entries: dict[str, list[str]]) -> None:
    farm.bridge.ensure_group()
    (entry,) = farm.bridge.read("long-dead", 1, 0.001)
    given = read_entry(entry.id, entry.fields)
    _, (ready,) = farm.store.admit(
        entry.id, given.document, given.plan, given.created, given.fingerprint, keep_going=False
    )
    assert isinstance(farm.store.claim(ready.ref, ready.token, "long-dead"), Claim)
    keys = farm.store.keys
    farm.client.delete(keys.queue("cpu"), keys.queued_messages("cpu"))


WORLDS: dict[str, Callable[[], World]] = {
    "everything": everything,
    "entries": entries,
    "leftovers": leftovers,
    "taken": taken,
}


def submit(client: redis.Redis, world: World) -> dict[str, list[str]]:
    """Put all entries on the stream; their ids by job."""
    untyped: Any = client
    return {
        visit.job: [untyped.xadd("process:data", fields) for fields in visit.entries]
        for visit in world.visits
    }
