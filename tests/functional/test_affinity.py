"""The script chooses as the pure rule does, message by message, on a real Redis; and so does a whole farm."""

from __future__ import annotations

import random
from typing import Any

import pytest
import redis

from myspinbot_worker.dispatcher import node_message
from myspinbot_worker.graph.affinity import HEAD_ONLY, Bounds, choose
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.graph.transitions import ReadyNode, Taking
from myspinbot_worker.keys import NodeRef
from tests.functional.harness import Farm, graph, node, wait_until

NAMES = {"a": "test.a", "b": 'test."b"', "c": "test.ü/c"}


class Queue:
    """Messages of services "a", "b", "c", and a worker that takes them off."""

    def __init__(self, client: redis.Redis) -> None:
        self.client: Any = client
        self.store = RunStore(client)
        self.keys = self.store.keys

    def put(self, number: int, letter: str) -> str:
        # A node's id that looks like what is searched for.
        ready = ReadyNode(NodeRef("1-1", number, "job"), 1, NAMES[letter], '","actor_name":"test.a"')
        message = node_message(ready, "gpu")
        self.client.hset(self.keys.queued_messages("gpu"), message.message_id, message.encode())
        self.client.rpush(self.keys.queue("gpu"), message.message_id)
        return message.message_id

    def take(self, warm: str, bounds: Bounds) -> str:
        """The id of the next message, which is acknowledged at once."""
        before = set(self.client.hkeys(self.keys.queued_messages("gpu")))
        asking = Taking("gpu", "process", "worker", "", warm=NAMES.get(warm, ""), bounds=bounds)
        assert self.store.take(asking, self.client) is not None
        (taken,) = self.client.smembers(self.keys.unacknowledged("process", "gpu"))
        self.store.take(Taking("gpu", "process", "worker", taken, another=False), self.client)
        assert before - set(self.client.hkeys(self.keys.queued_messages("gpu"))) == {taken}
        return str(taken)


@pytest.fixture
def queue(text_client: redis.Redis) -> Any:
    made = Queue(text_client)
    yield made
    made.client.delete(made.keys.heartbeats)


@pytest.mark.parametrize("seed", range(10))
def test_the_script_chooses_as_the_rule_does(queue: Queue, seed: int) -> None:
    draw = random.Random(seed)
    bounds = Bounds(draw.choice((1, 2, 4, 8)), 60_000)
    letters = [draw.choice("abc") for _ in range(40)]
    waiting = [(queue.put(number, letter), letter) for number, letter in enumerate(letters)]
    warm, head, passed = "", "", 0
    while waiting:
        if waiting[0][0] != head:
            head, passed = waiting[0][0], 0
        place = choose([letter for _, letter in waiting], warm, passed, 0, bounds)
        passed += place > 0
        expected, letter = waiting.pop(place)
        assert queue.take(warm, bounds) == expected
        warm = letter
    assert not queue.client.exists(queue.keys.passed("gpu"))


def test_a_head_passed_over_for_too_long_is_taken(queue: Queue) -> None:
    ids = [queue.put(number, letter) for number, letter in enumerate("baa")]
    queue.client.hset(queue.keys.passed("gpu"), mapping={"id": ids[0], "times": 1, "since": 1})
    assert queue.take("a", Bounds(8, 60_000)) == ids[0]
    queue.client.delete(queue.keys.passed("gpu"))
    assert [queue.take("b", Bounds(8, 60_000)) for _ in range(2)] == ids[1:]


def test_what_is_passed_over_is_forgotten_some_day_whoever_takes_it(queue: Queue) -> None:
    ids = [queue.put(number, letter) for number, letter in enumerate("ba")]
    assert queue.take("a", Bounds(8, 60_000)) == ids[1]
    assert queue.take("a", HEAD_ONLY) == ids[0]
    assert 0 < queue.client.ttl(queue.keys.passed("gpu")) <= 86_400
    queue.client.delete(queue.keys.passed("gpu"))


def test_a_message_that_nobody_can_read_is_not_chosen(queue: Queue) -> None:
    queue.put(0, "b")
    queue.client.hset(queue.keys.queued_messages("gpu"), "broken", '{"actor_name": "test.a"')
    queue.client.rpush(queue.keys.queue("gpu"), "broken", "without a text")
    wanted = queue.put(1, "a")
    assert queue.take("a", Bounds(8, 60_000)) == wanted
    queue.client.delete(
        *(key("gpu") for key in (queue.keys.queue, queue.keys.queued_messages, queue.keys.passed))
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_takes_what_it_is_warm_for(farm: Farm, threads: int) -> None:
    farm.start_ingestor()
    farm.start_worker("-Q", "gpu", threads=threads, FARM_AFFINITY_WINDOW="8")
    running = [farm.submit(graph([node("a", "test.gate")])) for _ in range(threads)]
    for job in running:
        farm.wait_started(job, "a")
    waiting = [
        farm.submit(graph([node("a", service, params={"seconds": 0.01})]))
        for service in ("test.hold_gil", "test.hold_gil", "test.gate")
    ]
    wait_until(lambda: farm.client.llen(farm.keys.queue("gpu")) == 3, "three messages wait")
    farm.open_gate(running[0], "a")
    farm.wait_started(waiting[2], "a")
    assert not farm.client.exists(f"test:started:{waiting[0]}:a")
    for job in (*running[1:], waiting[2]):
        farm.open_gate(job, "a")
    for job in (*running, *waiting):
        assert farm.wait_back(job)["nodes"][0]["status"] == "completed"
    for job in waiting[:2]:
        farm.wait_started(job, "a")
