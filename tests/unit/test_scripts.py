"""Scripts get what they need put before them, once and in order."""

from __future__ import annotations

import re

import pytest

from myspinbot_worker.graph.scripts import sources


def test_what_others_need_comes_before_them() -> None:
    found = re.findall(r"^local function (\w+)\(KEYS, ARGV\)$", sources()["advance"], re.MULTILINE)
    assert found == ["send", "settle", "claim", "pick", "take"]


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_script_stands_unchanged_in_all_that_need_it(name: str) -> None:
    own = sources()[name].rpartition("\nend\n")[2] if "-- Needs:" in sources()[name] else sources()[name]
    users = [text for text in sources().values() if f"local function {name}(KEYS, ARGV)\n" in text]
    assert all(own in text for text in users)
