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
        where: The file.
    """

    plant: Callable[[], AbstractContextManager[Any]]
    world: str
    side: Side
    at: str
    where: str


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
        scripts(admit=("if #redis.call('XPENDING'", "if false and #redis.call('XPENDING'")),
        mock.patch.object(Bridge, "read", read_and_acknowledge),
    ):
        yield


def _hand_back_apart() -> AbstractContextManager[Any]:
    """The hand-back is a command of its own before the conclusion, not a part of it."""
    conclude = RunStore.conclude

    def hand_back_then_conclude(self: RunStore, job: str, entry: str, **options: Any) -> Any:
        if options.pop("hand_back"):
            created = str(time.time_ns() // 1_000_000)
            graph = options["graph"]
            self.client.hset(f"job:{job}", "graph", graph)
            self.client.xadd(self.streams.control, {"jobId": job, "created": created, "graph": graph})
        return conclude(self, job, entry, hand_back=False, **options)

    return mock.patch.object(RunStore, "conclude", hand_back_then_conclude)


def scripts(**changes: tuple[str, str]) -> AbstractContextManager[Any]:
    """Scripts in which every occurrence of a text is replaced by another."""
    init = RunStore.__init__

    def changed_init(self: RunStore, client: Any, *args: Any, **options: Any) -> None:
        init(self, client, *args, **options)
        for name, (old, new) in changes.items():
            assert old in str(self._scripts[name].script), (
                f"{name}.lua has changed; this bug must be planted otherwise"
            )
            for other, script in list(self._scripts.items()):
                text = str(script.script)
                if other == name or f"local function {name}(" in text:
                    self._scripts[other] = client.register_script(text.replace(old, new))

    return mock.patch.object(RunStore, "__init__", changed_init)


def _never(step: str) -> Callable[[], AbstractContextManager[Any]]:
    """One of the reconciler's steps is left out."""
    # A function and not a mock: the reconciler asks for its steps' names.
    return lambda: mock.patch.object(Reconciler, step, _nothing)


def _nothing(self: Reconciler) -> None:
    """Does nothing."""


_PUBLISHES = "then redis.call('PUBLISH', ARGV[7], ARGV[8] .. '1' .. ARGV[9]) return 'lost' end"
_AGAIN = "redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), member)"
_LOOKED_FOR = "redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), member)"

BUGS: dict[str, Bug] = {
    "entries are acknowledged when they are read": Bug(
        _acknowledge_early, "entries", "after", "xdel", "bridge.py"
    ),
    "the hand-back is not part of the conclusion": Bug(
        _hand_back_apart, "entries", "after", "xadd", "graph/store.py"
    ),
    "the outbox is not written": Bug(
        lambda: scripts(expire=(_AGAIN, "")),
        "leftovers",
        "after",
        "expire",
        "expire.lua",
    ),
    "a result is recorded without a look at the token": Bug(
        lambda: scripts(settle=("if r[3] ~= ARGV[3] or r[2] ~= 'R' then", "if false then")),
        "everything",
        "lost",
        "advance",
        "settle.lua",
    ),
    "progress falls back to what this attempt has done": Bug(
        lambda: scripts(renew=("if gained > 0 then", "if true then")),
        "everything",
        "after",
        "renew",
        "renew.lua",
    ),
    "runs that are over are not looked for": Bug(
        _never("conclude_runs"), "everything", "after", "advance", "reconciler.py"
    ),
    "leases are not looked at": Bug(_never("expire_leases"), "everything", "after", "claim", "reconciler.py"),
    "messages are not sent again": Bug(
        _never("resend_messages"), "taken", "after", "expire", "reconciler.py"
    ),
    "entries of the dead are not adopted": Bug(
        _never("adopt_entries"), "entries", "after", "xreadgroup", "reconciler.py"
    ),
    "who lost a node goes on to publish its progress": Bug(
        lambda: scripts(renew=("then return 'lost' end", _PUBLISHES)),
        "everything",
        "asleep",
        "renew",
        "renew.lua",
    ),
    "who lost a node goes on to publish its data": Bug(
        lambda: scripts(emit=("then return 0 end", "then end")),
        "everything",
        "asleep",
        "emit",
        "emit.lua",
    ),
    "a lost message is looked for once": Bug(
        lambda: scripts(due=(_LOOKED_FOR, "redis.call('ZREM', KEYS[1], member)")),
        "leftovers",
        "after",
        "due",
        "due.lua",
    ),
    "messages of the dead are not taken back": Bug(
        _never("maintain_queues"), "everything", "after", "take", "reconciler.py"
    ),
}
