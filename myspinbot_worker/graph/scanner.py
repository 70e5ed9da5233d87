"""A position in JSON text: which part of the text is which value.

The standard library decodes JSON but does not say where in the text a value stood; the farm needs that to
carry values on unchanged.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
# What is common is matched whole: a step for every sign took most of an admission.
_PLAIN_NAME = re.compile(r'[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')
_AFTER_MEMBER = re.compile(r"[ \t\n\r]*([,}])")
_AFTER_ITEM = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")


class DocumentError(ValueError):
    """The text is not a usable graph document; the message says where and why."""


def _refuse_constant(name: str) -> float:
    raise DocumentError(f"{name} is not JSON: numbers must be finite")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise DocumentError(f"number {digits[:40]} is too large: numbers must be finite")
    return value


MAX_DEPTH = 256
"""Deepest nesting of a document; far below what any decoder on either plane can follow."""


def nested_deeper(value: Any, most: int) -> bool:
    """Whether arrays and objects in ``value`` are nested more than ``most`` deep."""
    level = [value]
    for _ in range(most + 1):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite_float)


class Scanner:
    """Walks objects and arrays member by member and leaves every value to the standard decoder.

    The standard decoder tells the end of each value it decodes, which is all that is needed to know its text.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def members(self) -> Iterator[str]:
        """Member names of the object at hand; the caller consumes each value before asking for the next."""
        self.expect("{")
        if self.take("}"):
            return
        while True:
            if plain := _PLAIN_NAME.match(self.text, self.at):
                name, self.at = plain[1], plain.end()
            else:
                name = self._name()
            yield name
            if not (after := _AFTER_MEMBER.match(self.text, self.at)):
                raise self._missing(",")
            self.at = after.end()
            if after[1] == "}":
                return

    def _name(self) -> str:
        """A member's name with escapes, or what is wrong with it."""
        if not self.next_is('"'):
            raise json.JSONDecodeError(
                "Expecting property name enclosed in double quotes", self.text, self.at
            )
        name: str
        name, self.at = _decoder.raw_decode(self.text, self.at)
        self.expect(":")
        self.skip_space()
        return name

    def items(self) -> Iterator[None]:
        """Positions at each item of the array at hand; the caller consumes it."""
        self.expect("[")
        if self.take("]"):
            return
        self.skip_space()
        while True:
            yield None
            if not (after := _AFTER_ITEM.match(self.text, self.at)):
                raise self._missing(",")
            self.at = after.end()
            if after[1] == "]":
                return

    def value(self) -> Any:
        """Consume the value that begins here."""
        value, self.at = _decoder.raw_decode(self.text, self.at)
        return value

    def skip_space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None, "the pattern matches the empty string"
        self.at = match.end()

    def next_is(self, character: str) -> bool:
        self.skip_space()
        return self.text.startswith(character, self.at)

    def take(self, character: str) -> bool:
        if not self.next_is(character):
            return False
        self.at += 1
        return True

    def expect(self, character: str) -> None:
        if not self.take(character):
            raise self._missing(character)

    def _missing(self, character: str) -> json.JSONDecodeError:
        self.skip_space()
        return json.JSONDecodeError(f"Expecting '{character}'", self.text, self.at)

    def value_text(self) -> str:
        """Consume the value at hand and return its text."""
        self.skip_space()
        begin = self.at
        self.value()
        return self.text[begin : self.at]

    def expect_end(self) -> None:
        """Nothing but white space may follow."""
        self.skip_space()
        if self.at != len(self.text):
            raise json.JSONDecodeError("Extra data", self.text, self.at)
