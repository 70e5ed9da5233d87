"""Damaged entries of the data stream."""

from __future__ import annotations

from random import Random

from .mutations import corpus, damaged_bytes, damaged_document

GRAPHS = corpus("entries")
_IDS = (b"job-1", b"", b":", b"a:b", b"\xff", b"\xed\xa0\x80", b"\0", b"x" * 1025, b" ", b"\xef\xbb\xbfjob-1")
_CREATED = (b"1700000000000", b"", b"-1", b"1.5", b"1e9", b"9" * 16, b"9" * 17, b"\xb2", b"now", b"\0", b"0")


def damaged_entry(random: Random) -> dict[bytes, bytes]:
    """Fields of an entry, of which the graph nearly always and the rest now and then is not as it should be."""
    fields = {b"jobId": b"job-1", b"created": b"1700000000000", b"graph": damaged_document(random, GRAPHS)}
    if random.random() < 0.08:
        fields[b"jobId"] = random.choice(_IDS)
    if random.random() < 0.08:
        fields[b"created"] = random.choice(_CREATED)
    if random.random() < 0.05:
        del fields[random.choice(list(fields))]
    if random.random() < 0.05:
        fields[random.choice((b"", b"\xff", b"extra", b"GRAPH", b"graph\0"))] = random.choice(
            (b"", b"\xff" * 9)
        )
    if random.random() < 0.05:
        name = random.choice(list(fields))
        fields[name] = damaged_bytes(random, fields[name], GRAPHS)
    return fields
