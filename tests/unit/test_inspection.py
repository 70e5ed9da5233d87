"""The pure parts of looking at jobs: reading snapshots, words for times, what is shown, replaced ids."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from myspinbot_worker.cli.graph_text import job_id_of, with_job_id
from myspinbot_worker.cli.output import ago, clean, duration, moment, percent
from myspinbot_worker.cli.records import job_record
from myspinbot_worker.cli.views import JobView, most_telling, render_job
from myspinbot_worker.graph.document import Document
from myspinbot_worker.inspection import nodes_of_graph
from myspinbot_worker.job_state import Concluded, JobState, NodeState, count_states
from tests.unit.graphs import graphs, text_of

STATES = ("waiting", "ready", "running", "completed", "failed", "skipped")


@given(graphs())
def test_every_node_of_a_graph_is_read(graph: dict[str, Any]) -> None:
    nodes = list(nodes_of_graph(text_of(graph)))
    assert [node.id for node in nodes] == [node["id"] for node in graph["nodes"]]
    assert [node.ours for node in nodes] == [node["plane"] == "python" for node in graph["nodes"]]
    assert sum(count_states(nodes).values()) == len(nodes)
    json.dumps(job_record(JobState("job-1", "elsewhere", nodes=tuple(nodes))))


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "7", '{"nodes": 7}', '{"nodes": {}}', '{"nodes": [1, null, []]}', "[" * 100_000],
)
def test_what_is_no_graph_has_no_nodes(text: str) -> None:
    assert list(nodes_of_graph(text)) == []


def test_odd_fields_of_a_snapshot_do_no_harm() -> None:
    text = json.dumps({"nodes": [{"id": 7, "retries": {"attempt": "x"}, "error": "boom", "status": None}]})
    (node,) = nodes_of_graph(text)
    assert (node.id, node.attempts, node.error, node.ours) == ("7", 0, None, False)


def test_the_worker_of_a_failed_node_is_in_its_error() -> None:
    error = {"message": "m", "code": "c", "details": {"worker": "host:7"}}
    text = json.dumps({"nodes": [{"id": "a", "plane": "python", "status": "failed", "error": error}]})
    (node,) = nodes_of_graph(text)
    assert (node.state, node.worker, node.error, node.fraction) == ("failed", "host:7", error, 1.0)


@pytest.mark.parametrize(
    ("verdict", "good"),
    [
        ("hand_back", True),
        ("completed", True),
        ("completed_with_skips", True),
        ("failed", False),
        ("cancelled", False),
        ("rejected", False),
    ],
)
def test_which_verdicts_are_good(verdict: str, good: bool) -> None:
    assert Concluded("job", "1-1", verdict).successful is good


# The job id in a graph's text.


@given(graphs(), st.text(min_size=1))
def test_another_job_id_changes_nothing_else(graph: dict[str, Any], job: str) -> None:
    text = text_of(graph)
    changed = with_job_id(text, job)
    assert Document.parse(changed).workflow_id == job
    assert changed.replace(json.dumps(job), '"job-1"', 1) == text or job in text
    assert json.loads(changed) == {**graph, "workflowId": job}


def test_layout_and_numbers_stay_as_they_came() -> None:
    text = '{ "workflowId" :\t"old" ,"context":{"workflowId":"inner","n":1.0, "big":12345678901234567890}}\n'
    assert with_job_id(text, "new") == text.replace('"old"', '"new"')
    assert job_id_of(text) == "old"


def test_of_doubled_keys_the_last_counts_and_all_are_replaced() -> None:
    text = '{"workflowId":"a","workflowId":"b"}'
    assert job_id_of(text) == "b"
    assert with_job_id(text, "c") == '{"workflowId":"c","workflowId":"c"}'


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "{}", '{"workflowId": 7}', '{"workflowId": ""}', "[" * 100_000]
)
def test_a_text_without_a_job_id(text: str) -> None:
    assert job_id_of(text) is None
    with_job_id(text, "new")


# Words and numbers.


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (200_000, "2 d"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_moments() -> None:
    assert moment(None) is None
    assert moment(0) == "1970-01-01T00:00:00.000+00:00"
    assert moment(10**18) is None
    assert ago(None, 5) == ""
    assert ago(1000, 11_000) == "10 s ago"


@pytest.mark.parametrize(
    ("fraction", "words"), [(None, ""), (0.0, "0 %"), (0.29, "29 %"), (0.999, "99 %"), (1.0, "100 %")]
)
def test_percents(fraction: float | None, words: str) -> None:
    assert percent(fraction) == words


@given(st.text())
def test_cleaned_text_cannot_move_the_cursor(text: str) -> None:
    assert clean(text).isprintable()
    assert len(clean(text)) == len(text)


# What is shown.


def node(index: int, state: str = "waiting", **fields: Any) -> NodeState:
    return NodeState(index, f"n{index}", "some.service", state, **fields)


@given(st.lists(st.sampled_from(STATES)), st.integers(1, 10))
def test_active_nodes_are_shown_first(states: list[str], most: int) -> None:
    nodes = [node(index, state) for index, state in enumerate(states)]
    shown = most_telling(nodes, most)
    assert len(shown) == min(most, len(nodes))
    assert [item.index for item in shown] == sorted(item.index for item in shown)
    running = states.count("running")
    assert sum(item.state == "running" for item in shown) >= min(running, most)


def drawn(job: JobState, **options: Any) -> str:
    console = Console(width=120, height=20, force_terminal=False)
    with console.capture() as captured:
        console.print(render_job(job, **options))
    return captured.get()


def test_a_job_is_drawn_with_a_bar_for_each_of_our_nodes() -> None:
    job = JobState(
        "job-1",
        "open",
        progress=0.5,
        nodes=(
            node(0, "completed", fraction=1.0, attempts=1),
            node(1, "running", fraction=0.25, attempts=2, worker="host:1", started_ms=1000),
            node(2, "failed", error={"code": "bad_params", "message": "no\nway"}),
            node(3, "waiting", ours=False),
        ),
    )
    text = drawn(job, now_ms=6000)
    assert "job-1" in text
    assert "50 %" in text
    assert "25 %" in text
    assert "attempt 2, host:1, 5 s" in text
    assert "bad_params: no way" in text
    assert "n3" not in text


def test_a_large_graph_is_summed_up() -> None:
    nodes = tuple(node(index, "running" if index == 900 else "waiting") for index in range(1000))
    text = drawn(JobState("job-1", "open", nodes=nodes), rows=5)
    assert "n900" in text
    assert "995 more; of all 1000: 1 running, 999 waiting" in text


def test_markup_and_escapes_in_names_are_shown_as_they_are() -> None:
    nasty = NodeState(0, "[red]x[/red]\x1b[2J", "s", "waiting")
    text = drawn(JobState("[bold]j", "open", nodes=(nasty,)))
    assert "[red]x[/red]" in text
    assert "[bold]j" in text
    assert "\x1b[2J" not in text


def test_one_view_serves_several_visits() -> None:
    console = Console(width=120, height=20, force_terminal=True, color_system=None, record=True, quiet=False)
    with console.capture() as captured, JobView(console, title="demo") as view:
        view.message("status", "running", "now")
        view.state(JobState("job-1", "open", nodes=(node(0, "running"),)))
        view.message("data", {"frame": 12}, "now")
        view.trouble("gone")
        view.trouble("")
        first = Concluded("job-1", "1-1", "hand_back")
        view.state(JobState("job-1", "ended", last=first))
        view.ended(first)
        assert view.visit == 1
        view.state(JobState("job-1", "waiting"))
        assert view.visit == 2
        view.state(JobState("job-1", "open", nodes=(node(0, "completed"), node(1, "running"))))
        second = Concluded("job-1", "2-1", "completed")
        view.state(JobState("job-1", "ended", last=second, nodes=(node(0, "completed"),)))
        view.ended(second)
    text = captured.get()
    assert "demo" in text
    assert "{'frame': 12}" in text
    assert "Redis is away: gone" in text
    assert "hand back" in text
    assert "visit 2" in text
