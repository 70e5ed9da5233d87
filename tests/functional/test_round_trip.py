"""Any valid graph survives admission and hand-back: property tests on a real server, in one process."""

from __future__ import annotations

import json
from typing import Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from myspinbot_worker.admission import read_entry
from myspinbot_worker.graph.ending import Handoff, end_visit
from myspinbot_worker.graph.messages import Messages
from myspinbot_worker.graph.plan import State
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.graph.transitions import Claim
from myspinbot_worker.keys import NodeRef
from tests.unit.graphs import graphs, text_of

ENTRY = "1-1"
# Pub/Sub knows no databases: the channels of a running farm are not for this.
QUIET = Messages("quiet:progress", "quiet:status", "quiet:data")
MAY_CHANGE = {"status", "input", "output", "error", "retries"}


def run_to_the_end(client: Any, text: str, data: st.DataObject) -> str:
    """Drive the visit with random outcomes; the graph as the conclusion wrote it."""
    client.flushdb()
    store = RunStore(client, messages=QUIET)
    streams, keys = store.streams, store.keys
    client.xgroup_create(streams.data, streams.group, id="0", mkstream=True)
    client.xadd(streams.data, {"jobId": "job-1", "created": "5", "graph": text}, id=ENTRY)
    client.xreadgroup(streams.group, "test", {streams.data: ">"})
    admission = read_entry(ENTRY, {b"jobId": b"job-1", b"created": b"5", b"graph": text.encode()})
    outcome, ready = store.admit(
        ENTRY,
        admission.document,
        admission.plan,
        "5",
        admission.fingerprint,
        keep_going=data.draw(st.booleans()),
    )
    assert outcome == "ok"
    waiting = [(node.ref.index, node.token) for node in ready]
    while waiting:
        index, token = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        claim = store.claim(NodeRef(ENTRY, index, "job-1"), token, "test")
        if not isinstance(claim, Claim):
            continue
        result = data.draw(st.sampled_from([State.COMPLETED, State.COMPLETED, State.FAILED, State.READY]))
        payload = '{"message":"m","code":"c"}' if result is not State.COMPLETED else '{"x": [], "y": 1.0}'
        settled = store.settle(claim.ref, claim.token, result, payload)
        waiting += [(node.ref.index, node.token) for node in settled.ready]
        if result is State.READY:
            waiting.append((index, claim.token + 1))
    run = client.hgetall(keys.run("job-1"))
    assert run["over"] == "1", "the end is reached"
    ending = end_visit(client.get(keys.graph("job-1")), run, client.hgetall(keys.payload("job-1")), Handoff())
    assert store.conclude(
        "job-1", ENTRY, verdict=ending.verdict, graph=ending.graph, hand_back=ending.hand_back,
        last_progress=ending.last_progress, last_status=ending.last_status, queued=ending.queued,
    )  # fmt: skip
    left = set(client.scan_iter()) - {streams.data, streams.control, keys.history, keys.counters}
    assert left == {"job:job-1", keys.seen("job-1")}
    assert client.xlen(streams.data) == 0
    assert client.xpending(streams.data, streams.group)["pending"] == 0
    assert client.exists(streams.control) == ending.hand_back
    return str(client.hget("job:job-1", "graph"))


def exact(text: str) -> Any:
    """Parsed so that 1 and 1.0, key order and duplicates can be told apart."""
    return json.loads(
        text, parse_float=lambda digits: ("float", digits), object_pairs_hook=lambda pairs: ("{", pairs)
    )


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=graphs(max_nodes=5), data=st.data())
def test_only_five_fields_of_nodes_change(
    text_client: redis.Redis, graph: dict[str, Any], data: st.DataObject
) -> None:
    sent = text_of(graph)
    back = run_to_the_end(text_client, sent, data)
    _, before = exact(sent)
    _, after = exact(back)
    assert [name for name, _ in before] == [name for name, _ in after]
    for (name, old), (_, new) in zip(before, after, strict=True):
        if name != "nodes":
            assert old == new
            continue
        for (_, old_node), (_, new_node) in zip(old, new, strict=True):
            was, now = dict(old_node), dict(new_node)
            assert set(was) <= set(now)
            assert set(now) - set(was) <= MAY_CHANGE
            assert {k: v for k, v in was.items() if k not in MAY_CHANGE} == {
                k: v for k, v in now.items() if k not in MAY_CHANGE
            }
            assert [name for name in was if name in now] == [name for name in now if name in was], "key order"


def test_the_second_visit_takes_what_the_first_handed_back(text_client: redis.Redis) -> None:
    """A graph that came back is itself a valid entry, whatever was in it."""
    sent = (
        '{"schema":"langgraph.v1","workflowId":"job-1","nodes":[{"id":"a","service":"s","plane":"python",'
        '"status":"pending"},{"id":"b","service":"s","plane":"node","status":"pending"}],'
        '"edges":[{"from":"a","to":"b","kind":"on_success"}]}'
    )
    client: Any = text_client
    client.flushdb()
    store = RunStore(client, messages=QUIET)
    client.xgroup_create(store.streams.data, store.streams.group, id="0", mkstream=True)
    fields = {b"jobId": b"job-1", b"created": b"1", b"graph": sent.encode()}
    admission = read_entry("1-1", fields)
    client.xadd(store.streams.data, {"jobId": "job-1"}, id="1-1")
    client.xreadgroup(store.streams.group, "t", {store.streams.data: ">"})
    _, (ready,) = store.admit(
        "1-1", admission.document, admission.plan, "1", admission.fingerprint, keep_going=False
    )
    claim = store.claim(ready.ref, ready.token, "t")
    assert isinstance(claim, Claim)
    store.settle(claim.ref, claim.token, State.COMPLETED, '{"ok":true}')
    ending = end_visit(
        client.get(store.keys.graph("job-1")),
        client.hgetall(store.keys.run("job-1")),
        client.hgetall(store.keys.payload("job-1")),
        Handoff(),
    )
    again = read_entry("2-1", {b"jobId": b"job-1", b"created": b"2", b"graph": ending.graph.encode()})
    assert [node.status for node in again.document.nodes] == ["completed", "pending"]
