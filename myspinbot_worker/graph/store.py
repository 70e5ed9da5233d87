"""A run in Redis: one method a script, each one atomic transition of :mod:`.machine`'s model.

The only module of this package that talks to Redis. Times are Redis' own clock, so clocks of hosts do not
matter; payloads are handed through as text and never decoded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from ..keys import Keys, NodeRef
from ..keys import job as job_key
from .document import Document
from .messages import Messages
from .plan import Plan, State, failing, handlers, progress, propagate_skips, startable, unsatisfied
from .transitions import Claim, Expired, Limits, ReadyNode, Refused, Settled, StreamNames

_SCRIPTS = Path(__file__).parent / "lua"
_NODES_A_CALL = 500


class RunStore:
    """Transitions of runs in Redis.

    Args:
        client: Must decode responses (``decode_responses=True``).
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys | None = None,
        streams: StreamNames | None = None,
        messages: Messages | None = None,
        limits: Limits | None = None,
    ) -> None:
        # redis-py's annotations do not know which clients decode.
        self.client: Any = client
        self.keys = keys or Keys()
        self.streams = streams or StreamNames()
        self.messages = messages or Messages()
        self.limits = limits or Limits()
        self._scripts = {
            path.stem: client.register_script(path.read_text(encoding="utf-8"))
            for path in _SCRIPTS.glob("*.lua")
        }

    def _run(self, script: str, keys: Sequence[str], args: Iterable[Any]) -> Any:
        return self._scripts[script](keys=keys, args=list(args))

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
        """Create the run of a stream entry.

        Args:
            created: The entry's ``created``, ms digits.
            fingerprint: Digest of the graph, and of the whole entry.

        Returns:
            ``ok``, ``done``, ``admitted``, ``duplicate`` or ``busy`` (see admit.lua), and, if ``ok``, the
            nodes to send messages for.
        """
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
            *fingerprint,
            created,
            document.text,
            self.messages.status_channel(job),
            self.messages.status_message(job, "queued"),
            int(keep_going),
            self.limits.message_check_ms,
            int(doomed),
            repr(progress(plan, [float(state not in (State.WAITING, State.READY)) for state in states])),
            int(halted or not ready),
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
        (result, *_) = self._run(
            "admit",
            [
                self.streams.data,
                keys.run(job),
                keys.payload(job),
                keys.graph(job),
                keys.runs,
                keys.outbox,
                keys.over,
                keys.seen(job),
            ],
            args,
        )
        if result != "ok" or halted:
            return result, []
        return result, [
            ReadyNode(NodeRef(entry, index, job), 1, plan.nodes[index].service, plan.nodes[index].id)
            for index in ready
        ]

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
            ],
        )
        if reply[0] != "ok":
            return Refused(reply[0], int(reply[1]) if reply[0] == "leased" else 0)
        _, got, failed, lost, done, weight, node_id, service, *texts = reply
        params, own_input, retries, *outputs = (text or None for text in texts)
        return Claim(
            ref, int(got), int(failed), int(lost), float(done), float(weight), node_id, service,
            params, own_input, retries, tuple(outputs),
        )  # fmt: skip

    def renew(self, ref: NodeRef, token: int, fraction: float | None = None) -> str:
        """Extend a lease, and report the node's fraction: ``ok``, ``cancelled`` or ``lost``."""
        result: str = self._run(
            "renew",
            [self.keys.run(ref.job), self.keys.leases],
            [
                ref.entry,
                ref.index,
                token,
                self.limits.lease_ms,
                str(ref),
                "" if fraction is None else repr(min(1.0, max(0.0, fraction))),
                self.messages.progress_channel(ref.job),
                *self.messages.progress_parts(ref.job),
            ],
        )
        return result

    def settle(
        self, ref: NodeRef, token: int, outcome: State, text: str | None = None, delay_ms: int = 0
    ) -> Settled:
        """Record how a start ended.

        Args:
            outcome: ``COMPLETED``, ``FAILED``, or ``READY`` to try again after ``delay_ms``.
            text: The output's JSON text (completed) or the error's.
        """
        reply = self._run(
            "settle",
            [
                self.keys.run(ref.job),
                self.keys.payload(ref.job),
                self.keys.leases,
                self.keys.outbox,
                self.keys.over,
                self.keys.counters,
            ],
            [
                ref.entry,
                ref.index,
                token,
                outcome.value,
                text or "",
                delay_ms,
                ref.job,
                self.limits.message_check_ms,
                self.messages.progress_channel(ref.job),
                *self.messages.progress_parts(ref.job),
            ],
        )
        ready = tuple(
            ReadyNode(NodeRef(ref.entry, int(index), ref.job), int(next_token), service, node_id)
            for index, next_token, service, node_id in _chunks(reply[2:], 4)
        )
        return Settled(reply[0], len(reply) > 1 and bool(reply[1]), ready)

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

    def cancel(self, job: str) -> int | None:
        """Cancel a job's open run; the number of nodes still running, ``None`` if there is no open run."""
        reply = self._run("cancel", [self.keys.run(job), self.keys.over], [job])
        return int(reply[1]) if reply[0] == "ok" else None

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
        queued: Iterable[int] = (),
    ) -> bool:
        """Perform the run's one terminal act; ``False`` if somebody did before.

        Args:
            queued: Indexes of nodes that never left the outbox.
        """
        keys, messages, job = self.keys, self.messages, ref_job
        return bool(
            self._run(
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
                    *(str(NodeRef(entry, index, job)) for index in queued),
                ],
            )
        )

    def reject(
        self, entry: str, code: str, reason: str, fields: Mapping[bytes, bytes], job: str | None
    ) -> bool:
        """Dead-letter an entry; publishes ``failed`` for ``job`` if given. ``False`` if it was handled before."""
        # Lua cannot unpack more than a few thousand values, and no honest entry has more than three fields.
        flat = [part for pair in list(fields.items())[:100] for part in pair]
        return bool(
            self._run(
                "reject",
                [self.streams.data, self.keys.dead, self.keys.run(job or "")],
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

    def over_since(self, least_ms: int, most: int) -> list[str]:
        """Jobs whose run has been over for some time and is not concluded."""
        seconds, microseconds = self.client.time()
        now = seconds * 1000 + microseconds // 1000
        jobs: list[str] = self.client.zrangebyscore(self.keys.over, "-inf", now - least_ms, 0, most)
        return jobs

    def retire_consumer(self, consumer: str) -> bool:
        """Remove a consumer's name from the group unless entries are pending under it."""
        return bool(self._run("retire", [self.streams.data], [self.streams.group, consumer]))


def _plan_text(plan: Plan, index: int) -> str:
    """A node's place in the graph as the scripts read it: ``ours;weight;targets;failure sources;sources``."""
    node = plan.nodes[index]
    targets = ",".join(f"{target}{'f' if kind == 'on_failure' else 'n'}" for target, kind in node.outgoing)
    failure_sources = ",".join(str(source) for source, kind in node.incoming if kind == "on_failure")
    sources = ",".join(str(source) for source, _ in node.incoming)
    return f"{int(node.ours)};{node.weight!r};{targets};{failure_sources};{sources}"


def _chunks(values: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))
