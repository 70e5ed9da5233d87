"""The same error has the same fingerprint, whatever differs from case to case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.repair.fingerprint import LENGTH, fingerprint, normalise


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", ""),
        ("graph.nodes[12].id: Field required", "graph.nodes[<n>].id: Field required"),
        ("jobId 'a b' contains a colon", "jobId <name> contains a colon"),
        ('node "x" is no node', "node <name> is no node"),
        ("object staged/job/a/1.wav is missing", "object <path> is missing"),
        ("cannot read /tmp/x-1/y.mp4: gone", "cannot read <path> gone"),
        ("at 0x7ffe12 and deadbeef99", "at <id> and <id>"),
        ("job 7f0c1a52-0a8b-4c8e-9a3f-0123456789ab failed", "job <id> failed"),
        ("took 1.5e3 s, 12 of 30", "took <n> s, <n> of <n>"),
        ("redis://host:6379/0 is away", "<url> is away"),
        ("two\n  lines\tof it", "two lines of it"),
        ("it doesn't fit, it can't", "it doesn't fit, it can't"),
        ("a bad face", "a bad face"),
    ],
)
def test_what_differs_is_replaced(message: str, expected: str) -> None:
    assert normalise(message) == expected


def test_cases_of_one_error_share_a_fingerprint() -> None:
    assert fingerprint("bad_entry", "nodes[1].id 'a'") == fingerprint("bad_entry", "nodes[22].id 'b c'")
    assert fingerprint("bad_entry", "nodes[1].id") != fingerprint("bad_entry", "nodes[1].service")
    assert fingerprint("bad_entry", "x") != fingerprint("bad_params", "x")


def test_a_fingerprint_is_stable() -> None:
    """Operators write them down: another one tomorrow would be no name."""
    assert fingerprint("bad_entry", "graph.nodes: Field required") == "7603c9d3"


@given(st.text(), st.text())
def test_any_text_has_one(code: str, message: str) -> None:
    found = fingerprint(code, message)
    assert len(found) == LENGTH
    assert found == fingerprint(code, message)


@given(st.integers(0), st.integers(0))
def test_numbers_do_not_count(first: int, second: int) -> None:
    assert fingerprint("c", f"frame {first} of 9") == fingerprint("c", f"frame {second} of 10")


def test_a_long_message_is_quick() -> None:
    assert len(normalise("'" * 100_000 + "/a" * 100_000)) <= 300
