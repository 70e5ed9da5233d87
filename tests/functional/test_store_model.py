"""The Lua scripts held against the pure model by random walks on a real server."""

from __future__ import annotations

import json

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.plan import State
from myspinbot_worker.graph.transitions import Charge, Claim, Refused
from tests.unit.graphs import graphs

from .store_walk import LEASE_MS, Walk, walk_at_random


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs(plain=True), keep_going=st.booleans(), data=st.data())
def test_scripts_do_what_the_model_does(
    text_client: redis.Redis, graph: dict[str, object], keep_going: bool, data: st.DataObject
) -> None:
    walk_at_random(text_client, graph, keep_going=keep_going, data=data)


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


def test_a_start_that_kept_a_step_is_never_charged_for_its_loss(text_client: redis.Redis) -> None:
    """Each way to lose it, one after the other; a random walk seldom takes all of them."""
    text = (
        '{"schema":"langgraph.v1","workflowId":"job-1","edges":[],"nodes":['
        '{"id":"a","service":"s","plane":"python","status":"pending"}]}'
    )
    walk = Walk(text_client, Document.parse(text), keep_going=False)
    walk.claim(0, 1, "worker-1")
    walk.renew(0, 1, None, True)
    walk.expire(0)
    # Another worker takes it over before anybody looked at the lease.
    walk.claim(0, 2, "worker-2")
    walk.compare()
    walk.renew(0, 2, None, True)
    walk.expire(0)
    walk.reap()
    walk.compare()
    walk.claim(0, 3, "worker-1")
    walk.renew(0, 3, None, True)
    walk.settle(0, 3, State.READY, Charge.LOST_WORKER, 0, "", True, advance=False)
    walk.compare()
    assert walk.model.nodes[0].lost_attempts == 0
    walk.claim(0, 4, "worker-1")
    walk.expire(0)
    walk.claim(0, 5, "worker-2")
    walk.compare()
    assert walk.model.nodes[0].lost_attempts == 1
    walk.conclude()
