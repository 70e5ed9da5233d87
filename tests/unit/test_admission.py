"""From the bytes of a stream entry to a plan, or to a reason that names the field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.admission import MAX_JOB_ID_BYTES, Admission, job_of, read_entry
from myspinbot_worker.errors import RejectedEntry
from tests.unit.examples import many, some
from tests.unit.graphs import text_of
from tests.unit.json_texts import SpelledGraph, filled_graphs, randoms, spelled_graphs
from tests.unit.test_schemas import by_schema, damage, places

ENTRY_ID = "1700000000123-7"
NODE: dict[str, Any] = {"id": "a", "service": "s", "plane": "python", "status": "pending"}
EDGE: dict[str, Any] = {"from": "a", "to": "b"}
ABSENT = object()


def graph(**changes: Any) -> dict[str, Any]:
    """A small valid graph, its top level changed."""
    whole = {
        "schema": "langgraph.v1",
        "workflowId": "job-1",
        "nodes": [NODE, {**NODE, "id": "b"}],
        "edges": [EDGE],
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not ABSENT}


def node(**changes: Any) -> dict[str, Any]:
    """The graph with its first node changed."""
    changed = {name: value for name, value in {**NODE, **changes}.items() if value is not ABSENT}
    return graph(nodes=[changed, {**NODE, "id": "b"}])


def edge(**changes: Any) -> dict[str, Any]:
    """The graph with its edge changed."""
    renamed = {name.removesuffix("_"): value for name, value in changes.items()}
    return graph(edges=[{k: v for k, v in {**EDGE, **renamed}.items() if v is not ABSENT}])


def chain(size: int, *, closed: bool = False) -> dict[str, Any]:
    return graph(
        nodes=[{**NODE, "id": f"n{i}"} for i in range(size)],
        edges=[{"from": f"n{i}", "to": f"n{(i + 1) % size}"} for i in range(size if closed else size - 1)],
    )


def entry(
    text: str | bytes | dict[str, Any] | None = None,
    job: bytes | None = b"job-1",
    created: bytes | None = b"1700",
) -> dict[bytes, bytes]:
    if not isinstance(text, bytes):
        text = (text if isinstance(text, str) else json.dumps(text or graph())).encode()
    fields = {b"jobId": job, b"created": created, b"graph": text}
    return {name: value for name, value in fields.items() if value is not None}


def refusal(fields: dict[bytes, bytes], **limits: int) -> str:
    with pytest.raises(RejectedEntry) as error:
        read_entry(ENTRY_ID, fields, **limits)
    assert error.value.code == "bad_entry"
    assert not error.value.retryable
    assert error.value.message == str(error.value)
    assert error.value.message.encode(), "it is written into a stream and a log"
    return error.value.message


def bad(make: Callable[..., Any], place: str, row: tuple[Any, ...]) -> list[tuple[Any, str]]:
    """Graphs with one key set to each of some values, and what the reason must name."""
    name, *values = row
    return [(make(**{name: value}), f"{place}.{name.removesuffix('_')}") for value in values]


TOP: list[tuple[Any, ...]] = [
    ("surplus", 1),
    ("schema", ABSENT, "langgraph.v2", None),
    ("workflowId", ABSENT, 7, None, "job-2", "JOB-1", "", "job-1 "),
    ("nodes", ABSENT, [], {}, None),
    ("edges", ABSENT, {}, None),
    ("context", None, [], "x"),
    ("metadata", None, [], 0),
]
OF_A_NODE: list[tuple[Any, ...]] = [
    ("surplus", 1),
    ("Status", "pending"),
    *((name, ABSENT, None, 1, [], {}) for name in NODE),
    ("plane", "Python", "", "gpu"),
    ("status", "queued", "", "PENDING"),
    ("name", None, 1, []),
    ("params", [], "x", 1, False),
    ("error", [], "x", 1, {"message": 1}, {"code": None}),
    ("retries", [], "x", 1, {"tries": 1}),
    ("retries", *({"attempt": value} for value in (-1, True, None, "1", 0.5))),
    ("retries", *({"maxAttempts": value} for value in (0, -1, None, "3"))),
    ("tags", "x", {}, [1], [None]),
    ("telemetry", [], "x"),
    ("progressWeight", None, -1, -5e-324, True, "1", 10**400),
]
OF_AN_EDGE: list[tuple[Any, ...]] = [
    ("surplus", 1),
    *((name, ABSENT, None, 1, []) for name in ("from_", "to")),
    ("kind", None, "sometimes", "", 1),
    ("metadata", [], "x", 1),
]
VIOLATIONS: list[tuple[Any, str]] = [
    *(case for row in TOP for case in bad(graph, "graph", row)),
    *(case for row in OF_A_NODE for case in bad(node, "graph.nodes[0]", row)),
    *(case for row in OF_AN_EDGE for case in bad(edge, "graph.edges[0]", row)),
    (graph(nodes=[NODE, 1]), "graph.nodes[1]"),
    (graph(nodes=[NODE, None]), "graph.nodes[1]"),
    (graph(edges=["a-b"]), "graph.edges[0]"),
    *((text, "graph") for text in ("[]", "null", "1", '"x"', "{}", "[{}]")),
    # The shape is right, the graph is not.
    (graph(nodes=[NODE, NODE], edges=[]), "nodes[1].id"),
    (edge(from_="x"), "edges[0].from"),
    (edge(to="x"), "edges[0].to"),
    (graph(edges=[EDGE, {"from": "b", "to": "c"}]), "edges[1].to"),
    (edge(to="a"), "a → a"),
    (graph(edges=[EDGE, {"from": "b", "to": "a", "kind": "on_failure"}]), "cycle"),
    (chain(1000, closed=True), "cycle"),
]

NOT_UTF8 = [b"\xff", b"job-\xe9", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"]


class TestRefused:
    @pytest.mark.parametrize(("bad", "place"), VIOLATIONS)
    def test_a_graph_that_is_none(self, bad: Any, place: str) -> None:
        assert place in refusal(entry(bad))

    @pytest.mark.parametrize("job", [None, b""])
    def test_no_job_id(self, job: bytes | None) -> None:
        assert "jobId" in refusal(entry(job=job))

    @pytest.mark.parametrize("job", [b":", b"a:b", b"job-1:", b":job-1"])
    def test_a_colon_in_the_job_id(self, job: bytes) -> None:
        message = refusal(entry(graph(workflowId=job.decode()), job=job))
        assert "jobId" in message
        assert "colon" in message

    def test_a_job_id_that_is_too_long(self) -> None:
        job = "\u00e9" * (MAX_JOB_ID_BYTES // 2)
        assert read_entry(ENTRY_ID, entry(graph(workflowId=job), job=job.encode())).job == job
        assert "jobId" in refusal(entry(graph(workflowId=job + "x"), job=job.encode() + b"x"))

    def test_no_graph(self) -> None:
        fields = entry()
        del fields[b"graph"]
        assert "graph" in refusal(fields)

    def test_no_fields_at_all(self) -> None:
        assert "jobId" in refusal({})

    @pytest.mark.parametrize("bad", NOT_UTF8)
    def test_what_is_not_utf8(self, bad: bytes) -> None:
        assert "jobId is not UTF-8" in refusal(entry(job=bad))
        text = json.dumps(graph()).encode()
        assert "graph is not UTF-8" in refusal(entry(text.replace(b'"a"', b'"' + bad + b'"')))
        assert "graph is not UTF-8" in refusal(entry(bad))

    @pytest.mark.parametrize(
        "text",
        ["", " ", "{", "nonsense", '{"a":1,}', "\x00", json.dumps(graph()) + "\x00", json.dumps(graph())[:-1],
         json.dumps(graph()) + "{}", "\ufeff" + json.dumps(graph()), json.dumps(node(service="a\x01"))
         .replace("\\u0001", "\x01")],
    )  # fmt: skip
    def test_what_is_not_json(self, text: str) -> None:
        message = refusal(entry(text))
        assert message.startswith("graph: not JSON: ")
        assert "line 1 column" in message

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "8" * 5000])
    @pytest.mark.parametrize("field", ["params", "input", "output", "telemetry", "progressWeight"])
    def test_numbers_that_are_none(self, number: str, field: str) -> None:
        value = "@@" if field == "progressWeight" else {"x": ["@@"]}
        assert refusal(entry(json.dumps(node(**{field: value})).replace('"@@"', number))).startswith("graph")

    def test_too_deep(self) -> None:
        text = json.dumps(node(input="@@")).replace('"@@"', "[" * 50_000 + "]" * 50_000)
        assert "nested too deeply" in refusal(entry(text))

    def test_too_many_nodes(self) -> None:
        assert read_entry(ENTRY_ID, entry(chain(5)), max_nodes=5)
        message = refusal(entry(chain(6)), max_nodes=5)
        assert "graph.nodes" in message
        assert "6" in message

    def test_too_many_bytes(self) -> None:
        text = json.dumps(graph())
        assert read_entry(ENTRY_ID, entry(text), max_bytes=len(text))
        message = refusal(entry(text), max_bytes=len(text) - 1)
        assert message.startswith("graph ")
        assert str(len(text)) in message

    def test_many_faults_at_once_make_a_short_reason(self) -> None:
        message = refusal(entry(graph(nodes=[{"id": i} for i in range(1000)])))
        assert "graph.nodes[0]" in message
        assert "more" in message
        assert len(message) < 1000

    def test_the_graphs_secrets_are_not_repeated(self) -> None:
        assert "hunter2" not in refusal(entry(node(params="hunter2", retries={"attempt": "hunter2"})))


SURROGATE = "\ud800"


class TestLoneSurrogates:
    """JSON can spell them, UTF-8 cannot: Redis would take no key, no message and no reason that holds one."""

    @pytest.mark.parametrize(
        ("bad", "place"),
        [
            (graph(nodes=[{**NODE, "id": SURROGATE}], edges=[]), "nodes[0].id"),
            (graph(nodes=[{**NODE, "service": SURROGATE}], edges=[]), "nodes[0].service"),
        ],
    )
    def test_in_what_the_farm_sends_on(self, bad: Any, place: str) -> None:
        assert place in refusal(entry(bad))

    @pytest.mark.parametrize(
        "bad",
        [
            graph(**{SURROGATE: 1}),
            node(**{SURROGATE: 1}),
            graph(workflowId=SURROGATE),
            edge(from_=SURROGATE),
            edge(to=SURROGATE),
            node(status=SURROGATE),
            graph(nodes=[{**NODE, "id": SURROGATE}] * 2, edges=[]),
        ],
    )
    def test_in_what_is_refused_anyway(self, bad: Any) -> None:
        refusal(entry(bad))

    def test_in_what_the_reason_names(self) -> None:
        named = graph(nodes=[{**NODE, "id": SURROGATE}], edges=[{"from": SURROGATE, "to": SURROGATE}])
        refusal(entry(named))

    def test_in_payloads_they_are_carried(self) -> None:
        payload = {SURROGATE: [SURROGATE, "\udfff"]}
        admitted = read_entry(ENTRY_ID, entry(node(params=payload, input=payload, output=payload)))
        assert admitted.document.nodes[0].raw["params"] == json.dumps(payload)


class TestJobOf:
    @pytest.mark.parametrize(
        ("fields", "job"),
        [
            ({}, None),
            ({b"jobId": b""}, None),
            ({b"jobId": b"a:b"}, None),
            ({b"jobId": b":"}, None),
            ({b"jobId": b"\xff"}, None),
            ({b"jobId": b"x" * MAX_JOB_ID_BYTES}, "x" * MAX_JOB_ID_BYTES),
            ({b"jobId": b"x" * (MAX_JOB_ID_BYTES + 1)}, None),
            ({b"jobId": b"job-1"}, "job-1"),
            ({b"jobId": b" "}, " "),
            ({b"jobId": "\u00e9|/".encode()}, "\u00e9|/"),
            ({b"jobId": b"\x00"}, "\x00"),
            ({b"jobid": b"job-1", b"graph": b"{}"}, None),
        ],
    )
    def test_who_can_be_told_of_a_refusal(self, fields: dict[bytes, bytes], job: str | None) -> None:
        assert job_of(fields) == job

    def test_a_bad_graph_has_a_job_all_the_same(self) -> None:
        assert job_of(entry("nonsense")) == "job-1"


class TestAdmitted:
    @many
    @given(spelled_graphs)
    def test_any_valid_graph(self, given: SpelledGraph) -> None:
        admitted = read_entry(ENTRY_ID, entry(given.text))
        assert admitted.document.text == given.text
        assert [node.id for node in admitted.plan.nodes] == [node.id for node in admitted.document.nodes]
        assert (admitted.job, admitted.created) == ("job-1", "1700")

    @pytest.mark.parametrize(
        "job", ["x", "\x00", "a b", "\u00e9", "{}", "|", "*", "a/b", "..", "\U0001f600", "\n"]
    )
    def test_any_job_id_without_a_colon(self, job: str) -> None:
        assert read_entry(ENTRY_ID, entry(graph(workflowId=job), job=job.encode())).job == job

    def test_further_fields_are_no_matter(self) -> None:
        assert read_entry(ENTRY_ID, {**entry(), b"\xff": b"\xff", b"trace": b"x"}).job == "job-1"

    @pytest.mark.parametrize("created", [b"0", b"1700000000000", b"9999999999999999", b"007"])
    def test_created_is_kept(self, created: bytes) -> None:
        assert read_entry(ENTRY_ID, entry(created=created)).created == created.decode()

    @pytest.mark.parametrize(
        "created",
        [
            None,
            b"",
            b"now",
            b"-1",
            b"1.5",
            b"1e3",
            b" 1",
            b"\xff",
            b"\xd9\xa1",
            b"\xc2\xb2",
            b"1" * 17,
            b"1_0",
        ],
    )
    def test_the_entrys_own_time_stands_in_for_a_garbled_created(self, created: bytes | None) -> None:
        assert read_entry(ENTRY_ID, entry(created=created)).created == "1700000000123"

    def test_a_large_graph(self) -> None:
        assert len(read_entry(ENTRY_ID, entry(chain(2000))).plan.order) == 2000

    def test_unusual_optional_values(self) -> None:
        read_entry(
            ENTRY_ID, entry(node(name="", params=None, error=None, retries=None, tags=None, telemetry=None))
        )
        read_entry(
            ENTRY_ID, entry(node(error={}, retries={}, tags=[], progressWeight=0, input=None, output=[]))
        )
        read_entry(ENTRY_ID, entry(node(error={"more": 1, "details": None}, progressWeight=1e308)))
        read_entry(ENTRY_ID, entry(edge(kind="on_failure", metadata=None)))
        read_entry(ENTRY_ID, entry(graph(edges=[EDGE, EDGE], context={}, metadata={})))


class TestFingerprint:
    @staticmethod
    def of(fields: dict[bytes, bytes], entry_id: str = ENTRY_ID) -> tuple[str, str]:
        return read_entry(entry_id, fields).fingerprint

    def test_of_the_same_entry_sent_twice(self) -> None:
        assert self.of(entry(), "1-1") == self.of(entry(), "2-2")

    def test_of_another_visit_with_the_same_graph(self) -> None:
        first, second = self.of(entry(created=b"1")), self.of(entry(created=b"2"))
        assert first[0] == second[0]
        assert first[1] != second[1]

    def test_of_the_same_graph_in_another_spelling(self) -> None:
        one, other = self.of(entry()), self.of(entry(json.dumps(graph()) + " "))
        assert one[0] != other[0]
        assert one[1] != other[1]


class TestAnything:
    """Whatever comes is admitted, or refused with a reason that can be written down."""

    @staticmethod
    def read(fields: dict[bytes, bytes]) -> Admission | None:
        try:
            return read_entry(ENTRY_ID, fields)
        except RejectedEntry as error:
            error.message.encode()
            return None

    @many
    @given(graph=filled_graphs, data=st.data())
    def test_a_damaged_graph(self, graph: dict[str, Any], data: st.DataObject) -> None:
        graph = copy.deepcopy(graph)
        container, key = data.draw(st.sampled_from(places(graph)))
        if data.draw(st.booleans()):
            container[key] = data.draw(damage)
        else:
            del container[key]
        admitted = self.read(entry(text_of(graph)))
        if not by_schema("langgraph.v1", graph):
            assert admitted is None
        elif admitted is None:
            ids = [node["id"] for node in graph["nodes"]]
            ends = {edge[end] for edge in graph["edges"] for end in ("from", "to")}
            assert len(set(ids)) < len(ids) or not ends <= set(ids) or graph["workflowId"] != "job-1"

    @many
    @given(given=spelled_graphs, random=randoms)
    def test_damaged_bytes(self, given: SpelledGraph, random: Random) -> None:
        for _ in range(5):
            raw = bytearray(given.text.encode())
            for _ in range(random.randint(1, 3)):
                at = random.randrange(len(raw))
                match random.randrange(3):
                    case 0:
                        raw[at] = random.randrange(256)
                    case 1:
                        del raw[at : at + random.randint(1, 20)]
                    case _:
                        raw[at:at] = random.choice(
                            [b'"', b"{", b"}", b"[", b",", b"\\", b"0", b"\x00", b"null"]
                        )
            self.read(entry(bytes(raw)))

    @some
    @given(st.dictionaries(st.sampled_from([b"jobId", b"graph", b"created", b"x"]), st.binary(max_size=20)))
    def test_random_fields(self, fields: dict[bytes, bytes]) -> None:
        assert self.read(fields) is None
