"""What may be left when all jobs have ended. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .campaign_checks import Violation
from .campaign_values import artifacts

_STAYS = re.compile(
    r"process:(data|control)|job:.*|test:.*|farm:(seen:.*|history|dead|counters|offers|offer:.*|dramatiq:__heartbeats__)"
)


def leaked_keys(keys: Iterable[str]) -> Iterator[Violation]:
    """Keys of runs, queues and indexes."""
    for key in keys:
        if not _STAYS.fullmatch(key):
            yield Violation("leaked keys", key, "gone with its run", "it is still there")


def leaked_objects(objects: Mapping[str, int], finals: Iterable[dict[str, Any]]) -> Iterator[Violation]:
    """Objects that no final graph names, and named ones that are not there.

    Args:
        objects: ``bucket/key`` to the size of each that there is.
    """
    named = {
        f"{artifact['bucket']}/{artifact['key']}": artifact
        for final in finals
        for node in final["nodes"]
        for artifact in artifacts(node.get("output"))
    }
    for name in sorted(objects.keys() - named.keys()):
        yield Violation("leaked objects", name, "no object that no final graph names", "it is there")
    for name in sorted(named.keys() - objects.keys()):
        yield Violation("missing objects", name, "it is there", "a final graph names it, and it is not")
    for name in sorted(named.keys() & objects.keys()):
        if objects[name] != named[name]["size_bytes"]:
            yield Violation("missing objects", name, f"{named[name]}", f"it has {objects[name]} bytes")


def wrong_dead_letters(doubled: Iterable[str], dead: Iterable[tuple[str, str]]) -> Iterator[Violation]:
    """Each entry that was doubled leaves one dead letter, and nothing else does.

    Args:
        doubled: The jobs whose entries were doubled, one item for each.
        dead: Job and code of every dead letter.
    """
    wanted, seen = Counter((job, "duplicate") for job in doubled), Counter(dead)
    for job, code in sorted((wanted - seen) | (seen - wanted)):
        key = (job, code)
        yield Violation("dead letters", job, f"{wanted[key]} of code {code}", f"{seen[key]}")
