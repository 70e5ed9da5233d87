"""Damaged entries through a real ingestor: each answered once, nothing left behind, good work unharmed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from myspinbot_worker.admission import job_of, read_entry
from myspinbot_worker.errors import RejectedEntry
from tests.fuzz.entries import damaged_entry
from tests.fuzz.mutations import randoms

from .harness import Farm, graph, node

BAD_ENTRIES = 400


def refused_entries() -> list[dict[bytes, bytes]]:
    """The first of the fuzzer's entries that admission refuses."""
    found: list[dict[bytes, bytes]] = []
    for random in randoms("live", 10 * BAD_ENTRIES):
        fields = damaged_entry(random)
        try:
            read_entry("1-0", fields)
        except RejectedEntry:
            found.append(fields)
        if len(found) == BAD_ENTRIES:
            return found
    raise AssertionError("too few of these entries are bad")


def test_every_bad_entry_is_answered_once(running: Farm) -> None:
    letters_before = len(running.dead_letters())
    statuses_before = {job: len(said) for job, said in running.statuses.items()}
    client: Any = running.client
    entries, failed, good = [], Counter[str](), []
    for number, fields in enumerate(refused_entries()):
        pairs = [part for pair in fields.items() for part in pair]
        # A field may stand there twice: the later one counts.
        doubled = [b"graph", b"{}", *pairs] if number % 20 == 0 and b"graph" in fields else pairs
        entries.append(client.execute_command("XADD", "process:data", "*", *(doubled or [b"", b""])))
        if (job := job_of(fields)) is not None:
            failed[job] += 1
        if number % 10 == 0:
            good.append(running.submit(graph([node("a", "dummy.dummy_task")])))
    for job in good:
        assert running.wait_back(job)["nodes"][0]["status"] == "completed"
    running.wait_idle()
    letters = running.dead_letters()[letters_before:]
    assert Counter(letter["entry"] for letter in letters) == Counter(entries)
    assert {letter["code"] for letter in letters} == {"bad_entry"}
    assert all(letter["reason"] for letter in letters)
    said = {job: told[statuses_before.get(job, 0) :] for job, told in running.statuses.items()}
    assert {job: told for job, told in said.items() if job not in good and told} == {
        job: ["failed"] * count for job, count in failed.items()
    }
    assert client.xpending("process:data", "workers")["pending"] == 0
    ingestor = running.processes[0]
    assert ingestor.returncode is None
    assert not [line for line in ingestor.lines if "Traceback" in line or "brought admission down" in line]
