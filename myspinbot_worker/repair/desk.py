"""Everything that waits for an operator in one place: named, retried, dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from ..errors import FarmError
from ..keys import Keys
from .failures import FailedNodes
from .letters import DeadLetters, Outcome
from .retrying import JobRetry
from .troubles import LETTER_ID, Trouble

DONE_WITHOUT = frozenset({"duplicate"})
"""Codes of letters whose work was done all the same: only whoever names one sends it again."""


class Desk:
    """Refused entries and failed nodes together.

    Args:
        client: Must not decode responses.
    """

    def __init__(
        self, client: redis.Redis, keys: Keys, letters: DeadLetters, failures: FailedNodes, jobs: JobRetry
    ) -> None:
        self._client: Any = client
        self._keys = keys
        self.letters = letters
        self.failures = failures
        self.jobs = jobs

    def all(self, kind: str | None = None) -> list[Trouble]:
        """Everything there is, newest first; of one ``kind`` if given."""
        found: list[Trouble] = []
        if kind != "node":
            found += self.letters.all()
        if kind != "entry":
            found += self.failures.all()
        return sorted(found, key=lambda trouble: trouble.at_ms, reverse=True)

    def named(self, names: Sequence[str]) -> tuple[list[Trouble], list[Outcome]]:
        """What ids and fingerprints name, each once, and for names of nothing whether there was something."""
        found: dict[str, Trouble] = {}
        missing: list[Outcome] = []
        listed: list[Trouble] | None = None
        for name in names:
            if LETTER_ID.fullmatch(name):
                letter = self.letters.letter(name)
                matches = [letter.trouble] if letter else []
            else:
                listed = self.all() if listed is None else listed
                matches = [trouble for trouble in listed if name in (trouble.id, trouble.fingerprint)]
            if not matches:
                handled = self._client.zscore(self._keys.handled, name) is not None
                missing.append(Outcome(name, "already" if handled else "unknown"))
            found |= {trouble.id: trouble for trouble in matches}
        return list(found.values()), missing

    def retry(
        self, troubles: Sequence[Trouble], *, graph: bytes | None = None, force: bool = False
    ) -> Iterator[Outcome]:
        """Send entries again and jobs of failed nodes on, the oldest first; one outcome a trouble.

        Args:
            graph: Sent in place of the entries' own.
            force: Send also entries that this farm would refuse again.
        """
        jobs: dict[str, Outcome] = {}
        oldest_first = list(reversed(troubles))
        oldest_first.sort(key=lambda one: one.at_ms)
        for trouble in oldest_first:
            if trouble.kind == "entry":
                yield self.letters.resend(trouble.id, graph=graph, force=force)
                continue
            job = trouble.job or ""
            if job not in jobs:
                jobs[job] = self._retry_job(job, [one.id for one in troubles if one.job == job])
            done = jobs[job]
            yield Outcome(trouble.id, done.what, job, done.entry, done.why)

    def _retry_job(self, job: str, ids: list[str]) -> Outcome:
        nodes = [one for one in ids if not LETTER_ID.fullmatch(one)]
        try:
            done = self.jobs.retry(job, dealt_with=nodes)
        except FarmError as error:
            return Outcome("", "refused", job, why=error.message)
        return Outcome("", "sent", job, done.entry)
