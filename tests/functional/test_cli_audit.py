"""``audit`` on a real server: green after work, red for each thing that was tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from myspinbot_worker.admission import read_entry
from myspinbot_worker.graph.plan import State
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.keys import NodeRef
from tests.functional.command_line import Run, one_line, run_in
from tests.functional.command_line import cli as cli
from tests.functional.harness import Farm, graph, node


@pytest.fixture
def store(text_client: Any) -> RunStore:
    """A farm of one open run: a is done, b runs, c is ready, d waits; nothing else has happened."""
    text_client.xgroup_create("process:data", "workers", id="0", mkstream=True)
    store = RunStore(text_client)
    store.open_books()
    nodes = [node("a", params={"k": 1}), node("b"), node("c"), node("d")]
    add(text_client, "j", graph(nodes, [("a", "d"), ("b", "d")], "j"))
    ((_, ((entry, fields),)),) = text_client.xreadgroup("workers", "c", {"process:data": ">"})
    given = read_entry(entry, {name.encode(): value.encode() for name, value in fields.items()})
    assert store.admit(entry, given.document, given.plan, "1", given.fingerprint, keep_going=False)[0] == "ok"
    for index in (0, 1):
        store.claim(NodeRef(entry, index, "j"), 1, "worker")
    store.settle(NodeRef(entry, 0, "j"), 1, State.COMPLETED, "{}")
    return store


def add(client: Any, job: str, document: dict[str, Any]) -> str:
    return str(client.xadd("process:data", {"jobId": job, "created": "1", "graph": json.dumps(document)}))


def read(client: Any) -> str:
    ((_, ((entry, _),)),) = client.xreadgroup("workers", "c", {"process:data": ">"}, count=1)
    return str(entry)


def entry_of(client: Any) -> str:
    return str(client.hget("farm:run:j", "entry"))


def audited(cli: Run, *arguments: str) -> list[str]:
    told = cli("audit", "--json", "--pause", "0", *arguments)
    record = json.loads(told.stdout)
    assert record["matches"] == (not record["mismatches"]) == (told.exit_code == 0)
    return sorted(one["what"] for one in record["mismatches"])


def test_all_matches_after_work(farm: Farm) -> None:
    farm.start_ingestor()
    farm.start_worker(threads=2)
    audit: Run = lambda *arguments: run_in(farm.env, "audit", *arguments)  # noqa: E731
    held = farm.submit(graph([node("a", "test.gate")]))
    farm.wait_started(held, "a")
    jobs = [farm.submit(graph([node("a"), node("b")], [("a", "b")])) for _ in range(20)]
    bad = farm.submit("{}", job="bad")
    failing = farm.submit(graph([node("a", "test.fail", params={"times": 1})]))
    assert audit().exit_code == 0, audit().output
    for job in jobs:
        farm.wait_back(job)
    farm.wait_status(bad, "failed")
    farm.wait_status(failing, "failed")
    assert run_in(farm.env, "retry", failing).exit_code == 0
    farm.wait_back(failing)
    farm.progress.pop(failing)
    farm.open_gate(held, "a")
    farm.wait_back(held)
    farm.wait_idle()
    done = audit()
    assert done.stdout == "24 entries came in: 0 not read yet, 0 open, 23 concluded, 1 refused\nall matches\n"


def test_an_open_run_matches(cli: Run, store: RunStore) -> None:
    assert audited(cli) == []
    told = json.loads(cli("audit", "--json").stdout)["books"]
    assert told == {
        "compared": True, "added": 1, "before": 0, "unread": 0, "pending": 1, "open": 1, "admitted": 1,
        "concluded": 0, "rejected": 0,
    }  # fmt: skip


def test_an_empty_farm_matches(cli: Run) -> None:
    told = cli("audit")
    assert (told.exit_code, told.stdout) == (
        0, "no ingestor has opened the books yet: they are not compared\nall matches\n"
    )  # fmt: skip


def lose(*steps: Callable[[Any, str], Any]) -> Callable[[Any], None]:
    def plant(client: Any) -> None:
        entry = entry_of(client)
        for step in steps:
            step(client, entry)

    return plant


PLANTED: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "an unread entry was trimmed": (
        lose(lambda c, e: c.xdel("process:data", add(c, "k", {}))),
        ["entries_unaccounted"],
    ),
    "a read entry was acknowledged": (
        lose(lambda c, e: add(c, "k", {}), lambda c, e: c.xack("process:data", "workers", read(c))),
        ["entries_unaccounted", "entry_left"],
    ),
    "a read entry was deleted": (
        lose(lambda c, e: add(c, "k", {}), lambda c, e: c.xdel("process:data", read(c))),
        ["entry_gone"],
    ),
    "nobody admits an entry": (
        lose(lambda c, e: add(c, "k", {}), lambda c, e: read(c)),
        ["entry_without_run"],
    ),
    "the run's entry was acknowledged": (
        lose(lambda c, e: c.xack("process:data", "workers", e), lambda c, e: c.xdel("process:data", e)),
        ["entries_unaccounted", "run_without_entry"],
    ),
    "the run's keys were evicted": (
        lose(lambda c, e: c.delete("farm:run:j")),
        ["index_without_run", "lease_without_run", "outbox_without_run"],
    ),
    "the run was taken off the index": (
        lose(lambda c, e: c.delete("farm:runs")),
        ["run_not_indexed", "runs_unaccounted"],
    ),
    "an act was counted twice": (
        lose(lambda c, e: c.hincrby("farm:counters", "rejected", 1)),
        ["acts_without_entry"],
    ),
    "the graph was evicted": (lose(lambda c, e: c.delete("farm:run:j:graph")), ["run_without_graph"]),
    "the payload was evicted": (lose(lambda c, e: c.delete("farm:run:j:payload")), ["run_without_payload"]),
    "a lease was lost": (lose(lambda c, e: c.zrem("farm:leases", f"{e}|1|j")), ["running_without_lease"]),
    "a ready node was lost": (lose(lambda c, e: c.zrem("farm:outbox", f"{e}|2|j")), ["ready_not_in_outbox"]),
    "a lease is kept for nobody": (
        lose(lambda c, e: c.zadd("farm:leases", {f"{e}|3|j": 9e12})),
        ["lease_without_run"],
    ),
    "nobody takes leases back": (
        lose(lambda c, e: c.zadd("farm:leases", {f"{e}|1|j": 5})),
        ["lease_overdue"],
    ),
    "nobody looks for messages": (
        lose(lambda c, e: c.zadd("farm:outbox", {f"{e}|2|j": 5})),
        ["outbox_overdue"],
    ),
    "the run counts wrongly": (lose(lambda c, e: c.hincrby("farm:run:j", "running", 1)), ["run_miscounted"]),
    "nobody concludes": (
        lose(
            lambda c, e: c.hset("farm:run:j", mapping={"over": 1, "running": 0, "s:1": "C", "s:2": "C"}),
            lambda c, e: c.delete("farm:leases", "farm:outbox"),
            lambda c, e: c.zadd("farm:over", {"j": 5}),
        ),
        ["run_not_concluded"],
    ),
    "a job is over and gone": (lose(lambda c, e: c.zadd("farm:over", {"gone": 5})), ["over_without_run"]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_was_tampered_with_is_named(cli: Run, store: RunStore, text_client: Any, name: str) -> None:
    plant, expected = PLANTED[name]
    plant(text_client)
    assert audited(cli, "--grace", "0" if expected == ["entry_without_run"] else "60") == expected


def test_it_is_said_in_words_and_the_books_are_opened_anew(
    cli: Run, store: RunStore, text_client: Any
) -> None:
    text_client.xdel("process:data", add(text_client, "k", {}))
    told = cli("audit", "--pause", "0")
    assert told.exit_code == 1
    assert "entries_unaccounted 1 of 2 entries left the data stream without a terminal act\n" in told.stdout
    assert "audit --anew" in told.stdout
    assert told.stdout.endswith("1 does not match\n")
    assert cli("audit", "--anew").exit_code == 0
    assert audited(cli) == []


def test_what_passes_by_itself_does_not_count(
    cli: Run, store: RunStore, text_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_client.zrem("farm:leases", f"{entry_of(text_client)}|1|j")

    def meanwhile(seconds: float) -> None:
        assert seconds == 7
        text_client.zadd("farm:leases", {f"{entry_of(text_client)}|1|j": 9e12})

    monkeypatch.setattr("myspinbot_worker.cli.audit.time.sleep", meanwhile)
    assert cli("audit", "--pause", "7").exit_code == 0


@pytest.mark.parametrize("option", [["--grace", "-1"], ["--pause", "soon"], ["extra"]])
def test_wrong_usage(cli: Run, option: list[str]) -> None:
    assert cli("audit", *option).exit_code == 2


def test_a_data_stream_that_is_none(cli: Run, text_client: Any) -> None:
    text_client.set("process:data", "x")
    assert "WRONGTYPE" in one_line(cli("audit"), 1)
