"""The paragraph on a job, for each place a job can be at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.job_state import Concluded, JobState, NodeState, RunSummary
from myspinbot_worker.keys import QUEUES
from myspinbot_worker.repair import surroundings
from myspinbot_worker.repair.explain import Place, Surroundings, duration, explain

NOW = 1_700_000_100_000
RUN = RunSummary("j", "1700000000000-0", NOW - 30_000, NOW - 20_000, 4, 1, 1, 0, 0.25, False, False, False)
HERE = Surroundings(NOW, ingestors=2, workers=3)
ERROR = {"code": "network", "message": "away\nfor now"}


def node(index: int, state: str, **fields: Any) -> NodeState:
    return NodeState(index, f"n{index}", "s.do", state, **fields)


def opened(*nodes: NodeState, **run: Any) -> JobState:
    return JobState("j", "open", RUN.entry, replace(RUN, **run), nodes)


def around(place: Place | None = None, **fields: Any) -> Surroundings:
    return replace(HERE, places={1: place} if place else {}, **fields)


def test_unknown() -> None:
    assert explain(JobState("j", "unknown"), HERE).startswith(
        "Nothing is known of job j: it was never sent here"
    )


def test_elsewhere() -> None:
    text = explain(JobState("j", "elsewhere", status="queued"), HERE)
    assert text.startswith(
        "Job j is known to the control plane (the status it keeps is 'queued'), and no visit"
    )
    assert "sends its graph" in text
    assert "status" not in explain(JobState("j", "elsewhere"), HERE)


@pytest.mark.parametrize(
    ("ahead", "words"),
    [(0, "was not read yet; it is the next."), (1, "; 1 entry before it."), (7, "; 7 entries before it.")],
)
def test_waiting_on_the_stream(ahead: int, words: str) -> None:
    text = explain(JobState("j", "waiting", "1700000000000-0"), replace(HERE, ahead=ahead))
    assert text.startswith(
        "Job j waits on the data stream: its entry 1700000000000-0, written 100 s ago, was"
    )
    assert words in text
    assert text.endswith("2 ingestors are running: they read on as they can.")


def test_waiting_for_an_ingestor() -> None:
    text = explain(JobState("j", "waiting", "odd"), replace(HERE, ahead=0, ingestors=0))
    assert "its entry odd was not read" in text
    assert text.endswith("start one with myspinbot-worker ingest.")


def test_waiting_to_be_admitted() -> None:
    text = explain(JobState("j", "waiting", "1-1"), replace(HERE, read_ms=4000, reads=1, ingestors=1))
    assert "was taken up once, last 4 s ago. 1 ingestor is running: one takes it up again" in text
    assert "the ingestors' logs say why" in explain(
        JobState("j", "waiting", "1-1"), replace(HERE, read_ms=4000, reads=9)
    )


def test_running() -> None:
    job = opened(
        node(0, "completed"),
        node(1, "running", worker="host:7", started_ms=NOW - 5000, fraction=0.29, attempts=2),
        node(2, "waiting"),
        node(3, "waiting", ours=False),
    )
    assert explain(job, around(Place(lease_ms=20_000))) == (
        "Job j has been open for 30 s (entry 1700000000000-0): 1 of 4 nodes done, 25 %. "
        "Node 'n1' (s.do) has been running on host:7 for 5 s, attempt 2, 29 % done; its lease is good for 20 s more. "
        "1 more node of ours waits for nodes before."
    )


def test_a_lease_that_ran_out() -> None:
    job = opened(node(1, "running", worker="host:7", started_ms=NOW - 5000, lost=1))
    text = explain(job, around(Place(lease_ms=-3000)))
    assert "was running on host:7 for 5 s, which has not been heard of: its lease ran out 3 s ago." in text
    assert text.endswith("one takes the node back and starts it elsewhere; it has cost 1 worker before.")
    assert "No ingestor is running" in explain(job, around(Place(lease_ms=-3000), ingestors=0))


def test_running_without_a_lease() -> None:
    assert "has no lease: `audit`" in explain(opened(node(1, "running")), HERE)


def test_many_nodes_are_counted() -> None:
    job = opened(
        *(node(index, "running") for index in range(5)), *(node(index, "ready") for index in range(5, 9))
    )
    text = explain(job, HERE)
    assert "Running as well: 2 nodes." in text
    assert "Ready as well: 1 node." in text


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (
            Place(queue="gpu", ahead=0, due_ms=5),
            "waits in the queue gpu and is the next. 3 workers are alive; one",
        ),
        (Place(queue="gpu", ahead=1, due_ms=5), "waits in the queue gpu behind 1 other."),
        (Place(queue="gpu", ahead=9, due_ms=5), "waits in the queue gpu behind 9 others."),
        (
            Place(queue="cpu", due_ms=5),
            "a worker has fetched its message from the queue cpu: it starts next.",
        ),
        (Place(due_ms=3000), "its message is not there yet: an ingestor looks for it in 3 s."),
        (Place(due_ms=-9), "an ingestor looks for it now."),
        (Place(), "has no message, and nobody will look for it: `audit`"),
    ],
)
def test_ready(place: Place, words: str) -> None:
    assert words in explain(opened(node(1, "ready")), around(place))


@pytest.mark.parametrize(
    ("workers", "words"), [(0, "No worker has given a sign of life"), (1, "1 worker is alive;")]
)
def test_queued_and_who_is_there(workers: int, words: str) -> None:
    assert words in explain(opened(node(1, "ready")), around(Place(queue="gpu", ahead=0), workers=workers))


def test_waiting_to_be_tried_again() -> None:
    job = opened(node(1, "ready", attempts=2, error=ERROR))
    text = explain(job, around(Place(due_ms=12_000)))
    assert "waits to be tried again after attempt 2 failed (network: away for now): due in 12 s." in text
    assert "ingestor" not in text
    assert "No ingestor is running" in explain(job, around(Place(due_ms=1), ingestors=0))


def test_over_and_not_concluded() -> None:
    text = explain(opened(node(1, "completed"), over=True), around(over_ms=3000))
    assert "All that could run in this visit ended 3 s ago; its conclusion is due." in text
    assert "one concludes it if the worker of its last node does not" in text
    assert "ended; its" in explain(opened(over=True), HERE)


def test_cancelled_and_still_running() -> None:
    job = opened(node(1, "running", worker="host:7"), node(2, "ready"), cancelled=True)
    text = explain(job, around(Place(lease_ms=9000)))
    assert "It was cancelled: nothing new starts. Node 'n1' (s.do) has been running on host:7" in text
    assert text.endswith(
        "It is being stopped: told, then interrupted, then its process is killed. "
        "When that node has ended, it ends as cancelled."
    )


def test_failing_while_others_run() -> None:
    nodes = (node(0, "failed", error=ERROR), node(1, "running"), node(2, "running"))
    text = explain(opened(*nodes, failing=True), HERE)
    assert "Node 'n0' failed (network: away for now), and nothing takes that up: nothing new starts." in text
    assert text.endswith("When these nodes have ended, it ends as failed.")
    assert "It is failing: nothing new starts. It ends as failed." in explain(opened(failing=True), HERE)


def test_nothing_runs_and_nothing_is_over() -> None:
    assert "`audit` says what does not match" in explain(opened(node(1, "waiting")), HERE)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("completed", "Job j was completed 5 s ago. There is nothing to wait for."),
        ("completed_with_skips", "completed 5 s ago (some nodes were skipped by the graph's rules)."),
        ("failed", "Job j failed 5 s ago: why oh why. Nothing happens by itself; `retry j` sends it on"),
        ("cancelled", "Job j was cancelled and ended 5 s ago. Nothing happens by itself; `retry j`"),
        (
            "rejected",
            "The entry 1-1 of job j was refused 5 s ago: why oh why. Nothing happens by itself; `dead list`",
        ),
        ("novel", "Job j ended 5 s ago as novel: why oh why."),
    ],
)
def test_ended(verdict: str, words: str) -> None:
    last = Concluded("j", "1-1", verdict, "why oh\nwhy", ended_ms=NOW - 5000)
    assert words in explain(JobState("j", "ended", "1-1", last=last), HERE)
    assert explain(JobState("j", "ended", last=Concluded("j", "1-1", verdict)), HERE)


def test_at_the_control_plane() -> None:
    nodes = (node(0, "completed"), *(node(index, "waiting", ours=False) for index in range(1, 6)))
    last = Concluded("j", "1-1", "hand_back", ended_ms=NOW - 5000)
    text = explain(JobState("j", "ended", "1-1", nodes=nodes, last=last), HERE)
    assert text.startswith("Job j is at the control plane: its graph was handed back 5 s ago (entry 1-1).")
    assert "Nodes of its own are open there: 'n1', 'n2', 'n3' and 2 more;" in text
    assert "open there" not in explain(JobState("j", "ended", last=last), HERE)


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (-5, "0 s"),
        (1499, "1 s"),
        (119_000, "119 s"),
        (120_000, "2 min"),
        (7_200_000, "2 h"),
        (200_000_000, "2 d"),
    ],
)
def test_durations(milliseconds: int, words: str) -> None:
    assert duration(milliseconds) == words


def test_the_queues_are_the_farms() -> None:
    assert surroundings.QUEUES == QUEUES


STATES = ("waiting", "ready", "running", "completed", "failed", "skipped")
maybe = st.none() | st.integers(-NOW, NOW)


@given(
    st.lists(st.sampled_from(STATES), max_size=8),
    st.sampled_from(["open", "waiting", "ended", "elsewhere", "unknown", "?"]),
    st.booleans(), st.booleans(), st.booleans(),
    st.builds(
        Surroundings, st.just(NOW), st.integers(0, 3), st.integers(0, 3),
        places=st.dictionaries(st.integers(0, 8), st.builds(Place, maybe, maybe, st.none() | st.just("q"), maybe)),
        over_ms=maybe, ahead=maybe, read_ms=maybe, reads=st.integers(0, 9),
    ),
)  # fmt: skip
def test_any_state_can_be_told(
    states: list[str], phase: str, cancelled: bool, failing: bool, over: bool, there: Surroundings
) -> None:
    nodes = tuple(node(index, state) for index, state in enumerate(states))
    run = replace(RUN, cancelled=cancelled, failing=failing, over=over)
    text = explain(JobState("j", phase, "1-1", run, nodes, Concluded("j", "1-1", "failed")), there)
    assert text.endswith(".")
    assert "None" not in text
    assert "  " not in text


def test_a_full_farm_is_why_an_entry_waits() -> None:
    for here in (replace(HERE, ahead=3, full=True), replace(HERE, read_ms=10, reads=99, full=True)):
        text = explain(JobState("j", "waiting", "1700000000000-0"), here)
        assert "farm.max_open_runs" in text
        assert "read on" not in text
        assert "not usual" not in text


def test_a_paused_queue_is_why_a_node_waits() -> None:
    text = explain(opened(node(1, "ready")), around(Place(queue="gpu", ahead=2), paused=frozenset({"gpu"})))
    assert text.endswith("Paused: gpu; nothing is taken from there until `resume`.")
    assert "alive" not in text
