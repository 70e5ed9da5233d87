"""The Lua scripts held against the pure model by random walks on a real server."""

from __future__ import annotations

import json

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.machine import Run
from myspinbot_worker.graph.messages import Messages
from myspinbot_worker.graph.plan import State, make_plan
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.graph.transitions import Claim, Limits, Refused, Settled
from myspinbot_worker.keys import NodeRef
from tests.unit.graphs import graphs, text_of

LEASE_MS = 60_000
ENTRY = "1-1"
# Pub/Sub knows no databases: the channels of a running farm are not for this.
QUIET = Messages("quiet:progress", "quiet:status", "quiet:data")


class Walk:
    """One run, in the model and in Redis, driven by the same steps and compared after each."""

    def __init__(self, client: redis.Redis, document: Document, *, keep_going: bool) -> None:
        client.flushdb()
        self.client = client
        self.plan = make_plan(document)
        self.store = RunStore(client, messages=QUIET, limits=Limits(lease_ms=LEASE_MS, max_lost_attempts=2))
        self.model = Run.admit(self.plan, max_lost_attempts=2, keep_going=keep_going)
        self.now = 0
        streams = self.store.streams
        client.xgroup_create(streams.data, streams.group, id="0", mkstream=True)
        client.xadd(streams.data, {"jobId": document.workflow_id}, id=ENTRY)
        client.xreadgroup(streams.group, "test", {streams.data: ">"})
        outcome, _ = self.store.admit(ENTRY, document, self.plan, "1", ("a", "b"), keep_going=keep_going)
        assert outcome == "ok"
        self.compare()

    def ref(self, index: int) -> NodeRef:
        return NodeRef(ENTRY, index, "job-1")

    def compare(self) -> None:
        run = self.client.hgetall(self.store.keys.run("job-1"))
        size = len(self.model.nodes)
        assert [run[f"s:{i}"] for i in range(size)] == [node.state.value for node in self.model.nodes]
        assert [int(run.get(f"t:{i}", 0)) for i in range(size)] == [node.token for node in self.model.nodes]
        assert [int(run.get(f"a:{i}", 0)) for i in range(size)] == [
            n.failed_attempts for n in self.model.nodes
        ]
        assert [int(run.get(f"x:{i}", 0)) for i in range(size)] == [n.lost_attempts for n in self.model.nodes]
        assert (run["over"] == "1") == self.model.over
        assert ("cancelled" in run) == self.model.cancelled
        assert abs(float(run["progress"]) - self.model.progress) < 1e-9
        assert int(run["running"]) == self.model.states.count(State.RUNNING)
        assert int(run["queued"]) == self.model.states.count(State.READY)
        leased = {str(self.ref(i)) for i, state in enumerate(self.model.states) if state is State.RUNNING}
        assert set(self.client.zrange(self.store.keys.leases, 0, -1)) == leased
        waiting = {str(self.ref(i)) for i, state in enumerate(self.model.states) if state is State.READY}
        outbox = set(self.client.zrange(self.store.keys.outbox, 0, -1))
        assert outbox <= waiting
        if not self.model.halted:
            assert outbox == waiting, "a ready node that nobody will look for is lost"
        over = self.client.zrange(self.store.keys.over, 0, -1)
        assert over == (["job-1"] if self.model.over else []), (
            "an ended visit that nobody will conclude is lost"
        )

    def claim(self, index: int, token: int) -> None:
        expected = self.model.claim(index, token, self.now, LEASE_MS)
        got = self.store.claim(self.ref(index), token, "worker")
        assert getattr(got, "reason", "ok") == expected

    def renew(self, index: int, token: int, fraction: float | None) -> None:
        expected = self.model.renew(index, token, self.now, LEASE_MS, fraction)
        assert self.store.renew(self.ref(index), token, fraction) == expected

    def settle(self, index: int, token: int, outcome: State) -> None:
        expected, ready = self.model.settle(index, token, outcome)
        got: Settled = self.store.settle(self.ref(index), token, outcome, "{}")
        assert got.outcome == expected
        if outcome is not State.READY:
            assert [node.ref.index for node in got.ready] == ready

    def expire(self, index: int) -> None:
        """The lease of one node runs out: moved into the past on both sides, as time itself cannot be."""
        if self.model.nodes[index].state is State.RUNNING:
            self.model.nodes[index].lease_until = self.now
            self.client.hset(self.store.keys.run("job-1"), f"l:{index}", 0)
            self.client.zadd(self.store.keys.leases, {str(self.ref(index)): 0})

    def reap(self) -> None:
        again, lost = self.model.expire(self.now, LEASE_MS)
        got = self.store.expire("reaper")
        assert [node.ref.index for node in got.lost] == lost
        if not self.model.halted:
            assert [node.ref.index for node in got.again] == again

    def cancel(self) -> None:
        self.model.cancel()
        self.store.cancel("job-1")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs(plain=True), keep_going=st.booleans(), data=st.data())
def test_scripts_do_what_the_model_does(
    text_client: redis.Redis, graph: dict[str, object], keep_going: bool, data: st.DataObject
) -> None:
    walk = Walk(text_client, Document.parse(text_of(graph)), keep_going=keep_going)
    indexes = st.integers(0, len(walk.model.nodes) - 1)
    for _ in range(data.draw(st.integers(0, 25))):
        index = data.draw(indexes)
        token = max(1, walk.model.nodes[index].token + data.draw(st.sampled_from([0, 0, 1, 1, 1, -1, 2])))
        match data.draw(
            st.sampled_from(
                ["claim", "claim", "claim", "settle", "settle", "renew", "expire", "reap", "cancel"]
            )
        ):
            case "claim":
                walk.claim(index, token)
            case "settle":
                walk.settle(
                    index, token, data.draw(st.sampled_from([State.COMPLETED, State.FAILED, State.READY]))
                )
            case "renew":
                walk.renew(index, token, data.draw(st.none() | st.floats(0, 1)))
            case "expire":
                walk.expire(index)
            case "reap":
                walk.reap()
            case "cancel" if data.draw(st.integers(0, 4)) == 0:
                walk.cancel()
        walk.compare()


def test_payloads_pass_through_unchanged(text_client: redis.Redis) -> None:
    params = '{"empty": [], "big": 12345678901234567890, "one": 1.0, "text": "\\u00e9\\ud83d"}'
    text = (
        '{"schema":"langgraph.v1","workflowId":"job-1","edges":[{"from":"b","to":"a"}],"nodes":['
        f'{{"id":"a","service":"s","plane":"python","status":"pending","params":{params}}},'
        '{"id":"b","service":"s","plane":"node","status":"completed","output":{"x": [] }}]}'
    )
    json.loads(text)
    walk = Walk(text_client, Document.parse(text), keep_going=False)
    claim = walk.store.claim(walk.ref(0), 1, "worker")
    assert claim.params == params  # type: ignore[union-attr]
    assert claim.outputs == ('{"x": [] }',)  # type: ignore[union-attr]


def test_a_claim_whose_reply_was_lost_is_given_again(text_client: redis.Redis) -> None:
    text = (
        '{"schema":"langgraph.v1","workflowId":"job-1","edges":[],"nodes":['
        '{"id":"a","service":"s","plane":"python","status":"pending"}]}'
    )
    walk = Walk(text_client, Document.parse(text), keep_going=False)
    first = walk.store.claim(walk.ref(0), 1, "worker", "call-1")
    assert isinstance(first, Claim)
    again = walk.store.claim(walk.ref(0), 1, "worker", "call-1")
    assert again == first
    other = walk.store.claim(walk.ref(0), 1, "worker", "call-2")
    assert isinstance(other, Refused)
    assert other.reason == "leased"
    walk.model.claim(0, 1, walk.now, LEASE_MS)
    walk.compare()
