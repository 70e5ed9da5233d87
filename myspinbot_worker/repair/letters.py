"""Dead letters: entries the farm refused, read, sent again, or dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from ..admission import job_of, read_entry
from ..errors import RejectedEntry
from ..graph.transitions import Limits, StreamNames
from ..keys import Keys
from .scripts import Scripts, text, texts
from .troubles import Trouble

_PAGE = 50
"""A script that reads letters has their documents in its hands."""
_DROPS_A_CALL = 500


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter with everything the entry had."""

    trouble: Trouble
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one trouble that was to be retried or dropped.

    Attributes:
        what: ``sent``, ``dropped``, ``already`` (retried or dropped before), ``unknown`` or ``refused``.
        entry: The new entry on the data stream, if one was sent.
        why: Why it was refused, and what else there is to say.
    """

    id: str
    what: str
    job: str | None = None
    entry: str | None = None
    why: str = ""


class DeadLetters:
    """The stream of dead letters.

    Args:
        client: Must not decode responses.
        limits: Says how many records of what was handled are kept.
        max_bytes, max_nodes: Of a graph, as the farm takes them now.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        streams: StreamNames,
        limits: Limits,
        *,
        max_bytes: int,
        max_nodes: int,
    ) -> None:
        self._run = Scripts(client)
        self._keys = keys
        self._streams = streams
        self._most_handled = limits.dead_letters_kept + limits.history_kept
        self._limits = {"max_bytes": max_bytes, "max_nodes": max_nodes}

    def all(self) -> Iterator[Trouble]:
        """Every letter, newest first, without its document."""
        newest = "+"
        while page := self._run("letters", [self._keys.dead], newest, "-", _PAGE, "short"):
            for letter in page:
                yield _trouble(letter)
            newest = "(" + text(page[-1][0])

    def letter(self, letter_id: str) -> Letter | None:
        """One letter with the entry's own fields."""
        for found in self._run("letters", [self._keys.dead], letter_id, letter_id, 1, "whole"):
            own = found[5]
            return Letter(_trouble(found), dict(zip(own[::2], own[1::2], strict=True)))
        return None

    def resend(self, letter_id: str, *, graph: bytes | None = None, force: bool = False) -> Outcome:
        """Put a letter's entry back on the data stream and take the letter away, in one step.

        Args:
            graph: Sent in place of the entry's own.
            force: Send also what this farm would refuse again.
        """
        letter = self.letter(letter_id)
        fields = dict(letter.fields) if letter else {}
        if graph is not None:
            fields[b"graph"] = graph
        job = job_of(fields)
        digests = ("", "")
        if letter is not None and fields:
            try:
                digests = read_entry(letter.trouble.entry, fields, **self._limits).fingerprint
            except RejectedEntry as error:
                if not force:
                    return Outcome(letter_id, "refused", job, why=f"it would be refused: {error.message}")
        return self._resent(letter_id, job, digests, graph or b"")

    def _resent(self, letter_id: str, job: str | None, digests: tuple[str, str], graph: bytes) -> Outcome:
        keys = self._keys
        result = self._run(
            "resend",
            [keys.dead, self._streams.data, keys.handled, keys.seen(job or ""), keys.run(job or "")],
            letter_id,
            *digests,
            self._most_handled,
            graph,
        )
        what = text(result[0])
        match what:
            case "sent":
                why = 'with a new "created": the farm knew the old one' if result[2] else ""
                return Outcome(letter_id, "sent", job, text(result[1]), why)
            case "open":
                return Outcome(letter_id, "refused", job, why="its job runs the same graph now")
            case "empty":
                return Outcome(letter_id, "refused", why="the entry was gone before the farm read it")
        return Outcome(letter_id, what)

    def drop(self, ids: Sequence[str]) -> Iterator[Outcome]:
        """Take letters away, and failed nodes off the list; one outcome an id, in their order."""
        for at in range(0, len(ids), _DROPS_A_CALL):
            page = ids[at : at + _DROPS_A_CALL]
            told: Any = self._run("drop", [self._keys.dead, self._keys.handled], self._most_handled, *page)
            for one, what in zip(page, texts(told), strict=True):
                yield Outcome(one, what)


def _trouble(letter: Sequence[Any]) -> Trouble:
    letter_id, entry, code, reason, job = texts(letter[:5])
    return Trouble(letter_id, "entry", code, reason, int(letter_id.split("-")[0]), entry, job or None)
