"""The farm's books on a real server: every entry is unread, pending, or ended in one terminal act."""

from __future__ import annotations

import pytest
import redis

from myspinbot_worker.admission import read_entry
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.graph.transitions import Balance
from tests.functional.harness import graph, node
from tests.unit.graphs import text_of


@pytest.fixture
def store(text_client: redis.Redis) -> RunStore:
    text_client.xgroup_create("process:data", "workers", id="0", mkstream=True)
    return RunStore(text_client)


def add(store: RunStore, job: str) -> dict[str, str]:
    fields = {"jobId": job, "created": "1", "graph": text_of(graph([node("a", plane="node")], job=job))}
    store.client.xadd("process:data", fields)
    return fields


def read(store: RunStore) -> str:
    ((_, ((entry, _),)),) = store.client.xreadgroup("workers", "c", {"process:data": ">"}, count=1)
    return str(entry)


def admit(store: RunStore, entry: str, fields: dict[str, str]) -> str:
    given = read_entry(entry, {name.encode(): value.encode() for name, value in fields.items()})
    outcome, _ = store.admit(
        entry, given.document, given.plan, given.created, given.fingerprint, keep_going=False
    )
    return outcome


def conclude(store: RunStore, job: str, entry: str) -> bool:
    done = store.conclude(
        job, entry, verdict="hand_back", graph="{}", hand_back=False, last_progress=None, last_status=None
    )
    return done is not None


def test_each_act_is_counted_with_the_act_and_once(store: RunStore) -> None:
    store.open_books()
    assert store.balance() == Balance(0, 0, 0, 0, 0, 0, 0, 0)
    first, second = add(store, "j"), add(store, "k")
    assert store.balance() == Balance(2, 0, 2, 0, 0, 0, 0, 0)
    one, two = read(store), read(store)
    assert [admit(store, one, first) for _ in range(2)] == ["ok", "admitted"]
    assert [store.reject(two, "bad_entry", "why", {}, None) for _ in range(2)] == [True, False]
    assert admit(store, two, second) == "done"
    assert store.balance() == Balance(2, 0, 0, 1, 1, 1, 0, 1)
    assert [conclude(store, "j", one) for _ in range(2)] == [True, False]
    assert store.balance() == Balance(2, 0, 0, 0, 0, 1, 1, 1)


def test_the_books_of_a_farm_that_ran_without_them(store: RunStore) -> None:
    fields = {job: add(store, job) for job in "abcd"}
    gone, opened, _ = read(store), read(store), read(store)
    assert admit(store, opened, fields["b"]) == "ok"
    store.client.xack("process:data", "workers", gone)
    store.client.delete(store.keys.counters)
    store.open_books()
    assert store.balance() == Balance(4, 1, 1, 2, 1, 1, 0, 0)
    assert conclude(store, "b", opened)
    store.open_books()
    assert store.balance() == Balance(4, 1, 1, 1, 0, 1, 1, 0)


def test_books_are_balanced_anew_only_when_told(store: RunStore) -> None:
    store.open_books()
    add(store, "a")
    store.client.xack("process:data", "workers", read(store))
    store.open_books()
    assert store.balance() == Balance(1, 0, 0, 0, 0, 0, 0, 0)
    store.open_books(anew=True)
    assert store.balance() == Balance(1, 1, 0, 0, 0, 0, 0, 0)


def test_a_long_backlog_is_counted(store: RunStore) -> None:
    with store.client.pipeline(transaction=False) as pipe:
        for _ in range(1500):
            pipe.xadd("process:data", {"jobId": "j"})
        pipe.execute()
    assert store.balance().unread == 1500
    read(store)
    assert store.balance() == Balance(1500, None, 1499, 1, 0, 0, 0, 0)


def test_a_farm_without_a_stream(text_client: redis.Redis) -> None:
    store = RunStore(text_client)
    assert store.balance() == Balance(0, None, 0, 0, 0, 0, 0, 0)
    text_client.set("process:data", "no stream")
    assert store.balance() == Balance(0, None, 0, 0, 0, 0, 0, 0)
