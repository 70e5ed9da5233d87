"""Documents come back byte for byte but for what was patched; what is none is refused with a place."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.graph.document import Document
from myspinbot_worker.graph.scanner import DocumentError
from tests.unit.examples import many, some
from tests.unit.graphs import graphs
from tests.unit.json_texts import SpelledGraph, outside, randoms, spelled, spelled_graphs, value

CHANGES = st.builds(
    lambda names, random: {
        name: '{"attempt":7}' if name == "retries" else spelled(value(random), random) for name in names
    },
    st.lists(st.sampled_from(["status", "input", "output", "error", "retries"]), unique=True),
    randoms,
)


NODE = '{"id":"a","service":"s","plane":"python","status":"pending"}'


def graph_text(nodes: str = f"[{NODE}]", edges: str = "[]") -> str:
    return f'{{"schema":"langgraph.v1","workflowId":"j",\n"nodes":{nodes},"edges":{edges}}}'


def node_text(node_id: str, **fields: str) -> str:
    members = {"id": f'"{node_id}"', "service": '"s"', "plane": '"python"', "status": '"pending"', **fields}
    return "{" + ",".join(f'"{name}":{raw}' for name, raw in members.items()) + "}"


def as_written(given: SpelledGraph) -> Any:
    """The document as any JSON reader sees it."""
    return json.loads(given.text)


class TestParse:
    @many
    @given(spelled_graphs)
    def test_an_unpatched_document_comes_back_byte_for_byte(self, given: SpelledGraph) -> None:
        assert Document.parse(given.text).render({}) == given.text

    @some
    @given(graphs())
    def test_so_does_any_valid_graph(self, graph: dict[str, Any]) -> None:
        text = json.dumps(graph, ensure_ascii=False)
        document = Document.parse(text)
        assert document.render({}) == text
        assert json.loads(document.render({0: {"status": "0"}})) == {
            **graph, "nodes": [{**graph["nodes"][0], "status": 0}, *graph["nodes"][1:]]
        }  # fmt: skip

    @some
    @given(spelled_graphs)
    def test_it_knows_the_text_of_every_field(self, given: SpelledGraph) -> None:
        document = Document.parse(given.text)
        assert outside(document) == given.outside
        assert [list(node.raw.items()) for node in document.nodes] == [list(f.items()) for f in given.nodes]

    @some
    @given(spelled_graphs)
    def test_it_reads_what_any_json_reader_reads(self, given: SpelledGraph) -> None:
        seen: list[Any] = []
        document = Document.parse(given.text, validate=seen.append)
        value = as_written(given)
        assert seen == [value]
        assert document.workflow_id == value["workflowId"]
        for node, wanted in zip(document.nodes, value["nodes"], strict=True):
            assert (node.id, node.service, node.plane, node.status) == (
                wanted["id"], wanted["service"], wanted["plane"], wanted["status"],
            )  # fmt: skip
            assert node.progress_weight == wanted.get("progressWeight")
            retries = wanted.get("retries") or {}
            assert node.attempt == retries.get("attempt", 0)
            assert node.max_attempts == retries.get("maxAttempts")
        ids = [node.id for node in document.nodes]
        assert [(ids[edge.source], ids[edge.target], edge.kind) for edge in document.edges] == [
            (edge["from"], edge["to"], edge.get("kind", "normal")) for edge in value["edges"]
        ]

    def test_a_wanted_refusal_passes_through(self) -> None:
        def refuse(value: Any) -> None:
            raise PermissionError(value["workflowId"])

        with pytest.raises(PermissionError, match="j"):
            Document.parse(graph_text(), validate=refuse)

    @pytest.mark.parametrize("text", ["[]", "1", '"x"', "null", " {} ", '{"nodes":{}}', '{"nodes":[1,[{}]]}'])
    def test_other_json_reaches_the_validation(self, text: str) -> None:
        seen: list[Any] = []

        def refuse(value: Any) -> None:
            seen.append(value)
            raise PermissionError

        with pytest.raises(PermissionError):
            Document.parse(text, validate=refuse)
        assert seen == [json.loads(text)]

    def test_of_a_key_given_twice_the_last_counts(self) -> None:
        text = graph_text(f'[{node_text("a", id="1")[:-1]},"id":"z","input":1,"input":[2]}}]')
        document = Document.parse(text)
        assert (document.nodes[0].id, document.nodes[0].raw["input"]) == ("z", "[2]")
        assert document.render({}) == text

    def test_of_two_node_lists_the_last_counts_and_is_patched(self) -> None:
        text = f'{{"nodes":[{node_text("a")},{NODE}],"edges":[],"workflowId":"j","nodes":[{node_text("c")}]}}'
        document = Document.parse(text)
        assert [node.id for node in document.nodes] == ["c"]
        patched = document.render({0: {"status": '"failed"'}})
        before, _, after = text.rpartition("pending")
        assert patched == before + "failed" + after


class TestPatching:
    @many
    @given(given=spelled_graphs, drawn=st.dictionaries(st.integers(0, 5), CHANGES))
    def test_only_the_patched_fields_change(
        self, given: SpelledGraph, drawn: dict[int, dict[str, str]]
    ) -> None:
        document = Document.parse(given.text)
        changes = {index: change for index, change in drawn.items() if index < len(given.nodes)}
        after = Document.parse(document.render(changes))
        assert outside(after) == given.outside
        for node, before in zip(after.nodes, given.nodes, strict=True):
            wanted = {**before, **changes.get(node.index, {})}
            # Same order too: new fields come last.
            assert list(node.raw.items()) == list(wanted.items())
            if node.index not in changes:
                old = document.nodes[node.index]
                assert after.text[node.start : node.end] == given.text[old.start : old.end]

    @some
    @given(given=spelled_graphs, random=randoms)
    def test_patching_twice_is_patching_once(self, given: SpelledGraph, random: Random) -> None:
        first = {i: {"output": spelled([i], random), "status": '"failed"'} for i in range(len(given.nodes))}
        second = {0: {"output": "{}"}}
        document = Document.parse(given.text)
        twice = Document.parse(document.render(first)).render(second)
        once = document.render({**first, 0: {**first[0], **second[0]}})
        assert json.loads(twice) == json.loads(once)

    def test_an_absent_key_stays_absent(self) -> None:
        document = Document.parse(graph_text())
        assert list(json.loads(document.render({0: {"status": '"completed"'}}))["nodes"][0]) == [
            "id", "service", "plane", "status",
        ]  # fmt: skip

    def test_null_stays_null_and_numbers_keep_their_spelling(self) -> None:
        numbers = '{"n": [1.0, 1E2, -0.0, 12345678901234567890]}'
        node = node_text("a", params="null", tags="null", input=numbers)
        patched = Document.parse(graph_text(f"[{node}]")).render({0: {"status": '"completed"'}})
        assert patched == graph_text(f"[{node}]").replace("pending", "completed")

    def test_an_escaped_field_name_is_the_same_field(self) -> None:
        text = graph_text().replace('"status"', '"\\u0073tatus"')
        assert json.loads(Document.parse(text).render({0: {"status": "0"}}))["nodes"][0]["status"] == 0


def nested(depth: int) -> str:
    return graph_text(f"[{node_text('a', input='[' * depth + ']' * depth)}]")


UNUSABLE = [
    pytest.param(graph_text(f"[{node_text('a', input=raw)}]"), id=f"{raw[:12]}-in-a-node")
    for raw in ("NaN", "Infinity", "-Infinity", '{"x":[NaN]}', "1e999", "-1e999", "7" * 5000)
]


class TestRefusals:
    @pytest.mark.parametrize(
        "raw",
        ["NaN", "Infinity", "-Infinity", '{"x":[NaN]}', "1e999", "-1E+999", "7" * 5000, "-" + "7" * 5000],
    )
    def test_numbers_that_are_not_finite_or_endless(self, raw: str) -> None:
        for text in (
            graph_text(f"[{node_text('a', output=raw)}]"),
            graph_text()[:-1] + f',"context":{{"x":{raw}}}}}',
            graph_text(edges=f'[{{"from":"a","to":"a","metadata":{{"x":{raw}}}}}]'),
            raw,
        ):
            with pytest.raises(DocumentError):
                Document.parse(text)

    @pytest.mark.parametrize("text", [*UNUSABLE, pytest.param(nested(100_000), id="deep")])
    def test_what_cannot_be_used_is_refused_with_its_place(self, text: str) -> None:
        with pytest.raises(DocumentError, match=r"line \d+|column|nodes\[0\]"):
            Document.parse(text)

    @pytest.mark.parametrize("depth", [2_000, 100_000])
    def test_deep_nesting(self, depth: int) -> None:
        for text in (nested(depth), "[" * depth, '{"a":' * depth):
            with pytest.raises(DocumentError, match="nested too deeply"):
                Document.parse(text, validate=lambda value: None)

    def test_reasonable_nesting_is_taken(self) -> None:
        assert Document.parse(nested(200)).render({}) == nested(200)

    @some
    @given(spelled_graphs, st.data())
    def test_every_true_prefix_of_a_document(self, given: SpelledGraph, data: st.DataObject) -> None:
        text = given.text.rstrip(" \t\r\n")
        step = len(text) // 20 + 1
        for end in range(data.draw(st.integers(0, step - 1)), len(text), step):
            with pytest.raises(DocumentError, match=r"line \d+ column \d+"):
                Document.parse(text[:end], validate=lambda value: None)

    def test_every_true_prefix_of_a_plain_document(self) -> None:
        nodes = f"[{node_text('a', input='[1.5,true,null]')},{node_text('b')}]"
        text = graph_text(nodes, '[{"from":"a","to":"b"}]')
        Document.parse(text)
        for end in range(len(text)):
            with pytest.raises(DocumentError, match=r"line \d+ column \d+"):
                Document.parse(text[:end])

    @pytest.mark.parametrize("garbage", ["x", "}", ",", "{}", "\x00", "\ufeff", " \n 1", "//", "\u00a0"])
    def test_anything_after_the_document(self, garbage: str) -> None:
        with pytest.raises(DocumentError, match=r"Extra data at line \d+ column \d+"):
            Document.parse(graph_text() + garbage)

    @pytest.mark.parametrize(
        "raw",
        ["01", "+1", ".5", "1.", "0x1", "1_0", "'x'", '"\n"', '"\x00"', '"\\x"', '"\\u12"', "tru", "[1,]",
         "{,}",
         '{"a":1,}', '{"a" 1}', "{a:1}", "[1 2]", '{"a":}', "\u0661"],
    )  # fmt: skip
    def test_what_is_not_json_in_any_place(self, raw: str) -> None:
        for text in (
            graph_text(f"[{node_text('a', input=raw)}]"),
            graph_text(f"[{raw} 1]"),
            graph_text(edges=f"[{raw} 1]"),
        ):
            with pytest.raises(DocumentError, match=r"not JSON: .* at line \d+ column \d+"):
                Document.parse(text)

    @pytest.mark.parametrize(
        "text", ["", " ", "{", "[", '{"nodes"', '{"nodes":[', '{"nodes":[{', "\ufeff{}", "{'a':1}"]
    )
    def test_fragments(self, text: str) -> None:
        with pytest.raises(DocumentError, match=r"line 1 column \d+"):
            Document.parse(text)

    def test_the_place_is_the_right_one(self) -> None:
        with pytest.raises(DocumentError, match=r"at line 2 column 9$"):
            Document.parse(graph_text("x"))

    def test_a_node_id_given_twice(self) -> None:
        with pytest.raises(DocumentError, match=r"nodes\[2\]\.id 'a'"):
            Document.parse(graph_text(f"[{node_text('a')},{node_text('b')},{node_text('a')}]"))

    def test_ids_are_compared_by_value_not_by_spelling(self) -> None:
        with pytest.raises(DocumentError, match=r"nodes\[1\]\.id 'a'"):
            Document.parse(graph_text(f"[{node_text('a')},{node_text(chr(92) + 'u0061')}]"))

    @pytest.mark.parametrize(
        ("edges", "place"),
        [
            ('[{"from":"x","to":"a"}]', r"edges\[0\]\.from names 'x'"),
            ('[{"from":"a","to":"b"},{"from":"a","to":"x"}]', r"edges\[1\]\.to names 'x'"),
            ('[{"from":"a","to":""}]', r"edges\[0\]\.to names ''"),
        ],
    )
    def test_an_edge_to_no_node(self, edges: str, place: str) -> None:
        with pytest.raises(DocumentError, match=place):
            Document.parse(graph_text(f"[{node_text('a')},{node_text('b')}]", edges))
