"""Workflows as text from anywhere: read, or refused with node and input."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.comfy.engine import InvalidPrompt
from myspinbot_worker.comfy.prompt import PromptLimits, check_prompt, find_cycle, needed_for, parse_prompt
from tests.comfy.prompts import node, one_refused, refused, scaled
from tests.unit.examples import many


def test_an_export_is_read_as_it_is() -> None:
    exported = scaled()
    exported["1"]["_meta"] = {"title": "Picture"}
    exported["2"]["is_changed"] = ["x"]
    text = json.dumps(exported)
    assert parse_prompt(text) == parse_prompt(b"\xef\xbb\xbf" + text.encode()) == exported


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON: line 1, column 1"),
        ("{", "not JSON: line 1"),
        ("[]", "expected an object of nodes, not a list"),
        ("null", "not null"),
        ("3", "not a number"),
        ('"x"', "not text"),
        ("{}", "it has no nodes"),
        ('{"nodes": [], "links": [], "version": 0.4}', "export it with 'Export (API)'"),
        ('{"prompt": {"3": {}}, "client_id": "x"}', "under its key 'prompt'"),
        ("[" * 200_000, "nested too deeply"),
        (b"\xff{}", "byte 0: expected UTF-8"),
        (json.dumps({"3": node("A", x=json.loads("[" * 40 + "]" * 40))}), "32 levels deep"),
        ('{"3": {"class_type": "A", "inputs": {"x": %s}}}' % ("9" * 5000), "not JSON"),
        (
            '{"3": {"class_type": "A", "inputs": {}}, "3": {"class_type": "B", "inputs": {}}}',
            "'3' stands twice",
        ),
    ],
)
def test_what_is_no_workflow(text: str | bytes, said: str) -> None:
    problem = one_refused(lambda: parse_prompt(text))
    assert said in problem["problem"]
    assert problem["node"] is None


@pytest.mark.parametrize(
    ("broken", "where", "said"),
    [
        ({"3": []}, ("3", None, None), "expected an object with class_type and inputs, not a list"),
        ({"version": 1}, ("version", None, None), "not a number"),
        ({"3": {"inputs": {}}}, ("3", None, None), "no class_type"),
        ({"3": {"class_type": "", "inputs": {}}}, ("3", None, None), "no class_type"),
        ({"3": {"class_type": 7, "inputs": {}}}, ("3", None, None), "no class_type"),
        ({"3": {"class_type": "A"}}, ("3", "A", None), "inputs must be an object, not null"),
        ({"3": {"class_type": "A", "inputs": []}}, ("3", "A", None), "not a list"),
        ({"3": node("A", x=["9", 0])}, ("3", "A", "x"), "links to node '9', which is not there"),
        ({"3": node("A"), "4": node("B", y=["3", -1])}, ("4", "B", "y"), "output -1 of node '3'"),
        ({"3": node("A"), "4": node("B", y=["3", 0.5])}, ("4", "B", "y"), "counted 0, 1, 2"),
        ({"3": node("A", x="\ud800")}, ("3", "A", "x"), "no valid Unicode"),
    ],
)
def test_what_is_wrong_with_a_node(broken: Any, where: tuple[Any, ...], said: str) -> None:
    problem = one_refused(lambda: check_prompt(broken))
    assert (problem["node"], problem["class"], problem["input"]) == where
    assert said in problem["problem"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("value", ["%s", "[1, [%s]]", '{"a": {"b": %s}}'])
def test_numbers_that_are_none(number: str, value: str) -> None:
    text = '{"3": {"class_type": "A", "inputs": {"x": %s}}}' % (value % number)
    problem = one_refused(lambda: parse_prompt(text))
    assert (problem["node"], problem["class"], problem["input"]) == ("3", "A", "x")


def test_all_problems_are_told_at_once() -> None:
    broken = {str(number): {"class_type": "A"} for number in range(250)}
    problems = refused(lambda: check_prompt(broken))
    assert [problem["node"] for problem in problems[:100]] == [str(number) for number in range(100)]
    assert problems[100]["problem"] == "150 more problems, which are not told"


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ({"3": "5", "5": "3"}, "3 -> 5 -> 3"),
        ({"3": "3"}, "3 -> 3"),
        ({"1": "2", "2": "3", "3": "4", "4": "2"}, "2 -> 4 -> 3 -> 2"),
    ],
)
def test_nodes_that_wait_for_each_other(edges: dict[str, str], told: str) -> None:
    prompt = {id_: node("A", x=[source, 0]) for id_, source in edges.items()}
    assert told in one_refused(lambda: check_prompt(prompt))["problem"]


def test_a_long_chain_is_no_cycle_and_costs_no_stack() -> None:
    chain = {str(number): node("A", x=[str(number + 1), 0]) for number in range(1999)} | {"1999": node("A")}
    assert check_prompt(chain) is chain
    assert needed_for(chain, ["1990"]) == {str(number) for number in range(1990, 2000)}


def test_a_huge_text_is_refused_before_it_is_parsed() -> None:
    text = b"[" + b"1," * 50_000_000 + b"1]"
    began = time.process_time()
    problem = one_refused(lambda: parse_prompt(text))
    # Parsing it takes seconds.
    assert time.process_time() - began < 0.1
    assert "more than the 8388608 bytes of comfyui.max_workflow_bytes" in problem["problem"]


def test_limits() -> None:
    text = json.dumps(scaled())
    assert parse_prompt(text, PromptLimits(max_bytes=len(text), max_nodes=3))
    assert (
        "max_workflow_bytes"
        in one_refused(lambda: parse_prompt(text, PromptLimits(max_bytes=len(text) - 1)))["problem"]
    )
    assert (
        "max_workflow_nodes" in one_refused(lambda: parse_prompt(text, PromptLimits(max_nodes=2)))["problem"]
    )


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["1", "2", "3"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["class_type", "inputs", "1", "2", "x"]), inner, max_size=3)
    ),
    max_leaves=20,
)
_nodes = st.dictionaries(
    st.sampled_from(["1", "2", "3"]),
    st.fixed_dictionaries(
        {
            "class_type": st.sampled_from(["A", "B"]),
            "inputs": st.dictionaries(st.text(max_size=3), _json, max_size=3),
        }
    ),
    max_size=3,
)


@many
@given(_json | _nodes)
def test_any_document_is_a_prompt_or_refused(document: Any) -> None:
    try:
        prompt = check_prompt(document)
    except InvalidPrompt as error:
        json.dumps([error.message, error.details], allow_nan=False).encode()
        return
    assert find_cycle(prompt) is None
    json.dumps(prompt, allow_nan=False)
    assert all(
        isinstance(one["class_type"], str) and isinstance(one["inputs"], dict) for one in prompt.values()
    )


@many
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_is_refused_in_plain_words(text: bytes | str) -> None:
    refused(lambda: parse_prompt(text))
