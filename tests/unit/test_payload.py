"""Payloads are taken apart at their outermost level only; the text of every member stays as it was."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.graph.payload import members, merge_input
from tests.unit.examples import many
from tests.unit.json_texts import object_text, payload, randoms, space, spelled, value
from tests.unit.rules import merged


def some_payload(random: Random) -> str | None:
    """The text of an object, mostly; or of something else, or nothing."""
    if random.random() < 0.1:
        return None
    chosen = payload(random) if random.random() < 0.8 else value(random)
    return space(random) + spelled(chosen, random) + space(random)


class TestMembers:
    @many
    @given(randoms)
    def test_every_member_keeps_its_text(self, random: Random) -> None:
        texts = {name: spelled(item, random) for name, item in payload(random).items()}
        whole = space(random) + object_text(texts.items(), random) + space(random)
        found = members(whole)
        assert found is not None
        assert list(found.items()) == list(texts.items())

    @pytest.mark.parametrize("text", [None, "null", "[]", "1", '"{"', ' [{"a":1}]', "true", '"x"'])
    def test_what_is_no_object_has_none(self, text: str | None) -> None:
        assert members(text) is None

    @pytest.mark.parametrize("text", ["{}", " {}", "\r\n\t { }"])
    def test_an_empty_object(self, text: str) -> None:
        assert members(text) == {}

    def test_of_a_name_given_twice_the_last_counts(self) -> None:
        assert members('{"a":1,"b":2,"\\u0061":3}') == {"a": "3", "b": "2"}


class TestMerge:
    @many
    @given(randoms, st.integers(0, 4))
    def test_as_dictionaries_merge(self, random: Random, sources: int) -> None:
        own = some_payload(random)
        outputs = [some_payload(random) for _ in range(sources)]
        result = merge_input(own, outputs)
        if any(members(output) for output in outputs):
            assert result is not None
            wanted = merged(own, outputs)
            assert json.loads(result) == wanted
            assert list(json.loads(result)) == list(wanted), "keys stand where they first stood"
        else:
            assert result == own, "untouched, to the byte"

    @many
    @given(randoms, st.integers(1, 4))
    def test_every_value_keeps_the_text_of_the_last_who_gave_it(self, random: Random, sources: int) -> None:
        own = some_payload(random)
        outputs = [some_payload(random) for _ in range(sources)]
        result = members(merge_input(own, outputs)) or {}
        for name, raw in result.items():
            givers = [text for text in (own, *outputs) if name in (members(text) or {})]
            assert raw == (members(givers[-1]) or {})[name]

    @pytest.mark.parametrize(
        ("own", "outputs", "wanted"),
        [
            (None, [], None),
            (None, [None], None),
            (None, ["{}"], None),
            (None, ["null", "[]", "3", '"x"'], None),
            ("null", [], "null"),
            ("null", ["{}"], "null"),
            ("null", ['{"a":1}'], '{"a":1}'),
            ("[1]", ['{"a":1}'], '{"a":1}'),
            ('"text"', [None], '"text"'),
            ("{ }", ["{}", None], "{ }"),
            ('{"a":1}', ["null"], '{"a":1}'),
            ('{"a":1.0,"b":2}', ['{"a":1E0}'], '{"a":1E0,"b":2}'),
            ('{"a":1}', ['{"a":2}', '{"a":3}'], '{"a":3}'),
            ('{"a":1}', ['{"a":3}', '{"a":2}'], '{"a":2}'),
            ('{"a":{"x":1}}', ['{"a":{"y":2}}'], '{"a":{"y":2}}'),
            ('{"a":1}', ['{"a":null}'], '{"a":null}'),
            (None, ['{"n": 98765432109876543210 ,"f":-0.0}'], '{"n":98765432109876543210,"f":-0.0}'),
            (None, ['{ "e":[ ] }', '{"o" : { } }'], '{"e":[ ],"o":{ }}'),
            (None, ['{"\\u00e9\\ud83d":"\\ud83d"}'], '{"\\u00e9\\ud83d":"\\ud83d"}'),
        ],
    )  # fmt: skip
    def test_by_example(self, own: str | None, outputs: list[str | None], wanted: str | None) -> None:
        assert merge_input(own, outputs) == wanted

    def test_it_reads_sources_one_by_one(self) -> None:
        assert merge_input(None, (text for text in ('{"a":1}', '{"b":2}'))) == '{"a":1,"b":2}'
