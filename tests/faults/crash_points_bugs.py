"""Bugs of the kind the crash tests are for, each to be planted on purpose: nobody would see it without a crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from myspinbot_worker.bridge import Bridge
from myspinbot_worker.graph.store import RunStore
from myspinbot_worker.reconciler import Reconciler

from .crash_points_wire import Side


@dataclass(frozen=True)
class Bug:
    """A bug, and where to look for it.

    Attributes:
        plant: Plants it, for as long as the context is open.
        world: In which it shows.
        side: Of which fault it shows.
        at: Commands (a pattern) to try.
    """

    plant: Callable[[], AbstractContextManager[Any]]
    world: str
    side: Side
    at: str


@contextmanager
def _acknowledge_early() -> Iterator[None]:
    """Entries are acknowledged when they are read, not when their visit has ended."""
    read = Bridge.read

    def read_and_acknowledge(self: Bridge, *args: Any) -> Any:
        found = read(self, *args)
        for entry in found:
            self._client.xack(self.streams.data, self.streams.group, entry.id)
            self._client.xdel(self.streams.data, entry.id)
        return found

    with (
        _scripts(admit=("if #redis.call('XPENDING'", "if false and #redis.call('XPENDING'")),
        mock.patch.object(Bridge, "read", read_and_acknowledge),
    ):
        yield


def _hand_back_apart() -> AbstractContextManager[Any]:
    """The hand-back is a command of its own before the conclusion, not a part of it."""
    conclude = RunStore.conclude

    def hand_back_then_conclude(self: RunStore, job: str, entry: str, **options: Any) -> bool:
        if options.pop("hand_back"):
            created = str(time.time_ns() // 1_000_000)
            graph = options["graph"]
            self.client.hset(f"job:{job}", "graph", graph)
            self.client.xadd(self.streams.control, {"jobId": job, "created": created, "graph": graph})
        return conclude(self, job, entry, hand_back=False, **options)

    return mock.patch.object(RunStore, "conclude", hand_back_then_conclude)


def _scripts(**changes: tuple[str, str]) -> AbstractContextManager[Any]:
    """Scripts in which every occurrence of a text is replaced by another."""
    init = RunStore.__init__

    def changed_init(self: RunStore, client: Any, *args: Any, **options: Any) -> None:
        init(self, client, *args, **options)
        for name, (old, new) in changes.items():
            text = str(self._scripts[name].script)
            assert old in text, f"{name}.lua has changed; this bug must be planted otherwise"
            self._scripts[name] = client.register_script(text.replace(old, new))

    return mock.patch.object(RunStore, "__init__", changed_init)


def _never(step: str) -> Callable[[], AbstractContextManager[Any]]:
    """One of the reconciler's steps is left out."""
    # A function and not a mock: the reconciler asks for its steps' names.
    return lambda: mock.patch.object(Reconciler, step, _nothing)


def _nothing(self: Reconciler) -> None:
    """Does nothing."""


BUGS: dict[str, Bug] = {
    "entries are acknowledged when they are read": Bug(_acknowledge_early, "entries", "after", "xdel"),
    "the hand-back is not part of the conclusion": Bug(_hand_back_apart, "entries", "after", "xadd"),
    "the outbox is not written": Bug(
        lambda: _scripts(admit=("if ARGV[14] == '0' then redis.call('ZADD'", "if false then redis.call('ZADD'")),
        "everything", "after", "admit",
    ),
    "a result is recorded without a look at the token": Bug(
        lambda: _scripts(settle=("if r[3] ~= ARGV[3] or r[2] ~= 'R' then", "if false then")),
        "everything", "lost", "settle",
    ),
    "progress falls back to what this attempt has done": Bug(
        lambda: _scripts(renew=("if gained > 0 then", "if true then")),
        "everything", "after", "renew",
    ),
    "runs that are over are not looked for": Bug(_never("conclude_runs"), "everything", "after", "settle"),
    "leases are not looked at": Bug(_never("expire_leases"), "everything", "after", "claim"),
    "messages are not sent again": Bug(_never("resend_messages"), "entries", "after", "admit"),
    "entries of the dead are not adopted": Bug(_never("adopt_entries"), "entries", "after", "xreadgroup"),
    "messages of the dead are not taken back": Bug(_never("maintain_queues"), "everything", "after", ".*fetch cpu$"),
}  # fmt: skip
