"""What each script is called with: its keys and arguments, in the order its head names them. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from ..keys import Keys, NodeRef
from ..keys import job as job_key
from .messages import Messages
from .plan import Plan, State, failing, handlers, progress, propagate_skips, startable, unsatisfied
from .transitions import Arrival, Limits, ReadyNode, Result, StreamNames, Taking

Call = tuple[list[str], list[Any]]
"""A script's ``KEYS`` and ``ARGV``."""

NODES_A_CALL = 500
"""Most nodes that one call of a script that looks for work goes through."""


class Calls:
    """Makes the calls of one farm's scripts."""

    def __init__(self, keys: Keys, streams: StreamNames, messages: Messages, limits: Limits) -> None:
        self.keys = keys
        self.streams = streams
        self.messages = messages
        self.limits = limits
        self._route_texts: dict[int, str] = {}
        self._take_keys: dict[tuple[str, str], list[str]] = {}

    def admit(
        self, arrival: Arrival, routes: Mapping[str, str], *, keep_going: bool
    ) -> tuple[Call, list[ReadyNode]]:
        """The call, and the nodes that are ready if it admits.

        Args:
            routes: The queue of every service that messages can be sent to; the run keeps it.
        """
        entry, document, plan = arrival.entry, arrival.document, arrival.plan
        job, keys = document.workflow_id, self.keys
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
            ReadyNode(NodeRef(entry, node.index, job), 1, node.service, node.id, sent=node.service in routes)
            for node in (plan.nodes[index] for index in ready)
        ]
        return (touched, args), [] if halted else nodes

    def claim(self, ref: NodeRef, token: int, worker: str, call: str | None) -> Call:
        keys = self.keys
        return (
            [
                keys.run(ref.job),
                keys.payload(ref.job),
                keys.leases,
                keys.outbox,
                keys.counters,
                keys.cancels,
                keys.over,
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

    def renew(self, ref: NodeRef, token: int, fraction: float | None, *, kept: bool) -> Call:
        return (
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

    def settle(self, ref: NodeRef, token: int, result: Result) -> Call:
        keys = self.keys
        return (
            [
                keys.run(ref.job),
                keys.payload(ref.job),
                keys.leases,
                keys.outbox,
                keys.over,
                keys.counters,
            ],
            [
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
                "" if result.outcome is State.COMPLETED else result.charge.value,
                result.exhausted,
                self.limits.elsewhere_ms,
                int(result.littered),
                keys.broker,
                int(result.first),
                result.reused,
            ],
        )

    def take(self, taking: Taking) -> Call:
        return (
            self._taking_keys(taking.queue, taking.process),
            [
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
            ],
        )

    def advance(self, ref: NodeRef, token: int, result: Result, taking: Taking) -> Call:
        """``settle`` and ``take`` in one: the first one's arguments are counted."""
        settle_keys, settle_args = self.settle(ref, token, result)
        take_keys, take_args = self.take(taking)
        return [*settle_keys, *take_keys], [len(settle_args), *settle_args, *take_args]

    def expire(self, caller: str) -> Call:
        return (
            [self.keys.leases, self.keys.outbox, self.keys.over, self.keys.counters],
            [
                self.keys.run(""),
                self.limits.max_lost_attempts,
                self.limits.lease_ms,
                caller,
                self.limits.message_check_ms,
                NODES_A_CALL,
            ],
        )

    def emit(self, ref: NodeRef, token: int, data: Any) -> Call:
        return (
            [self.keys.run(ref.job)],
            [
                ref.entry,
                ref.index,
                token,
                self.messages.data_channel(ref.job),
                self.messages.data_message(ref.job, data),
            ],
        )

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
        reason: str,
        queued: Sequence[int],
        litter: Iterable[str],
    ) -> Call:
        keys, messages = self.keys, self.messages
        return (
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

    def reject(
        self, entry: str, code: str, reason: str, fields: Mapping[bytes, bytes], job: str | None
    ) -> Call:
        # Lua cannot unpack more than a few thousand values, and no honest entry has more than three fields.
        flat = [part for pair in list(fields.items())[:100] for part in pair]
        return (
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

    def _route_text(self, routes: Mapping[str, str]) -> str:
        """For the scripts; services are declared once and never changed."""
        text = self._route_texts.get(len(routes))
        if text is None:
            text = self._route_texts[len(routes)] = json.dumps(routes, separators=(",", ":"))
        return text

    def _taking_keys(self, queue: str, process: str) -> list[str]:
        known = self._take_keys.get((queue, process))
        if known is not None:
            return known
        keys = self.keys
        known = self._take_keys[queue, process] = [
            keys.queue(queue),
            keys.queued_messages(queue),
            keys.unacknowledged(process, queue),
            keys.heartbeats,
            keys.paused,
            keys.leases,
            keys.outbox,
            keys.counters,
            keys.cancels,
            keys.over,
            keys.passed(queue),
        ]
        return known


def _plan_text(plan: Plan, index: int) -> str:
    """A node's place in the graph as the scripts read it: ``ours;weight;targets;failure sources;sources``."""
    node = plan.nodes[index]
    targets = ",".join(f"{target}{'f' if kind == 'on_failure' else 'n'}" for target, kind in node.outgoing)
    failure_sources = ",".join(str(source) for source, kind in node.incoming if kind == "on_failure")
    sources = ",".join(str(source) for source, _ in node.incoming)
    return f"{int(node.ours)};{node.weight!r};{targets};{failure_sources};{sources}"
