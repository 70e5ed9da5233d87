"""Follows visits of one job as they happen, and tells a view what it sees.

Pub/Sub says quickly that something changed and may lose messages; the run in Redis says what is so. So a
follower subscribes first, then looks, and after that looks again whenever it was told something or some time
has passed. Only what it saw in Redis ends a visit.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any, Protocol, Self

from redis.client import PubSub

from ..graph.messages import Messages
from ..inspection import Inspector
from ..job_state import Concluded, JobState
from ..redis_clients import TRANSIENT

LOOK_SECONDS = 0.5
"""Time between two looks when nothing is heard."""
_LEAST_SECONDS = 0.1
"""Time between two looks when much is heard."""
_COST_FACTOR = 5
"""Looking takes at most about a sixth of the time, however large the graph is."""


class View(Protocol):
    """Is told what a follower sees."""

    def message(self, kind: str, value: Any, created: str) -> None:
        """A Pub/Sub message: ``progress``, ``status`` or ``data`` and its payload's value."""

    def state(self, job: JobState) -> None:
        """The job as it is now."""

    def ended(self, visit: Concluded) -> None:
        """The visit is over; the last call of a visit."""

    def trouble(self, what: str) -> None:
        """Redis is away; an empty text when it is back."""


class UnknownJob(Exception):
    """Nothing is known of the job, or not any more."""


class TookTooLong(Exception):
    """The visit did not end in time."""


class Follower:
    """One job's messages and states, for as long as the ``with`` block lasts.

    A visit is followed by :meth:`follow`; a job that comes back for another visit is followed again, by the
    same follower, once :attr:`entry` names the new visit's stream entry.

    Args:
        inspector: Reads the job.
        messages: Names the job's channels.
        entry: The stream entry of the visit; ``None``: the one under way, else the last one.
    """

    def __init__(self, inspector: Inspector, messages: Messages, job: str, entry: str | None = None) -> None:
        self.inspector = inspector
        self.job = job
        self.entry = entry
        self._kinds = {
            messages.progress_channel(job): "progress",
            messages.status_channel(job): "status",
            messages.data_channel(job): "data",
        }
        self._pubsub: PubSub | None = None

    def __enter__(self) -> Self:
        client: Any = self.inspector.client
        pubsub: PubSub = client.pubsub()
        try:
            pubsub.subscribe(*self._kinds)
            # Only an answer says that the subscription holds; messages before it would be missed.
            confirmed = 0
            while confirmed < len(self._kinds):
                message = pubsub.get_message(timeout=5.0)
                if message is None:
                    raise TimeoutError("Redis did not confirm the subscription")
                confirmed += message["type"] == "subscribe"
        except BaseException:
            pubsub.close()
            raise
        self._pubsub = pubsub
        return self

    def __exit__(self, *_: object) -> None:
        if self._pubsub is not None:
            self._pubsub.close()

    def follow(self, view: View, timeout: float | None = None) -> Concluded:
        """Tell ``view`` of one visit until it ends.

        Args:
            timeout: Seconds after which to give up.

        Raises:
            UnknownJob: There is no such job, or Redis has lost it.
            TookTooLong: The visit did not end in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        away = False
        while True:
            began = time.monotonic()
            try:
                visit = self._look(view)
                if away:
                    away = False
                    view.trouble("")
                if visit is not None:
                    # What was published before the end is still to be read; nothing is published after it.
                    while self._hear(view, 0.02):
                        pass
                    view.ended(visit)
                    return visit
                pause = max(_LEAST_SECONDS, (time.monotonic() - began) * _COST_FACTOR)
                self._listen(view, pause, _until(deadline, began + max(LOOK_SECONDS, pause)))
            except TRANSIENT as error:
                if not away:
                    away = True
                    view.trouble(" ".join(str(error).split()) or type(error).__name__)
                time.sleep(LOOK_SECONDS)
            if deadline is not None and time.monotonic() >= deadline:
                raise TookTooLong

    def _look(self, view: View) -> Concluded | None:
        """Look once; the visit if it has ended."""
        job = self.inspector.job(self.job, self.entry)
        if job.phase == "unknown" or (job.phase == "elsewhere" and self.entry is not None):
            # Redis forgot the visit (its record was trimmed, or Redis started anew): the snapshot may tell.
            visit = _by_snapshot(job, self.entry or "")
            if visit is None:
                raise UnknownJob
            job = _with_last(job, visit)
        elif job.phase == "elsewhere":
            visit = _by_snapshot(job, "")
            job = job if visit is None else _with_last(job, visit)
        if job.entry is not None:
            self.entry = job.entry
        view.state(job)
        return job.last if job.phase == "ended" else None

    def _listen(self, view: View, pause: float, until: float) -> None:
        """Pass on messages until it is time to look: after ``pause`` if any came, else at ``until``."""
        began = time.monotonic()
        heard = False
        while True:
            now = time.monotonic()
            end = min(until, began + pause) if heard else until
            if now >= end:
                return
            heard = self._hear(view, end - now) or heard

    def _hear(self, view: View, seconds: float) -> bool:
        """Wait for one message and pass it on; whether one came."""
        assert self._pubsub is not None, "a follower is used inside its with block"
        message = self._pubsub.get_message(ignore_subscribe_messages=True, timeout=seconds)
        if message is None or message["type"] != "message":
            return False
        kind = self._kinds.get(message["channel"].decode(errors="replace"))
        try:
            payload = json.loads(message["data"])
            value, created = payload[kind], str(payload["created"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return True  # Others may publish there too; what does not fit the contract is left out.
        if kind is not None:
            view.message(kind, value, created)
        return True


def _until(deadline: float | None, moment: float) -> float:
    return moment if deadline is None else min(deadline, moment)


def _by_snapshot(job: JobState, entry: str) -> Concluded | None:
    """How a visit without a record ended, as far as the snapshot tells."""
    states = {node.state for node in job.nodes}
    if "failed" in states or job.status == "failed":
        verdict = "failed"
    elif states and states <= {"completed", "skipped"}:
        verdict = "completed" if states == {"completed"} else "completed_with_skips"
    elif job.status == "completed":
        verdict = "completed"
    else:
        return None
    return Concluded(job.job, entry, verdict, nodes=len(job.nodes))


def _with_last(job: JobState, visit: Concluded) -> JobState:
    return replace(job, phase="ended", last=visit)
