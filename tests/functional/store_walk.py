"""Random walks of the Lua scripts beside the pure model, on a real server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import redis
from dramatiq import Message
from hypothesis import strategies as st

from myspinbot_worker.dispatcher import node_message
from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.ending import Handoff, end_visit
from myspinbot_worker.graph.machine import Run
from myspinbot_worker.graph.messages import Messages
from myspinbot_worker.graph.plan import State, Verdict, make_plan
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.graph.transitions import Charge, Limits, ReadyNode, Result, Taking
from myspinbot_worker.keys import NodeRef
from myspinbot_worker.keys import job as job_key
from myspinbot_worker.litter import litter_of
from tests.unit.graphs import text_of

LEASE_MS = 60_000
LATE_SECONDS = 60
"""A key's lifetime is looked at no later than this after it began."""
ENTRY = "1-1"
SERVED, QUEUE = "dummy.dummy_task", "cpu"
"""The service that has a queue; the graphs' other one has none."""
PAYLOAD = '{"message": "", "code": "c", "none": [], "big": 12345678901234567890}'
"""An output or an error that does not survive being decoded and encoded in Lua."""
# Pub/Sub knows no databases: the channels of a running farm are not for this.
QUIET = Messages("quiet:progress", "quiet:status", "quiet:data")


class Walk:
    """One run, in the model and in Redis, driven by the same steps and compared after each."""

    def __init__(self, client: redis.Redis, document: Document, *, keep_going: bool) -> None:
        client.flushdb()
        self.client: Any = client
        self.document = document
        self.plan = make_plan(document)
        limits = Limits(lease_ms=LEASE_MS, max_lost_attempts=2)
        self.store = RunStore(client, messages=QUIET, limits=limits, routes=lambda: {SERVED: QUEUE})
        self.model = Run.admit(self.plan, max_lost_attempts=2, keep_going=keep_going)
        self.now = 0
        self.littered: set[int] = set()
        """Nodes of which starts without a result may have left objects in storage."""
        streams = self.store.streams
        client.xgroup_create(streams.data, streams.group, id="0", mkstream=True)
        client.xadd(streams.data, {"jobId": document.workflow_id}, id=ENTRY)
        client.xreadgroup(streams.group, "test", {streams.data: ">"})
        outcome, ready = self.store.admit(ENTRY, document, self.plan, "1", ("a", "b"), keep_going=keep_going)
        assert outcome == "ok"
        self.compare()
        self.sent(ready)

    def ref(self, index: int) -> NodeRef:
        return NodeRef(ENTRY, index, "job-1")

    def compare(self) -> None:
        """Everything that both have, and what only Redis has."""
        keys, client, nodes = self.store.keys, self.client, self.model.nodes
        run = client.hgetall(keys.run("job-1"))

        def numbers(letter: str) -> list[int]:
            return [int(run.get(f"{letter}:{i}", 0)) for i in range(len(nodes))]

        def refs(state: State) -> set[str]:
            return {str(self.ref(i)) for i, node in enumerate(nodes) if node.state is state}

        same("states", [run[f"s:{i}"] for i in range(len(nodes))], [node.state.value for node in nodes])
        same("tokens", numbers("t"), [node.token for node in nodes])
        same("failed attempts", numbers("a"), [node.failed_attempts for node in nodes])
        same("lost attempts", numbers("x"), [node.lost_attempts for node in nodes])
        same("starts that kept a step", numbers("g"), [node.kept_by for node in nodes])
        same("over", run["over"] == "1", self.model.over)
        same("cancelled", "cancelled" in run, self.model.cancelled)
        same("progress", round(float(run["progress"]), 9), round(self.model.progress, 9))
        same("running nodes", int(run["running"]), len(refs(State.RUNNING)))
        same("ready nodes", int(run["queued"]), len(refs(State.READY)))
        held = [node.state is State.RUNNING and node.lease_until > self.now for node in nodes]
        same("lives of leases", [until > 0 for until in numbers("l")], held)
        same("leases", set(client.zrange(keys.leases, 0, -1)), refs(State.RUNNING))
        outbox = set(client.zrange(keys.outbox, 0, -1))
        same("nodes in the outbox that are not ready", outbox - refs(State.READY), set())
        if not self.model.halted:
            same("ready nodes that nobody will look for", refs(State.READY) - outbox, set())
        same("visits to conclude", client.zrange(keys.over, 0, -1), ["job-1"] if self.model.over else [])
        same("nodes that may have left litter", {i for i, to in enumerate(numbers("u")) if to}, self.littered)
        sent = {text for node in self.document.nodes for text in node.raw.values()}
        same("changed payloads", set(client.hvals(keys.payload("job-1"))) - sent - {PAYLOAD}, set())
        same("the graph", client.get(keys.graph("job-1")), self.document.text)
        same("unacknowledged entries", self.pending(), 1)

    def sent(self, ready: Iterable[ReadyNode]) -> None:
        """What became ready is in its queue, in order, as a message that Dramatiq reads; and is taken away."""
        keys, client = self.store.keys, self.client
        expected = [node for node in ready if node.service == SERVED]
        same("nodes said to be sent", [node for node in ready if node.sent], expected)
        ids = client.lrange(keys.queue(QUEUE), 0, -1)
        same("messages sent", ids, [node.ref.message_id(node.token) for node in expected])
        texts = client.hmget(keys.queued_messages(QUEUE), ids) if ids else []
        for node, text in zip(expected, texts, strict=True):
            message = Message.decode(text.encode())
            as_sent = node_message(node, QUEUE).copy(message_timestamp=message.message_timestamp)
            same("a message", message, as_sent)
        client.delete(keys.queue(QUEUE), keys.queued_messages(QUEUE), keys.heartbeats)

    def pending(self) -> int:
        streams = self.store.streams
        return int(self.client.xpending(streams.data, streams.group)["pending"])

    def claim(self, index: int, token: int, worker: str) -> None:
        was_running = self.model.nodes[index].state is State.RUNNING
        expected = self.model.claim(index, token, self.now, LEASE_MS, worker)
        got = self.store.claim(self.ref(index), token, worker)
        same("claim", getattr(got, "reason", "ok"), expected)
        if expected == "ok" and was_running:
            self.littered.add(index)

    def renew(self, index: int, token: int, fraction: float | None, kept: bool) -> None:
        expected = self.model.renew(index, token, self.now, LEASE_MS, fraction, kept=kept)
        same("renew", self.store.renew(self.ref(index), token, fraction, kept=kept), expected)

    def settle(
        self, index: int, token: int, outcome: State, charge: Charge, delay_ms: int, exhausted: str,
        littered: bool, *, advance: bool,
    ) -> None:  # fmt: skip
        until = self.now + self.store.limits.elsewhere_ms
        expected, ready = self.model.settle(index, token, outcome, charge, exhausted, until)
        result = Result(outcome, PAYLOAD, delay_ms, charge, exhausted, littered)
        if advance:
            taking = Taking(QUEUE, "process", "worker-1", done="none", another=False)
            got, taken = self.store.advance(self.ref(index), token, result, taking, self.client)
            same("what is taken though nothing is wanted", taken, None)
        else:
            got = self.store.settle(self.ref(index), token, **asdict(result))
        same("settle", got.outcome, expected)
        if expected == "ok" and littered:
            self.littered.add(index)
        if outcome is State.READY and not self.model.halted and expected == "ok":
            ready = [] if delay_ms else [index]
        same("nodes made ready", [node.ref.index for node in got.ready], ready)
        self.sent(got.ready)

    def request_cancel(self) -> None:
        """As any other program may."""
        self.model.cancel_requested = True
        self.client.zadd(self.store.keys.cancels, {"job-1": 0})

    def expire(self, index: int) -> None:
        """The lease of one node runs out: moved into the past on both sides, as time itself cannot be."""
        if self.model.nodes[index].state is State.RUNNING:
            self.model.nodes[index].lease_until = self.now
            self.client.hset(self.store.keys.run("job-1"), f"l:{index}", 0)
            self.client.zadd(self.store.keys.leases, {str(self.ref(index)): 0})

    def reap(self) -> None:
        again, lost = self.model.expire(self.now, LEASE_MS)
        self.littered |= {*again, *lost}
        got = self.store.expire("reaper")
        same("nodes lost too often", [node.ref.index for node in got.lost], lost)
        if not self.model.halted:
            same("nodes to start again", [node.ref.index for node in got.again], again)

    def cancel(self) -> None:
        self.model.cancel()
        self.store.cancel("job-1")

    def conclude(self) -> None:
        """The terminal act of a visit that is over: once, and this is what it leaves."""
        keys, client = self.store.keys, self.client
        run, payloads = client.hgetall(keys.run("job-1")), client.hgetall(keys.payload("job-1"))
        ending = end_visit(client.get(keys.graph("job-1")), run, payloads, Handoff())
        same("verdict", ending.verdict, self.model.verdict)

        def act() -> bool:
            done = self.store.conclude(
                "job-1", ENTRY, verdict=ending.verdict, graph=ending.graph, hand_back=ending.hand_back,
                last_progress=ending.last_progress, last_status=ending.last_status, queued=ending.queued,
                litter=litter_of("job-1", ENTRY, ending.unrecorded),
            )  # fmt: skip
            return done is not None

        if not self.model.over:
            same("conclude while it is open", act(), False)
            return
        same("conclude", act(), True)
        streams, snapshot, seen = self.store.streams, job_key("job-1"), keys.seen("job-1")
        comes_again = self.model.verdict is Verdict.HAND_BACK
        left = {streams.data, keys.counters, keys.history, snapshot, seen}
        left |= {streams.control} if ending.hand_back else set()
        left |= {keys.litter} if self.littered else set()
        left |= {keys.cancels} if self.model.cancel_requested and comes_again else set()
        same("what a visit leaves", set(client.keys()), left)
        same("entries", (client.xlen(streams.data), self.pending()), (0, 0))
        same("the graph of the job", client.hget(snapshot, "graph"), ending.graph)
        same("noted litter", client.zcard(keys.litter), len(self.littered))
        for key in left:
            ttl = client.ttl(key)
            full = 0 <= self.store.limits.job_ttl_seconds - ttl < LATE_SECONDS
            lives = "for ever" if ttl < 0 else "as a job" if full else f"{ttl} s"
            same(f"lifetime of {key}", lives, "as a job" if key in (snapshot, seen) else "for ever")
        same("conclude again", act(), False)
        same("hand-backs", client.xlen(streams.control), int(ending.hand_back))


def same(what: str, got: object, expected: object) -> None:
    """Raises AssertionError where the scripts are not like the model."""
    assert got == expected, f"{what}: {got}, not {expected}"


_STEPS = ("claim", "claim", "claim", "settle", "settle", "renew", "expire", "reap", "cancel", "request")
_STEPS_OF_THE_ASKED = ("renew", "settle", "claim")
"""Where a request to cancel is met with."""
_OFF = (0, 0, 0, 0, 0, 0, 1, -1)
_workers = st.sampled_from(["worker-1", "worker-2"])


def walk_at_random(
    client: redis.Redis, graph: dict[str, object], *, keep_going: bool, data: st.DataObject
) -> None:
    """Steps that Hypothesis draws, and the terminal act if the visit is over then."""
    walk = Walk(client, Document.parse(text_of(graph)), keep_going=keep_going)
    indexes = st.integers(0, len(walk.model.nodes) - 1)
    for _ in range(data.draw(st.integers(0, 25))):
        asked = walk.model.cancel_requested and not walk.model.cancelled
        step = data.draw(st.sampled_from(_STEPS_OF_THE_ASKED if asked else _STEPS))
        # Most of what is asked is what may be asked: of a node that is at that point, with the number it has.
        fitting = State.READY if step == "claim" else State.RUNNING
        at_that_point = [i for i, state in enumerate(walk.model.states) if state is fitting]
        astray = data.draw(st.integers(0, 3)) == 0
        index = data.draw(indexes if astray or not at_that_point else st.sampled_from(at_that_point))
        token = walk.model.nodes[index].token + (step == "claim") + data.draw(st.sampled_from(_OFF))
        token = max(1, token)
        match step:
            case "claim":
                walk.claim(index, token, data.draw(_workers))
            case "settle":
                outcome = data.draw(st.sampled_from([State.COMPLETED, State.FAILED, State.READY]))
                walk.settle(
                    index,
                    token,
                    outcome,
                    data.draw(st.sampled_from(Charge)),
                    data.draw(st.sampled_from([0, 5000])),
                    data.draw(st.just("") | _workers),
                    # Who completed may have kept steps; who did not may have left anything.
                    outcome is not State.COMPLETED or data.draw(st.booleans()),
                    advance=data.draw(st.booleans()),
                )
            case "renew":
                walk.renew(index, token, data.draw(st.none() | st.floats(0, 1)), data.draw(st.booleans()))
            case "expire":
                walk.expire(index)
            case "reap":
                walk.reap()
            case "cancel" if data.draw(st.integers(0, 4)) == 0:
                walk.cancel()
            case "request" if data.draw(st.integers(0, 2)) == 0:
                walk.request_cancel()
        walk.compare()
    walk.conclude()
