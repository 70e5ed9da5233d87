"""A run in Redis: one method a script, each one atomic transition of :mod:`.machine`'s model.

The only module of this package that talks to Redis. Times are Redis' own clock, so clocks of hosts do not
matter; payloads are handed through as text and never decoded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import redis

from ..keys import Keys, NodeRef
from . import replies
from .calls import NODES_A_CALL, Call, Calls
from .document import Document
from .messages import Messages
from .plan import Plan, State
from .scripts import sources
from .transitions import (
    Arrival,
    Balance,
    Charge,
    Claim,
    Concluded,
    Expired,
    Limits,
    ReadyNode,
    Refused,
    Result,
    Settled,
    StreamNames,
    Taken,
    Taking,
)


class RunStore:
    """Transitions of runs in Redis.

    Args:
        client: Must decode responses (``decode_responses=True``).
        routes: The queue of every service: the scripts that make nodes of a run ready send their messages by what it
            was when the run was admitted.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys | None = None,
        streams: StreamNames | None = None,
        messages: Messages | None = None,
        limits: Limits | None = None,
        routes: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        # redis-py's annotations do not know which clients decode.
        self.client: Any = client
        self.keys = keys or Keys()
        self.streams = streams or StreamNames()
        self.messages = messages or Messages()
        self.limits = limits or Limits()
        self._routes = routes
        self._calls = Calls(self.keys, self.streams, self.messages, self.limits)
        self._scripts = {name: client.register_script(text) for name, text in sources().items()}

    def _run(self, script: str, keys: Sequence[str], args: Iterable[Any], client: Any = None) -> Any:
        made, given = self._scripts[script], list(args)
        try:
            # As a script object of redis-py does, but for its checks of what it is given.
            return (client or self.client).execute_command("EVALSHA", made.sha, len(keys), *keys, *given)
        except redis.exceptions.NoScriptError:
            return made(keys=keys, args=given, client=client)

    def admit(
        self,
        entry: str,
        document: Document,
        plan: Plan,
        created: str,
        fingerprint: tuple[str, str],
        *,
        keep_going: bool,
    ) -> tuple[str, list[ReadyNode]]:
        """Create the run of a stream entry; see :meth:`admit_all`."""
        (answer,) = self.admit_all(
            [Arrival(entry, document, plan, created, fingerprint)], keep_going=keep_going
        )
        return answer

    def admit_all(
        self, arrivals: Sequence[Arrival], *, keep_going: bool
    ) -> list[tuple[str, list[ReadyNode]]]:
        """Create the runs of stream entries, each in one step, all in one round trip.

        Returns:
            For each ``ok``, ``cancelled``, ``full``, ``done``, ``admitted``, ``duplicate`` or ``busy`` (see admit.lua),
            and, if ``ok``, its ready nodes.

        Raises:
            redis.RedisError: Of the first that Redis refused; the others were admitted all the same.
        """
        routes = self._routes()
        prepared = [self._calls.admit(arrival, routes, keep_going=keep_going) for arrival in arrivals]
        answers = self._run_all("admit", [call for call, _ in prepared])
        return [
            (answer[0], ready if answer[0] == "ok" else [])
            for answer, (_, ready) in zip(answers, prepared, strict=True)
        ]

    def _run_all(self, name: str, calls: Sequence[Call]) -> list[Any]:
        """Run a script several times in one round trip (redis-py's own way asks first whether Redis knows it)."""
        if len(calls) == 1:
            return [self._run(name, *calls[0])]
        script = self._scripts[name]
        with self.client.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                pipe.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
            answers: list[Any] = pipe.execute(raise_on_error=False)
        for at, answer in enumerate(answers):
            if isinstance(answer, redis.exceptions.NoScriptError):
                answers[at] = self._run(name, *calls[at])
            elif isinstance(answer, Exception):
                raise answer
        return answers

    def room(self) -> int:
        """How many more runs may be opened."""
        return self.limits.max_open_runs - int(self.client.hlen(self.keys.runs))

    def claim(self, ref: NodeRef, token: int, worker: str, call: str | None = None) -> Claim | Refused:
        """Start a node.

        Args:
            token: The start number its message carries.
            call: A name for this call; asked again under the same name, because the reply was lost, the
                same start is given again.
        """
        return replies.claimed(ref, self._run("claim", *self._calls.claim(ref, token, worker, call)))

    def renew(self, ref: NodeRef, token: int, fraction: float | None = None, *, kept: bool = False) -> str:
        """Extend a lease, and report the node's fraction: ``ok``, ``cancelled`` or ``lost``.

        Args:
            kept: This start kept a step that was not there before, so its loss will cost the node nothing.
        """
        result: str = self._run("renew", *self._calls.renew(ref, token, fraction, kept=kept))
        return result

    def settle(
        self,
        ref: NodeRef,
        token: int,
        outcome: State,
        text: str | None = None,
        delay_ms: int = 0,
        charge: Charge = Charge.ATTEMPT,
        exhausted: str = "",
        littered: bool = False,
        first: bool = False,
        reused: str = "",
    ) -> Settled:
        """Record how a start ended.

        Args:
            outcome: ``COMPLETED``, ``FAILED``, or ``READY`` to try again after ``delay_ms`` (0: at once).
            text: The output's JSON text (completed) or the error's.
            charge: What a start that did not complete costs its node.
            exhausted: A worker whose memory the node did not fit into; others get it first.
            littered: Whether objects may be in storage that no graph will name: of a start that did not complete, or
                kept steps.
            first: Whether what is ready now goes before what waits.
            reused: JSON text that says whose result a completed node took; empty if it is its own.
        """
        result = Result(outcome, text, delay_ms, charge, exhausted, littered, first, reused)
        return replies.settled(ref, self._run("settle", *self._calls.settle(ref, token, result)))

    def advance(
        self, ref: NodeRef, token: int, result: Result, taking: Taking, client: Any
    ) -> tuple[Settled, Taken | None]:
        """Record how a start ended, acknowledge its message and take the next one.

        Args:
            client: Decodes responses, and sends nothing again by itself: :attr:`.Taking.again` must say so.
        """
        call = self._calls.advance(ref, token, result, taking)
        settled, taken = self._run("advance", *call, client)
        return replies.settled(ref, settled), replies.taken(taken)

    def take(self, taking: Taking, client: Any) -> Taken | None:
        """Take a queue's next message and claim its node; ``client`` as for :meth:`advance`."""
        return replies.taken(self._run("take", *self._calls.take(taking), client))

    def expire(self, caller: str) -> Expired:
        """Take nodes whose lease ran out from their holders (a bounded number a call)."""
        return replies.expired(self._run("expire", *self._calls.expire(caller)))

    def due(self, next_check_ms: int) -> list[ReadyNode]:
        """Ready nodes whose message should be looked for now; none of them is due again before the next check."""
        call = [self.keys.outbox], [self.keys.run(""), next_check_ms, NODES_A_CALL]
        return replies.due(self._run("due", *call))

    def publish_data(self, ref: NodeRef, token: int, data: Any) -> bool:
        """Publish a running node's data; ``False`` if the node is no longer this start's."""
        return bool(self._run("emit", *self._calls.emit(ref, token, data)))

    def cancel(self, job: str, *, note: bool = False) -> int | None:
        """Cancel a job's open run; the number of nodes still running, ``None`` if there is no open run.

        Args:
            note: Whether to cancel a job without an open run at its next visit.
        """
        reply = self._run("cancel", [self.keys.run(job), self.keys.over, self.keys.cancels], [job, int(note)])
        return int(reply[1]) if reply[0] == "ok" else None

    def cancel_requests(self, most_ms: int, most: int) -> list[str]:
        """Jobs with an open run that other programs asked to cancel; requests older than ``most_ms`` are dropped."""
        jobs: list[str] = self._run("requests", [self.keys.cancels], [self.keys.run(""), most_ms, most])
        return jobs

    def conclude(
        self,
        job: str,
        entry: str,
        *,
        verdict: str,
        graph: str,
        hand_back: bool,
        last_progress: float | None,
        last_status: str | None,
        reason: str = "",
        queued: Sequence[int] = (),
        litter: Iterable[str] = (),
    ) -> Concluded | None:
        """Perform the run's one terminal act; ``None`` if somebody did before.

        Args:
            queued: Indexes of nodes that never left the outbox.
            litter: What attempts that count for nothing may have left in storage (:mod:`..litter`).
        """
        call = self._calls.conclude(
            job, entry, verdict=verdict, graph=graph, hand_back=hand_back, last_progress=last_progress,
            last_status=last_status, reason=reason, queued=queued, litter=litter,
        )  # fmt: skip
        done, cancelled_ms = self._run("conclude", *call)
        return Concluded(cancelled_ms / 1000 if cancelled_ms >= 0 else None) if done else None

    def reject(
        self, entry: str, code: str, reason: str, fields: Mapping[bytes, bytes], job: str | None
    ) -> bool:
        """Dead-letter an entry; publishes ``failed`` for ``job`` if given. ``False`` if it was handled before."""
        return bool(self._run("reject", *self._calls.reject(entry, code, reason, fields, job)))

    def open_runs(self, entries: Sequence[str]) -> list[str | None]:
        """For each entry id, the job whose open run it is."""
        found: list[str | None] = self.client.hmget(self.keys.runs, list(entries))
        return found

    def is_idle(self) -> bool:
        """Whether no run is open that could need anything, and nobody asked to cancel one."""
        keys = self.keys
        return not self.client.exists(keys.leases, keys.outbox, keys.over, keys.cancels)

    def now_ms(self) -> int:
        """Redis' clock."""
        seconds, microseconds = self.client.time()
        return int(seconds * 1000 + microseconds // 1000)

    def over_since(self, least_ms: int, most: int) -> list[str]:
        """Jobs whose run has been over for some time and is not concluded."""
        jobs: list[str] = self.client.zrangebyscore(self.keys.over, "-inf", self.now_ms() - least_ms, 0, most)
        return jobs

    def due_litter(self, most: int) -> list[str]:
        """Members of the litter to look through now."""
        if not self.client.exists(self.keys.litter):
            return []
        found: list[str] = self.client.zrangebyscore(self.keys.litter, "-inf", self.now_ms(), 0, most)
        return found

    def forget_litter(self, member: str) -> None:
        self.client.zrem(self.keys.litter, member)

    def balance(self) -> Balance:
        """The farm's books: what came in beside what was done with it, at one moment."""
        return Balance(*(None if number == "" else int(number) for number in self._balance("look")))

    def open_books(self, *, anew: bool = False) -> None:
        """Make the books agree with what there is.

        Args:
            anew: Also if they are open, whatever they say.
        """
        self._balance("anew" if anew else "begin")

    def _balance(self, mode: str) -> Any:
        keys = [self.streams.data, self.keys.runs, self.keys.counters]
        return self._run("balance", keys, [self.streams.group, mode])

    def retire_consumer(self, consumer: str) -> bool:
        """Remove a consumer's name from the group unless entries are pending under it."""
        return bool(self._run("retire", [self.streams.data], [self.streams.group, consumer]))
