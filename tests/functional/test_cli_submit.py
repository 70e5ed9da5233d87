"""Sending a graph: as it came, and only when the farm would take it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.functional.command_line import Run, one_line, run_in
from tests.functional.command_line import cli as cli
from tests.functional.command_line import on_farm as on_farm
from tests.functional.harness import Farm, graph, node


def written(folder: Path, document: dict[str, Any] | str) -> str:
    file = folder / "graph.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(file)


def test_the_text_is_sent_as_it_came(cli: Run, text_client: redis.Redis, tmp_path: Path) -> None:
    text = '{"schema": "langgraph.v1",\n "workflowId":"j1", "edges":[],\n'
    text += ' "context": {"n": 1.0, "é": []}, "nodes": ['
    text += '{"id":"a","service":"s","plane":"python","status":"pending"}]}\n'
    before = time.time_ns() // 10**6
    result = cli("submit", written(tmp_path, text))
    assert (result.exit_code, result.output) == (0, "j1\n")
    renamed = cli("submit", "-", "--job-id", "j2", "--json", given=text)
    sent: Any = text_client.xrange("process:data")
    (_, first), (entry, second) = sent
    assert first.pop("created").isdigit()
    assert before <= int(second.pop("created")) <= time.time_ns() // 10**6
    assert first == {"jobId": "j1", "graph": text}
    assert second == {"jobId": "j2", "graph": text.replace('"j1"', '"j2"')}
    assert json.loads(renamed.stdout) == {"jobId": "j2", "entry": entry, "nodes": 1}


def test_streams_are_the_configured_ones(cli: Run, text_client: redis.Redis, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "redis.bridge.json").write_text(
        '{"streams": {"data": "stream:data", "control": "stream:control"}}'
    )
    assert cli("submit", "-", given=json.dumps(graph([node("a")]))).exit_code == 0
    assert text_client.xlen("stream:data") == 1


def test_a_second_visit_while_one_is_open_is_remarked(on_farm: Run, running: Farm) -> None:
    document = graph([node("a", "test.gate")])
    job = running.submit(document)
    running.wait_started(job, "a")
    result = on_farm("submit", "-", given=json.dumps(document))
    assert "has an open run: this repeats its graph" in result.stderr
    result = on_farm("submit", "-", given=json.dumps({**document, "metadata": {}}))
    assert "has an open run: this visit follows it" in result.stderr
    running.open_gate(job, "a")
    running.wait_started(job, "a")
    running.open_gate(job, "a")
    running.wait_back(job, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "graph: not JSON"),
        ("{", "graph: not JSON"),
        ("[]", "graph"),
        ("{}", "graph.schema: Field required"),
        (json.dumps(graph([])), "graph.nodes"),
        (json.dumps(graph([node("a"), node("b")], [("a", "b"), ("b", "a")])), "cycle: "),
        (json.dumps(graph([node("a")], [("a", "z")])), "names 'z', which is no node"),
        (json.dumps(graph([node("a"), node("a")])), "already the id of another node"),
        (json.dumps(graph([node("a", output=float("nan"))])), "NaN is not JSON"),
        (json.dumps(graph([node("a", extra=1)])), "graph.nodes[0].extra"),
        (json.dumps(graph([node("a")], job="a:b")), "contains a colon"),
        (json.dumps(graph([node("a")], job="\ud800")), "graph"),
        (b"\xff\xfe", "graph is not UTF-8"),
        (b"\xef\xbb\xbf{}", "graph: not JSON"),
    ],
)
def test_a_graph_that_the_farm_would_refuse_is_not_sent(
    cli: Run, text_client: redis.Redis, text: str | bytes, words: str
) -> None:
    message = one_line(cli("submit", "-", given=text), 1)
    assert message.startswith("the graph was not sent: ")
    assert words in message
    assert text_client.keys() == []


@pytest.mark.parametrize("job", ["a:b", "", "x" * 2000])
def test_a_job_id_that_the_farm_would_refuse_is_not_sent(
    cli: Run, text_client: redis.Redis, job: str
) -> None:
    result = cli("submit", "-", "--job-id", job, given=json.dumps(graph([node("a")])))
    assert one_line(result, 1).startswith("the graph was not sent: jobId")
    assert text_client.keys() == []


def test_a_graph_beyond_the_limits_is_not_sent(farm_env: dict[str, str]) -> None:
    text = json.dumps(graph([node("a"), node("b")]))
    assert "at most 1 are taken" in one_line(
        run_in({**farm_env, "FARM_MAX_NODES": "1"}, "submit", "-", given=text), 1
    )
    assert "at most 9 are taken" in one_line(
        run_in({**farm_env, "FARM_MAX_ENTRY_BYTES": "9"}, "submit", "-", given=text), 1
    )


def test_a_timeout_goes_with_watching(cli: Run, text_client: redis.Redis) -> None:
    result = cli("submit", "-", "--timeout", "3", given=json.dumps(graph([node("a")])))
    assert result.exit_code == 2
    assert "--timeout goes with --watch" in result.stderr
    assert text_client.keys() == []
