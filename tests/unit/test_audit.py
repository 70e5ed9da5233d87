"""What matches on a farm at work, and that each thing that does not is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.graph.transitions import Balance
from myspinbot_worker.repair.audit import Facts, PendingEntry, RunFacts, mismatches

NOW, GRACE = 1_000_000, 10_000
BOOKS = Balance(added=10, before=2, unread=1, pending=2, open=1, admitted=4, concluded=3, rejected=2)
RUN = RunFacts("j", "1-1", "CRQW", running=1, over=False, halted=False)
WELL = Facts(
    now_ms=NOW,
    grace_ms=GRACE,
    balance=BOOKS,
    index={"1-1": "j"},
    runs={"j": RUN},
    pending=(PendingEntry("1-1", 900_000, 1, "j"), PendingEntry("2-2", 5, 1, "k")),
    leases={"1-1|1|j": NOW + 500},
    outbox={"1-1|2|j": NOW - 500},
)


def found(**changes: Any) -> list[str]:
    return [one.what for one in mismatches(replace(WELL, **changes))]


def run(**changes: Any) -> dict[str, RunFacts]:
    return {"j": replace(RUN, **changes)}


def test_a_farm_at_work_matches() -> None:
    assert found() == []
    assert mismatches(Facts(NOW, GRACE, Balance(0, 0, 0, 0, 0, 0, 0, 0))) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"added": 11}, ["entries_unaccounted"]),
        ({"concluded": 2, "admitted": 3}, ["entries_unaccounted"]),
        ({"added": 9}, ["acts_without_entry"]),
        ({"admitted": 5}, ["runs_unaccounted"]),
        ({"admitted": 3}, ["runs_unaccounted"]),
        ({"added": None}, []),
        ({"before": None, "admitted": 99}, []),
    ],
)
def test_books(changes: dict[str, Any], what: list[str]) -> None:
    assert found(balance=replace(BOOKS, **changes)) == what


def test_how_many_are_missing_is_said() -> None:
    (one,) = mismatches(replace(WELL, balance=replace(BOOKS, added=13)))
    assert one.text == "3 of 13 entries left the data stream without a terminal act"


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (PendingEntry("2-2", GRACE + 1, 1, "k"), ["entry_without_run"]),
        (PendingEntry("2-2", 0, 10, "k"), ["entry_without_run"]),
        (PendingEntry("2-2", GRACE + 1, 99, "j"), []),  # waits its turn
        (PendingEntry("2-2", 0, 1, None), ["entry_gone"]),
    ],
)
def test_entries_without_a_run(entry: PendingEntry, what: list[str]) -> None:
    assert found(pending=(WELL.pending[0], entry)) == what


def test_entries_that_others_left() -> None:
    (one,) = mismatches(replace(WELL, left=(("3-3", "k"),)))
    assert (one.what, one.job, one.entry) == ("entry_left", "k", "3-3")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"index": {}}, ["run_not_indexed"]),
        ({"pending": ()}, ["run_without_entry"]),
        ({"runs": run(has_graph=False)}, ["run_without_graph"]),
        ({"runs": run(lacks_payload=True)}, ["run_without_payload"]),
        ({"runs": run(running=2)}, ["run_miscounted"]),
        ({"leases": {}}, ["running_without_lease"]),
        ({"outbox": {}}, ["ready_not_in_outbox"]),
        ({"outbox": {}, "runs": run(halted=True)}, []),
        ({"leases": {"1-1|1|j": NOW - GRACE - 1}}, ["lease_overdue"]),
        ({"outbox": {"1-1|2|j": NOW - GRACE - 1}}, ["outbox_overdue"]),
        ({"leases": {**WELL.leases, "1-1|0|j": NOW}}, ["lease_without_run"]),
        ({"leases": {**WELL.leases, "0-1|1|j": NOW}}, ["lease_without_run"]),
        ({"leases": {**WELL.leases, "1-1|9|j": NOW}}, ["lease_without_run"]),
        ({"leases": {**WELL.leases, "1-1|1|gone": NOW}}, ["lease_without_run"]),
        ({"outbox": {**WELL.outbox, "nonsense": NOW}}, ["outbox_without_run"]),
        ({"outbox": {**WELL.outbox, "1-1|x|j": NOW}}, ["outbox_without_run"]),
        ({"index": {**WELL.index, "7-7": "gone"}}, ["index_without_run"]),
        ({"index": {**WELL.index, "7-7": "j"}}, ["index_without_run"]),
        ({"over": {"gone": NOW}}, ["over_without_run"]),
    ],
)
def test_each_mismatch_is_named(changes: dict[str, Any], what: list[str]) -> None:
    assert found(**changes) == what


@pytest.mark.parametrize(
    ("since", "what"),
    [(NOW - 5, []), (NOW - GRACE - 1, ["run_not_concluded"]), (None, ["run_not_concluded"])],
)
def test_runs_that_are_over(since: int | None, what: list[str]) -> None:
    over = {} if since is None else {"j": float(since)}
    ended = run(states="CCSW", running=0, over=True)
    assert found(runs=ended, over=over, leases={}, outbox={}) == what


def test_who_and_what_to_do() -> None:
    (one,) = mismatches(replace(WELL, leases={}))
    assert (one.job, one.entry, one.node) == ("j", "1-1", 1)
    assert one.identity == ("running_without_lease", "j", "1-1", 1)
    assert "'1-1|1|j'" in one.advice


members = st.dictionaries(
    st.sampled_from(["1-1|0|j", "1-1|1|j", "2-1|0|k", "x", "||"]), st.floats(0, 2 * NOW)
)


@given(
    st.builds(
        Facts,
        now_ms=st.just(NOW),
        grace_ms=st.just(GRACE),
        balance=st.just(BOOKS),
        index=st.dictionaries(st.sampled_from(["1-1", "2-1"]), st.sampled_from("jk")),
        runs=st.dictionaries(
            st.sampled_from("jk"),
            st.builds(
                RunFacts, st.sampled_from("jk"), st.sampled_from(["1-1", "2-1"]), st.text("WQRCFS?"), st.integers(),
                st.booleans(), st.booleans(), st.booleans(), st.booleans(),
            ),
        ),
        pending=st.lists(
            st.builds(
                PendingEntry, st.sampled_from(["1-1", "2-1", "3-1"]), st.integers(0, NOW), st.integers(0, 20),
                st.none() | st.sampled_from("jk"),
            )
        ),
        leases=members,
        outbox=members,
        over=st.dictionaries(st.sampled_from("jkl"), st.floats(0, NOW)),
    )
)  # fmt: skip
def test_any_facts_can_be_told(facts: Facts) -> None:
    for one in mismatches(facts):
        assert one.what
        assert one.text
        assert one.advice
