"""A result, an acknowledgement and the next message in one step: once each, whatever reply is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import dramatiq
import pytest
import redis

from myspinbot_worker.admission import read_entry
from myspinbot_worker.capability import Payload, Registry, capability
from myspinbot_worker.config import load_settings
from myspinbot_worker.consumer import MESSAGE_ID, Delivered, FarmConsumer
from myspinbot_worker.farm import Farm as FarmParts
from myspinbot_worker.graph.plan import State
from myspinbot_worker.graph.transitions import Charge, Claim, Result, Settled
from myspinbot_worker.keys import NodeRef
from myspinbot_worker.relay import Relay
from myspinbot_worker.running import Running
from myspinbot_worker.task import Task

from . import harness
from .harness import graph

SERVICE = "dummy.dummy_task"
DONE = Result(State.COMPLETED, "{}")
tasks = Registry()


class Nothing(Payload):
    """Whatever it is given."""


@capability(SERVICE, kind="cpu", into=tasks)
def dummy(task: Task, params: Nothing, given: Nothing) -> Nothing:
    """Never called."""
    raise AssertionError


def node(node_id: str) -> dict[str, Any]:
    return harness.node(node_id, SERVICE)


class Worker:
    """A worker with one slot that has the first of several nodes in hand; threads are the test's own."""

    def __init__(self, env: dict[str, str]) -> None:
        self.farm = FarmParts(load_settings(env), registry=tasks)
        self.store, self.broker = self.farm.store, self.farm.broker
        self.given: list[Delivered] = []
        consumers = {"cpu": SimpleNamespace(handle_message=self.given.append)}
        boot: Any = SimpleNamespace(consumers=consumers)
        self.lanes = 1
        self.begun: Running | None = None
        self.asked_to_begin: list[tuple[str, Running | None]] = []
        self.relay = Relay(self.farm, boot, "worker", lambda queue: self.lanes, self._begin)
        # Messages come without a claim, as to a worker whose runner has yet to start.
        self.broker.take_claimed = None
        self.broker.actors[SERVICE] = None  # type: ignore[assignment]  # it is only asked for its name
        self.farm.bridge.ensure_group()

    def _begin(self, claim: Claim, queue: str, before: Running | None) -> Running | None:
        self.asked_to_begin.append((claim.node_id, before))
        return self.begun

    def submit(self, nodes: list[dict[str, Any]], edges: list[tuple[str, str]] | None = None) -> NodeRef:
        """Admit a job; its first node."""
        document = graph(nodes, edges or [])
        self.farm.bridge.submit(document["workflowId"], json.dumps(document))
        (entry,) = self.farm.bridge.read("test", 1, 1)
        given = read_entry(entry.id, entry.fields)
        outcome, _ = self.store.admit(
            entry.id, given.document, given.plan, "1", given.fingerprint, keep_going=False
        )
        assert outcome == "ok"
        return NodeRef(entry.id, 0, given.job)

    def begin(self) -> tuple[Delivered, Claim]:
        """Take the queue's first message as a consumer does, and claim its node."""
        self.consumer = FarmConsumer(self.broker, "cpu", 1, 1000)
        message = next(self.consumer)
        assert isinstance(message, Delivered)
        claim = self.store.claim(NodeRef.parse(message.args[0]), message.args[1], "worker")
        assert isinstance(claim, Claim)
        return message, claim

    def advance(
        self,
        message: Delivered,
        claim: Claim,
        result: Result = DONE,
        patiently: Callable[[Callable[[], Settled]], Settled] = lambda step: step(),
        *,
        another: bool = True,
    ) -> Settled:
        return self.relay.advance(message, claim, result, patiently, another=another)

    def field(self, ref: NodeRef, name: str) -> str | None:
        client: Any = self.farm.client
        found: str | None = client.hget(self.store.keys.run(ref.job), name)
        return found

    def unacknowledged(self) -> set[str]:
        client: Any = self.farm.client
        return set(client.smembers(self.store.keys.unacknowledged(self.broker.broker_id, "cpu")))

    def close(self) -> None:
        for client in (
            self.farm.client,
            self.farm.binary_client,
            self.broker.client,
            self.farm.taking_client,
        ):
            client.close()


@pytest.fixture
def worker(farm_env: dict[str, str]) -> Any:
    made = Worker(farm_env)
    yield made
    made.close()


def test_the_successor_follows_in_the_same_step(worker: Worker) -> None:
    ref = worker.submit([node("a"), node("b")], [("a", "b")])
    message, claim = worker.begin()
    settled = worker.advance(message, claim)
    assert (settled.outcome, settled.over, [item.sent for item in settled.ready]) == ("ok", False, [True])
    (following,) = worker.given
    assert isinstance(following.answer, Claim)
    assert (following.answer.node_id, following.answer.outputs) == ("b", ("{}",))
    assert worker.field(ref, "s:1") == "R"
    assert (
        worker.unacknowledged()
        == {following.options[MESSAGE_ID]}
        == worker.broker.held["cpu"] - {message.options[MESSAGE_ID]}
    )
    assert not worker.broker.slots.reserve("cpu", 0), "it is in the slot of the one before"
    worker.consumer.ack(message)
    assert not worker.broker.slots.reserve("cpu", 0)
    worker.consumer.ack(following)
    assert worker.broker.slots.reserve("cpu", 0)


@pytest.mark.parametrize(
    "result", [DONE, Result(State.READY, "{}", charge=Charge.ATTEMPT)], ids=["done", "again"]
)
def test_a_lost_reply_gives_the_same_start_again(worker: Worker, result: Result) -> None:
    worker.submit([node("a"), node("b")])
    message, claim = worker.begin()
    calls = 0

    def losing_the_first(step: Callable[[], Settled]) -> Settled:
        nonlocal calls
        real = worker.store.advance

        def lost(*args: Any) -> Any:
            nonlocal calls
            answer = real(*args)
            calls += 1
            if calls == 1:
                raise redis.ConnectionError("the reply is lost")
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker.store, "advance", lost)
            with pytest.raises(redis.ConnectionError):
                step()
            # A consumer that looks for what was lost leaves it to whoever asks again.
            worker.broker.return_unheld("cpu")
            assert len(worker.unacknowledged()) == 1
            return step()

    settled = worker.advance(message, claim, result, losing_the_first)
    assert settled.outcome == ("already" if result is DONE else "fenced")
    (following,) = worker.given
    assert isinstance(following.answer, Claim)
    assert (following.answer.node_id, following.answer.token, following.answer.lost_attempts) == ("b", 1, 0)


def test_nothing_is_taken_unless_it_is_wanted(worker: Worker) -> None:
    worker.submit([node("a"), node("b")])
    message, claim = worker.begin()
    worker.advance(message, claim, another=False)
    assert worker.given == []
    assert worker.unacknowledged() == set(), "but what is done with is acknowledged"
    assert worker.broker.depth("cpu") == 1


def test_a_paused_queue_is_left_alone(worker: Worker) -> None:
    worker.submit([node("a"), node("b")])
    message, claim = worker.begin()
    worker.farm.client.sadd(worker.store.keys.paused, "cpu")
    worker.advance(message, claim)
    assert worker.given == []


def test_the_next_node_need_not_wait_for_the_end_of_a_visit(worker: Worker) -> None:
    worker.submit([node("a")])
    worker.submit([node("b")])
    message, claim = worker.begin()
    assert worker.advance(message, claim).over
    (following,) = worker.given
    assert isinstance(following.answer, Claim)
    assert (following.answer.node_id, message.followed) == ("b", True)


def test_who_lost_its_node_takes_nothing(worker: Worker) -> None:
    ref = worker.submit([node("a"), node("b")])
    message, claim = worker.begin()
    worker.farm.client.hset(worker.store.keys.run(ref.job), "l:0", 0)
    assert isinstance(worker.store.claim(ref, 1, "another"), Claim)
    assert worker.advance(message, claim).outcome == "fenced"
    assert worker.given == []


def test_what_is_in_hand_is_not_taken_again(worker: Worker) -> None:
    """Others took this process for dead: its messages are queued again while it works on them."""
    worker.submit([node("a")])
    message, _ = worker.begin()
    keys, client = worker.store.keys, worker.farm.client
    client.delete(keys.unacknowledged(worker.broker.broker_id, "cpu"))
    client.rpush(keys.queue("cpu"), message.options[MESSAGE_ID])
    assert worker.relay.first("cpu", False) == (True, None)


def test_a_start_that_nobody_begins_is_given_back_for_free(worker: Worker) -> None:
    """The worker stops between taking a message and beginning with it."""
    worker.submit([node("a")])
    ref = worker.submit([node("b"), node("c")], [("b", "c")])
    message, claim = worker.begin()
    worker.advance(message, claim)
    worker.consumer.requeue(worker.given)
    assert (worker.field(ref, "s:0"), worker.field(ref, "x:0"), worker.field(ref, "a:0")) == ("Q", None, None)
    assert worker.unacknowledged() == set()
    again, second = worker.begin()
    while second.ref != ref:
        again, second = worker.begin()
    assert second.token == 2
    assert again.args[1] == 2


def test_it_begins_before_anybody_comes_to_watch(worker: Worker) -> None:
    """In the lane of the one before, and one that nobody comes for is ended."""
    ref = worker.submit([node("a"), node("b")], [("a", "b")])
    message, claim = worker.begin()
    before, worker.begun = cast(Running, object()), cast(Running, object())
    message.running = before
    worker.advance(message, claim)
    (following,) = worker.given
    assert worker.asked_to_begin == [("b", before)]
    assert following.running is worker.begun
    assert not following.ahead, "it has a lane"
    ended: list[Running] = []
    worker.broker.abandon = ended.append
    worker.consumer.requeue(worker.given)
    assert ended == [worker.begun]
    assert worker.field(ref, "s:1") == "Q"


def test_a_message_that_no_claim_can_be_read_from_goes_the_long_way(worker: Worker) -> None:
    worker.submit([node("a")])
    message, claim = worker.begin()
    strange: dramatiq.Message[Any] = dramatiq.Message("cpu", SERVICE, ("what",), {}, {MESSAGE_ID: "x"})
    worker.broker.enqueue(strange)
    worker.advance(message, claim)
    (following,) = worker.given
    assert following.answer is None
    assert following.args == ("what",)


class TestTheFirstMessage:
    def test_its_node_is_claimed_with_it(self, worker: Worker) -> None:
        ref = worker.submit([node("a")])
        looked, message = worker.relay.first("cpu", False)
        assert looked
        assert message is not None
        assert isinstance(message.answer, Claim)
        assert worker.field(ref, "s:0") == "R"
        assert worker.unacknowledged() == worker.broker.held["cpu"] == {message.options[MESSAGE_ID]}

    def test_not_while_a_runner_would_have_to_be_started(self, worker: Worker) -> None:
        """That would take from the lease: also by a message that came before and has no lane yet."""
        worker.submit([node("a"), node("b")])
        worker.lanes = 0
        assert worker.relay.first("cpu", False) == (False, None)
        worker.lanes = 1
        _, message = worker.relay.first("cpu", False)
        assert message is not None
        assert worker.relay.first("cpu", False) == (False, None)
        worker.relay.begun(message)
        worker.relay.begun(message)
        _, other = worker.relay.first("cpu", False)
        assert other is not None

    def test_a_lost_reply_is_asked_for_again(self, worker: Worker) -> None:
        worker.submit([node("a"), node("b")])
        worker.broker.take_claimed = worker.relay.first
        consumer = FarmConsumer(worker.broker, "cpu", 1, 1000)
        real = worker.store.take

        def lost(*args: Any) -> Any:
            real(*args)
            raise redis.ConnectionError("the reply is lost")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker.store, "take", lost)
            assert next(consumer) is None
        assert len(worker.unacknowledged()) == 1
        message = next(consumer)
        assert isinstance(message, Delivered)
        assert isinstance(message.answer, Claim)
        assert (message.answer.node_id, message.answer.token, message.answer.lost_attempts) == ("a", 1, 0)
        assert worker.unacknowledged() == {message.options[MESSAGE_ID]}

    def test_one_for_a_task_this_worker_does_not_know_goes_back(self, worker: Worker) -> None:
        """A farm of two versions: Dramatiq sets the message aside, and the node waits for its next message."""
        ref = worker.submit([node("a")])
        del worker.broker.actors[SERVICE]
        _, message = worker.relay.first("cpu", False)
        assert message is not None
        assert (worker.field(ref, "s:0"), worker.field(ref, "x:0"), worker.field(ref, "a:0")) == (
            "Q",
            None,
            None,
        )
        assert worker.broker.depth("cpu") == 0, "not at once: this worker would take it again"
