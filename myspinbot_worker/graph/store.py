"""A run in Redis: one method a script, each one atomic transition of :mod:`.machine`'s model.

The only module of this package that talks to Redis. Times are Redis' own clock, so clocks of hosts do not
matter; payloads are handed through as text and never decoded here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import redis

from ..keys import Keys, NodeRef
from ..keys import job as job_key
from .document import Document
from .messages import Messages
from .plan import Plan, State, failing, handlers, progress, propagate_skips, startable, unsatisfied
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

_NODES_A_CALL = 500


class RunStore:
    """Transitions of runs in Redis.

    Args:
        client: Must decode responses (``decode_responses=True``).
        routes: The queue of every service, as the scripts that make nodes ready send their messages.
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
        self._route_texts: dict[int, str] = {}
        self._taken_keys: dict[tuple[str, str], list[str]] = {}
        self._scripts = {name: client.register_script(text) for name, text in sources().items()}

    def _run(self, script: str, keys: Sequence[str], args: Iterable[Any], client: Any = None) -> Any:
        return self._scripts[script](keys=keys, args=list(args), client=client)

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
        prepared = [self._admission(arrival, keep_going=keep_going) for arrival in arrivals]
        replies = self._run_all("admit", [(keys, args) for keys, args, _ in prepared])
        return [
            (reply[0], ready if reply[0] == "ok" else [])
            for reply, (_, _, ready) in zip(replies, prepared, strict=True)
        ]

    def _run_all(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run a script several times in one round trip (redis-py's own way asks first whether Redis knows it)."""
        if len(calls) == 1:
            return [self._run(name, *calls[0])]
        script = self._scripts[name]
        with self.client.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                pipe.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
            replies: list[Any] = pipe.execute(raise_on_error=False)
        for at, reply in enumerate(replies):
            if isinstance(reply, redis.exceptions.NoScriptError):
                replies[at] = self._run(name, *calls[at])
            elif isinstance(reply, Exception):
                raise reply
        return replies

    def _admission(
        self, arrival: Arrival, *, keep_going: bool
    ) -> tuple[list[str], list[Any], list[ReadyNode]]:
        """The keys and arguments of admit.lua, and the nodes that are ready if it admits."""
        entry, document, plan = arrival.entry, arrival.document, arrival.plan
        job, keys, routes = document.workflow_id, self.keys, self._routes()
        states = propagate_skips(plan, [node.state for node in plan.nodes])
        ready = startable(plan, states)
        doomed = failing(plan, states)
        halted = doomed and not keep_going
        for index in ready:
            states[index] = State.READY
        args: list[Any] = [
            entry,
            self.streams.group,
            job,
            *arrival.fingerprint,
            arrival.created,
            document.text,
            self.messages.status_channel(job),
            self.messages.status_message(job, "queued"),
            int(keep_going),
            self.limits.message_check_ms,
            int(doomed),
            repr(progress(plan, [float(state not in (State.WAITING, State.READY)) for state in states])),
            int(halted or not ready),
            self.limits.max_open_runs,
            keys.broker,
            self._route_text(routes),
        ]
        for node in plan.nodes:
            raw = document.nodes[node.index].raw
            args += [
                states[node.index].value,
                unsatisfied(plan, states, node.index),
                handlers(plan, states, node.index),
                _plan_text(plan, node.index),
                node.service if node.ours else "",
                node.id,
                raw.get("params", "") if node.ours else "",
                raw.get("input", "") if node.ours else "",
                raw.get("output", "") if node.outgoing else "",
                raw.get("retries", "") if node.ours else "",
            ]
        touched = [
            self.streams.data,
            keys.run(job),
            keys.payload(job),
            keys.graph(job),
            keys.runs,
            keys.outbox,
            keys.over,
            keys.seen(job),
            keys.cancels,
            keys.counters,
        ]
        nodes = [
            _ready_node(
                NodeRef(entry, index, job), 1, plan.nodes[index].service, plan.nodes[index].id, routes
            )
            for index in ready
        ]
        return touched, args, [] if halted else nodes

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
        reply = self._run(
            "claim",
            [
                self.keys.run(ref.job),
                self.keys.payload(ref.job),
                self.keys.leases,
                self.keys.outbox,
                self.keys.counters,
                self.keys.cancels,
                self.keys.over,
            ],
            [
                ref.entry,
                ref.index,
                token,
                self.limits.lease_ms,
                worker,
                str(ref),
                self.limits.max_lost_attempts,
                self.messages.status_channel(ref.job),
                self.messages.status_message(ref.job, "running"),
                call or uuid4().hex,
                ref.job,
            ],
        )
        return _claimed(ref, reply)

    def renew(self, ref: NodeRef, token: int, fraction: float | None = None, *, kept: bool = False) -> str:
        """Extend a lease, and report the node's fraction: ``ok``, ``cancelled`` or ``lost``.

        Args:
            kept: This start kept a step that was not there before, so its loss will cost the node nothing.
        """
        result: str = self._run(
            "renew",
            [self.keys.run(ref.job), self.keys.leases, self.keys.cancels],
            [
                ref.entry,
                ref.index,
                token,
                self.limits.lease_ms,
                str(ref),
                "" if fraction is None else repr(min(1.0, max(0.0, fraction))),
                self.messages.progress_channel(ref.job),
                *self.messages.progress_parts(ref.job),
                ref.job,
                int(kept),
            ],
        )
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
        routes = self._routes()
        reply = self._run("settle", self._settle_keys(ref), self._settle_args(ref, token, result, routes))
        return _settled(ref, reply, routes)

    def advance(
        self, ref: NodeRef, token: int, result: Result, taking: Taking, client: Any
    ) -> tuple[Settled, Taken | None]:
        """Record how a start ended, acknowledge its message and take the next one.

        Args:
            client: Decodes responses, and sends nothing again by itself: :attr:`.Taking.again` must say so.
        """
        routes = self._routes()
        settling = self._settle_args(ref, token, result, routes)
        settled, taken = self._run(
            "advance",
            [*self._settle_keys(ref), *self._take_keys(taking)],
            [len(settling), *settling, *self._take_args(taking)],
            client,
        )
        return _settled(ref, settled, routes), _taken(taken)

    def take(self, taking: Taking, client: Any) -> Taken | None:
        """Take a queue's next message and claim its node; ``client`` as for :meth:`advance`."""
        return _taken(self._run("take", self._take_keys(taking), self._take_args(taking), client))

    def _settle_keys(self, ref: NodeRef) -> list[str]:
        keys = self.keys
        return [
            keys.run(ref.job),
            keys.payload(ref.job),
            keys.leases,
            keys.outbox,
            keys.over,
            keys.counters,
        ]

    def _settle_args(self, ref: NodeRef, token: int, result: Result, routes: Mapping[str, str]) -> list[Any]:
        done = result.outcome is State.COMPLETED
        return [
            ref.entry,
            ref.index,
            token,
            result.outcome.value,
            result.text or "",
            result.delay_ms,
            ref.job,
            self.limits.message_check_ms,
            self.messages.progress_channel(ref.job),
            *self.messages.progress_parts(ref.job),
            "" if done else result.charge.value,
            result.exhausted,
            self.limits.elsewhere_ms,
            int(result.littered),
            self.keys.broker,
            self._route_text(routes),
            int(result.first),
            result.reused,
        ]

    def _route_text(self, routes: Mapping[str, str]) -> str:
        """For the scripts; services are declared once and never changed."""
        text = self._route_texts.get(len(routes))
        if text is None:
            text = self._route_texts[len(routes)] = json.dumps(routes)
        return text

    def _take_keys(self, taking: Taking) -> list[str]:
        known = self._taken_keys.get((taking.queue, taking.process))
        if known is not None:
            return known
        keys = self.keys
        known = self._taken_keys[taking.queue, taking.process] = [
            keys.queue(taking.queue),
            keys.queued_messages(taking.queue),
            keys.unacknowledged(taking.process, taking.queue),
            keys.heartbeats,
            keys.paused,
            keys.leases,
            keys.outbox,
            keys.counters,
            keys.cancels,
            keys.over,
            keys.passed(taking.queue),
        ]
        return known

    def _take_args(self, taking: Taking) -> list[Any]:
        return [
            taking.queue,
            taking.process,
            taking.done,
            int(taking.another),
            self.keys.run(""),
            self.limits.lease_ms,
            taking.worker,
            self.limits.max_lost_attempts,
            self.messages.status,
            *self.messages.status_parts("running"),
            taking.warm,
            taking.bounds.window,
            taking.bounds.longest_ms,
            int(taking.again),
            *(taking.held if taking.again else ()),
        ]

    def expire(self, caller: str) -> Expired:
        """Take nodes whose lease ran out from their holders (a bounded number a call)."""
        found: dict[str, list[ReadyNode]] = {"again": [], "lost": [], "halted": []}
        reply = self._run(
            "expire",
            [self.keys.leases, self.keys.outbox, self.keys.over, self.keys.counters],
            [
                self.keys.run(""),
                self.limits.max_lost_attempts,
                self.limits.lease_ms,
                caller,
                self.limits.message_check_ms,
                _NODES_A_CALL,
            ],
        )
        for what, member, token, service, node_id in _chunks(reply, 5):
            found[what].append(ReadyNode(NodeRef.parse(member), int(token), service, node_id))
        return Expired(tuple(found["again"]), tuple(found["lost"]), len(found["halted"]))

    def due(self, next_check_ms: int) -> list[ReadyNode]:
        """Ready nodes whose message should be looked for now; none of them is due again before the next check."""
        reply = self._run("due", [self.keys.outbox], [self.keys.run(""), next_check_ms, _NODES_A_CALL])
        return [
            ReadyNode(NodeRef.parse(member), int(token), service, node_id)
            for member, token, service, node_id in _chunks(reply, 4)
        ]

    def publish_data(self, ref: NodeRef, token: int, data: Any) -> bool:
        """Publish a running node's data; ``False`` if the node is no longer this start's."""
        return bool(
            self._run(
                "emit",
                [self.keys.run(ref.job)],
                [
                    ref.entry,
                    ref.index,
                    token,
                    self.messages.data_channel(ref.job),
                    self.messages.data_message(ref.job, data),
                ],
            )
        )

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
        ref_job: str,
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
        keys, messages, job = self.keys, self.messages, ref_job
        done, cancelled_ms = self._run(
            "conclude",
            [
                self.streams.data,
                self.streams.control,
                keys.run(job),
                keys.payload(job),
                keys.graph(job),
                keys.runs,
                keys.over,
                keys.outbox,
                keys.seen(job),
                job_key(job),
                keys.history,
                keys.cancels,
                keys.litter,
                keys.counters,
            ],
            [
                entry,
                self.streams.group,
                job,
                verdict,
                graph,
                int(hand_back),
                messages.progress_channel(job),
                "" if last_progress is None else messages.progress_message(job, last_progress),
                messages.status_channel(job),
                "" if last_status is None else messages.status_message(job, last_status),
                self.limits.job_ttl_seconds,
                self.limits.history_kept,
                reason,
                self.limits.lease_ms,
                len(queued),
                *(str(NodeRef(entry, index, job)) for index in queued),
                *litter,
            ],
        )
        return Concluded(cancelled_ms / 1000 if cancelled_ms >= 0 else None) if done else None

    def reject(
        self, entry: str, code: str, reason: str, fields: Mapping[bytes, bytes], job: str | None
    ) -> bool:
        """Dead-letter an entry; publishes ``failed`` for ``job`` if given. ``False`` if it was handled before."""
        # Lua cannot unpack more than a few thousand values, and no honest entry has more than three fields.
        flat = [part for pair in list(fields.items())[:100] for part in pair]
        return bool(
            self._run(
                "reject",
                [self.streams.data, self.keys.dead, self.keys.run(job or ""), self.keys.counters],
                [
                    entry,
                    self.streams.group,
                    code,
                    reason,
                    self.messages.status_channel(job or ""),
                    self.messages.status_message(job, "failed") if job else "",
                    self.limits.dead_letters_kept,
                    *flat,
                ],
            )
        )

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


def _ready_node(ref: NodeRef, token: int, service: str, node_id: str, routes: Mapping[str, str]) -> ReadyNode:
    return ReadyNode(ref, token, service, node_id, sent=service in routes)


def _claimed(ref: NodeRef, reply: Sequence[Any]) -> Claim | Refused:
    if reply[0] != "ok":
        return Refused(reply[0], int(reply[1]) if len(reply) > 1 else 0)
    _, got, failed, lost, done, weight, node_id, service, exhausted, *texts = reply
    params, own_input, retries, *outputs = (text or None for text in texts)
    return Claim(
        ref, int(got), int(failed), int(lost), float(done), float(weight), node_id, service,
        params, own_input, retries, tuple(outputs), exhausted,
    )  # fmt: skip


def _settled(ref: NodeRef, reply: Sequence[Any], routes: Mapping[str, str]) -> Settled:
    ready = tuple(
        _ready_node(NodeRef(ref.entry, int(index), ref.job), int(token), service, node_id, routes)
        for index, token, service, node_id in _chunks(reply[2:], 4)
    )
    return Settled(reply[0], len(reply) > 1 and bool(reply[1]), ready)


def _taken(reply: Sequence[Any]) -> Taken | None:
    if not reply:
        return None
    text, *claimed = reply
    if not claimed:
        return Taken(text, None)
    return Taken(text, _claimed(NodeRef.parse(claimed[0]), claimed[1]))


def _plan_text(plan: Plan, index: int) -> str:
    """A node's place in the graph as the scripts read it: ``ours;weight;targets;failure sources;sources``."""
    node = plan.nodes[index]
    targets = ",".join(f"{target}{'f' if kind == 'on_failure' else 'n'}" for target, kind in node.outgoing)
    failure_sources = ",".join(str(source) for source, kind in node.incoming if kind == "on_failure")
    sources = ",".join(str(source) for source, _ in node.incoming)
    return f"{int(node.ours)};{node.weight!r};{targets};{failure_sources};{sources}"


def _chunks(values: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))
