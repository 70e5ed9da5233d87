"""The broker on a real server: nothing hoarded, nothing lost with a reply, nothing polled for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.broker import MessageProxy

from myspinbot_worker.broker import FarmBroker
from myspinbot_worker.consumer import MESSAGE_ID, FarmConsumer

from .harness import wait_until
from .processes import PATIENCE

QUEUE = "cpu"


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url, socket_timeout=10) as client:
        yield client


def broker(client: Any, *, slots: int = 1, heartbeat_ms: int = 60_000) -> FarmBroker:
    made = FarmBroker(client, "test", heartbeat_ms, [])
    made.declare_queue(QUEUE)
    made.slots.configure(slots, {})
    return made


def message(name: str) -> dramatiq.Message[Any]:
    return dramatiq.Message(QUEUE, "actor", (name,), {}, {MESSAGE_ID: name}, message_id=name)


def consumer(made: FarmBroker, queue: str = QUEUE) -> FarmConsumer:
    return FarmConsumer(made, queue, 1000, 1000)


def take(from_: FarmConsumer) -> MessageProxy:
    taken = next(from_)
    assert taken is not None
    return taken


def empty(client: Any) -> bool:
    return not [key for key in client.scan_iter("test:*") if key != b"test:__heartbeats__"]


def test_a_message_keeps_its_id_and_leaves_nothing(client: Any) -> None:
    made = broker(client)
    made.enqueue(message("a"))
    assert made.missing([(QUEUE, "a"), (QUEUE, "b")]) == [False, True]
    reader = consumer(made)
    taken = take(reader)
    assert (taken.message_id, taken.args) == ("a", ("a",))
    assert made.missing([(QUEUE, "a")]) == [False], "in hand is not missing"
    reader.ack(taken)
    assert made.missing([(QUEUE, "a")]) == [True]
    assert empty(client)


def test_no_more_than_it_can_work_on(client: Any) -> None:
    made = broker(client, slots=2)
    made.enqueue_all(message(str(i)) for i in range(5))
    reader = consumer(made)
    first, _ = take(reader), take(reader)
    assert made.depth(QUEUE) == 3
    assert not made.slots.reserve(QUEUE, 0)
    reader.ack(first)
    assert take(reader).message_id == "2"


def test_many_messages_in_order(client: Any) -> None:
    made = broker(client, slots=2000)
    names = [str(i) for i in range(1203)]
    made.enqueue_all(message(name) for name in names)
    reader = consumer(made)
    assert [take(reader).message_id for _ in names] == names


def test_a_waiting_consumer_is_woken(client: Any, redis_url: str) -> None:
    """No polling: the message comes while the consumer is blocked on the server."""
    reader = consumer(broker(client))
    taken: list[MessageProxy | None] = []

    def read() -> None:
        taken.append(next(reader))
        if taken == [None]:  # the block ended with the message's arrival; the next look takes it
            taken[:] = [next(reader)]

    thread = threading.Thread(target=read)
    with redis.Redis.from_url(redis_url) as other:
        thread.start()
        wait_until(lambda: other.info("clients")["blocked_clients"] >= 1, "the consumer is blocked")
        broker(other).enqueue(message("a"))
        thread.join(PATIENCE)
        assert taken[0] is not None
        assert taken[0].message_id == "a"


def test_a_message_sent_twice_is_done_once(client: Any) -> None:
    made = broker(client)
    made.enqueue(message("a"))
    made.enqueue(message("a"))
    reader = consumer(made)
    reader.ack(take(reader))
    made.enqueue(message("b"))
    assert take(reader).message_id == "b", "the second copy of a finished message is passed over"
    assert client.smembers(f"test:__acks__.{made.broker_id}.{QUEUE}") == {b"b"}


def test_a_lost_reply_loses_no_message(client: Any) -> None:
    """The server handed a message over and the connection broke: the process lives, but has nothing in hand."""
    made = broker(client)
    made.enqueue(message("a"))
    assert made.do_fetch(QUEUE, 1), "…and this reply never arrives"
    assert made.depth(QUEUE) == 0
    again = consumer(made)
    taken = take(again)
    assert taken.message_id == "a"
    consumer(made)
    assert made.depth(QUEUE) == 0, "what is in hand is not put back when a consumer is replaced"
    again.ack(taken)
    assert empty(client)


def test_delayed_messages_survive_a_broken_connection(client: Any) -> None:
    made = broker(client)
    made.enqueue(message("later"), delay=60_000)
    assert take(consumer(made, f"{QUEUE}.DQ")).message_id == "later"
    # Dramatiq makes a new consumer and has forgotten what the old one held.
    assert take(consumer(made, f"{QUEUE}.DQ")).message_id == "later"


def test_a_dead_process_gives_its_messages_back(client: Any) -> None:
    dead = broker(client)
    dead.enqueue(message("a"))
    take(consumer(dead))
    alive = broker(client, heartbeat_ms=1)
    wait_until(lambda: _maintained(alive), "the silent process is noticed")
    assert take(consumer(alive)).message_id == "a"


def _maintained(made: FarmBroker) -> bool:
    made.maintain(QUEUE)
    return made.depth(QUEUE) == 1


def test_requeued_messages_are_free_again(client: Any) -> None:
    made = broker(client)
    made.enqueue(message("a"))
    reader = consumer(made)
    taken = take(reader)
    reader.requeue([taken])
    reader.requeue([])
    assert take(reader).message_id == "a"


def test_what_lost_its_worker_goes_before_what_waits(client: Any) -> None:
    made = broker(client, slots=3)
    made.enqueue_all([message("a"), message("b")])
    made.enqueue_first([message("lost")])
    reader = consumer(made)
    assert [take(reader).message_id for _ in range(3)] == ["lost", "a", "b"]


def test_a_broken_connection_is_waited_for_and_what_it_lost_comes_back(client: Any) -> None:
    """The reply to a fetch is lost: Dramatiq's script has noted the message as this process' own."""
    made = broker(client)
    made.enqueue(message("a"))
    reader = consumer(made)
    with pytest.MonkeyPatch.context() as patch:

        def fetched_and_never_heard_of(*args: Any) -> Any:
            client.execute_command("LPOP", f"test:{QUEUE}")
            client.sadd(f"test:__acks__.{made.broker_id}.{QUEUE}", "a")
            raise redis.ConnectionError("cut")

        patch.setattr(made, "do_fetch", fetched_and_never_heard_of, raising=False)
        assert next(reader) is None
    assert take(reader).message_id == "a"


def test_delayed_messages_in_hand_stay_there_when_a_connection_breaks(client: Any) -> None:
    made = broker(client, slots=2)
    made.enqueue(message("later"), delay=60_000)
    reader = consumer(made, f"{QUEUE}.DQ")
    take(reader)
    with pytest.MonkeyPatch.context() as patch:

        def cut(*args: Any) -> Any:
            raise redis.ConnectionError("cut")

        patch.setattr(made, "do_fetch", cut, raising=False)
        assert next(reader) is None
    made.enqueue(message("another"), delay=60_000)
    assert take(reader).message_id == "another"


def test_an_error_that_does_not_pass_is_raised(client: Any) -> None:
    made = broker(client)
    client.set(f"test:{QUEUE}", "not a list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        next(consumer(made))


def test_a_paused_queue_is_left_alone(client: Any) -> None:
    made = FarmBroker(client, "test", 60_000, [], paused_key="paused")
    made.declare_queue(QUEUE)
    client.sadd("paused", QUEUE)
    made.enqueue(message("a"))
    reader = consumer(made)
    assert next(reader) is None
    client.delete("paused")
    wait_until(lambda: next(reader) is not None, "it goes on")


def test_hearts_beat_by_redis_time(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dramatiq.brokers.redis.current_millis", lambda: 1_000)
    monkeypatch.setattr("myspinbot_worker.broker.current_millis", lambda: 1_000)
    made = broker(client)
    made.enqueue(message("a"))
    seconds, _ = client.time()
    assert abs(client.zscore("test:__heartbeats__", made.broker_id) / 1000 - seconds) < 5
