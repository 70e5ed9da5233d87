"""Stream entries: an admission or a ``RejectedEntry``, nothing else, at a cost that follows their size."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import pytest

from myspinbot_worker.admission import MAX_JOB_ID_BYTES, Admission, job_of, read_entry
from myspinbot_worker.cli.graph_text import job_id_of, with_job_id
from myspinbot_worker.errors import RejectedEntry
from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.ending import Handoff, end_visit
from myspinbot_worker.graph.plan import State, propagate_skips, startable

from .bounds import in_memory, in_time, peak
from .entries import damaged_entry
from .mutations import randoms

COUNT = 5_000
MEMORY_FACTOR = 120
"""Times its size that an entry may take: ``[[],[],…`` takes forty, short texts have the plan's own cost besides."""


def outcome(fields: dict[bytes, bytes]) -> Admission | RejectedEntry:
    try:
        return read_entry("1700000000000-0", fields)
    except RejectedEntry as refused:
        return refused


def check(fields: dict[bytes, bytes]) -> Admission | RejectedEntry:
    """Read an entry; whatever comes of it must be fit for Redis, a log and the control plane."""
    result = outcome(fields)
    job = job_of(fields)
    assert job is None or (":" not in job and len(job.encode()) <= MAX_JOB_ID_BYTES)
    if isinstance(result, RejectedEntry):
        result.message.encode()
        assert 0 < len(result.message) <= 8 * 2000
        return result
    assert result.job == job
    assert result.created.isdigit()
    text = fields[b"graph"].decode()
    assert result.document.render({}) == text
    assert Document.parse(text) == result.document
    states = propagate_skips(result.plan, [node.state for node in result.plan.nodes])
    started = startable(result.plan, states)
    for index in started:
        result.plan.nodes[index].id.encode()
        result.plan.nodes[index].service.encode()
        states[index] = State.COMPLETED
    run = {f"s:{index}": state.value for index, state in enumerate(states)}
    run |= {f"t:{index}": "1" for index in started}
    ended = end_visit(text, run, {f"o:{index}": '{"x": [1.0]}' for index in started}, Handoff())
    ended.graph.encode()
    json.loads(ended.graph)
    assert sum(node.weight for node in result.plan.nodes) <= 1 + 1e-9
    return result


def test_damaged_entries() -> None:
    admitted = 0
    with in_memory():
        for random in randoms("entry", COUNT):
            fields = damaged_entry(random)
            with in_time():
                admitted += isinstance(check(fields), Admission)
    # A fuzzer that breaks everything at the first byte would test the first byte.
    assert COUNT / 20 < admitted < COUNT / 2


def test_what_they_cost() -> None:
    for random in randoms("entry", COUNT // 20):
        fields = damaged_entry(random)
        size = sum(map(len, fields.values()))
        assert peak(lambda fields=fields: outcome(fields)) < 500_000 + MEMORY_FACTOR * size  # type: ignore[misc]


def test_the_command_line_reads_any_graph() -> None:
    for random in randoms("entry", COUNT // 10):
        text = damaged_entry(random).get(b"graph", b"").decode("utf-8", "replace")
        with in_time():
            job_id_of(text)
            with_job_id(text, "other")


def _nodes(count: int) -> str:
    return ",".join(f'{{"id":"{i}","service":"s","plane":"python","status":"pending"}}' for i in range(count))


def _graph(nodes: str, edges: str = "", more: str = "") -> str:
    return f'{{"schema":"langgraph.v1","workflowId":"job-1","nodes":[{nodes}],"edges":[{edges}]{more}}}'


def _edges(pairs: list[tuple[int, int]]) -> str:
    return ",".join(f'{{"from":"{one}","to":"{two}"}}' for one, two in pairs)


MANY = 10_000
LARGE: dict[str, Callable[[], str]] = {
    "a chain of 10,000": lambda: _graph(_nodes(MANY), _edges([(i, i + 1) for i in range(MANY - 1)])),
    "a ring of 10,000": lambda: _graph(_nodes(MANY), _edges([(i, (i + 1) % MANY) for i in range(MANY)])),
    "a star of 10,000": lambda: _graph(_nodes(MANY), _edges([(0, i) for i in range(1, MANY)])),
    "a funnel of 10,000": lambda: _graph(_nodes(MANY), _edges([(i, 0) for i in range(1, MANY)])),
    "a funnel into a ring": lambda: _graph(
        _nodes(MANY), _edges([(i, 0) for i in range(1, MANY)] + [(0, 1)] * 9)
    ),
    "10,001 nodes": lambda: _graph(_nodes(MANY + 1)),
    "one id 10,000 times": lambda: _graph(",".join([_nodes(1)] * MANY)),
    "100,000 loops": lambda: _graph(_nodes(1), _edges([(0, 0)] * 100_000)),
    "100,000 empty edges": lambda: _graph(_nodes(1), ",".join(["{}"] * 100_000)),
    "100,000 keys": lambda: _graph(_nodes(1), "", "".join(f',"k{i}":0' for i in range(100_000))),
    "one key 100,000 times": lambda: _graph(_nodes(1), "", ',"context":{}' * 100_000),
    "lists 100,000 deep": lambda: _graph(
        _nodes(1), "", ',"context":{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    ),
    "lists 500 deep": lambda: _graph(_nodes(1), "", ',"context":{"a":' + "[" * 500 + "]" * 500 + "}"),
    "a string of 5 MB": lambda: _graph(_nodes(1), "", f',"context":{{"a":"{"x" * 5_000_000}"}}'),
    "5 MB of space": lambda: " " * 5_000_000 + _graph(_nodes(1)),
    "a number of 1 MB": lambda: _graph(_nodes(1), "", f',"context":{{"a":{"9" * 1_000_000}}}'),
    "a fraction of 1 MB": lambda: _graph(_nodes(1), "", f',"context":{{"a":0.{"9" * 1_000_000}}}'),
    "an exponent of 1 MB": lambda: _graph(_nodes(1), "", f',"context":{{"a":1e{"9" * 1_000_000}}}'),
    "half a string": lambda: '{"a":"' + "\\u0041" * 500_000,
    "5 MB of brackets": lambda: "[" * 5_000_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_entries(name: str) -> None:
    text = LARGE[name]()
    fields = {b"jobId": b"job-1", b"created": b"1", b"graph": text.encode()}
    with in_memory(), in_time(20):
        result = check(fields)
    fits = name in (
        "a chain of 10,000", "a star of 10,000", "a funnel of 10,000", "one key 100,000 times", "a string of 5 MB",
        "5 MB of space", "a fraction of 1 MB",
    )  # fmt: skip
    assert isinstance(result, Admission if fits else RejectedEntry), result


def test_the_same_seeds_make_the_same_inputs() -> None:
    first, second = ([damaged_entry(random) for random in randoms("entry", 50)] for _ in range(2))
    assert first == second
    assert Random("a").random() == Random("a").random()
