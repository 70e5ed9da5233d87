"""Counts the commands a process sends to Redis, and lets a chosen one be its last.

Installed in a freshly forked process only: it patches redis-py's connection class for good.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import redis
from redis.connection import AbstractConnection

Side = Literal["before", "after", "lost", "asleep"]
SIDES: tuple[Side, ...] = get_args(Side)

_NOT_COUNTED = frozenset({"hello", "auth", "client", "select", "ping", "readonly", "llen"})
"""What belongs to the connection; and how the test itself looks whether a queue is empty."""
_WORDS_NEEDED = 7


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at a process' command number ``at`` (from 1).

    Attributes:
        side: ``before`` and ``after``: the process is killed before it sends the command, or when the server has
            executed it and the reply has come, but nobody has looked at it. ``lost``: the connection breaks after
            the server executed the command, so the process lives but sees no reply. ``asleep``: the process
            stops before it sends the command, and goes on when all others have finished.
    """

    at: int
    side: Side


class Wire:
    """Sits between a process and its Redis connections.

    Args:
        scripts: Names of scripts by their SHA1; any other is Dramatiq's.
        fault: What to do to this process, if anything.
        tell: Told the number and name of the command at which the fault came.
        sleep: Returns when a sleeper may wake.
    """

    def __init__(
        self,
        scripts: Mapping[str, str],
        fault: Fault | None,
        tell: Callable[[int, str], None],
        sleep: Callable[[], None],
    ) -> None:
        self.commands: list[str] = []
        self._scripts = scripts
        self._fault = fault
        self._tell = tell
        self._sleep = sleep

    def install(self) -> None:
        """Take over every connection of this process."""
        connection: Any = AbstractConnection
        send, wire = connection.send_packed_command, self

        def counted(self: AbstractConnection, command: Any, check_health: bool = True) -> None:
            packet = b"".join(command) if isinstance(command, (list, tuple)) else command
            wire._send(self, packet, lambda part: send(self, [part], check_health=check_health))

        connection.send_packed_command = counted

    def _send(self, connection: AbstractConnection, packet: bytes, send: Callable[[bytes], None]) -> None:
        units = list(_units(packet))
        names = [name for unit in units if (name := self._name(unit.words))]
        start = len(self.commands)
        self.commands += names
        fault = self._fault
        if fault is None or not start < fault.at <= len(self.commands):
            send(packet)
            return
        self._tell(fault.at, self.commands[fault.at - 1])
        executed = units[: fault.at - start - (fault.side in ("before", "asleep"))]
        if executed:
            send(b"".join(unit.data for unit in executed))
        if fault.side == "asleep":
            self._sleep()
            send(b"".join(unit.data for unit in units[len(executed) :]))
            return
        for _ in range(sum(unit.replies for unit in executed)):
            with contextlib.suppress(redis.ResponseError):
                connection.read_response()
        if fault.side != "lost":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise redis.ConnectionError("the connection broke before the reply came")

    def _name(self, words: list[str]) -> str | None:
        """What a command asks for; ``None`` for what does not count."""
        name = words[0].lower()
        if name in _NOT_COUNTED:
            return None
        if name == "multi":
            return "snapshot"
        if name != "evalsha":
            return name
        # Dramatiq has one script: its one key is the namespace, and what it is to do follows.
        return self._scripts.get(words[1]) or f"dramatiq {words[4]} {words[6]}"


@dataclass(slots=True)
class _Unit:
    """What the server executes as one: a command, or a transaction with its own number of replies."""

    words: list[str]
    data: bytes
    replies: int = 1


def _units(packet: bytes) -> Iterator[_Unit]:
    """The units of a packet in Redis' wire format."""
    transaction = None
    at = 0
    while at < len(packet):
        start, words = at, list[str]()
        end = packet.index(b"\r\n", at)
        count, at = int(packet[at + 1 : end]), end + 2
        for _ in range(count):
            end = packet.index(b"\r\n", at)
            length, at = int(packet[at + 1 : end]), end + 2
            if len(words) < _WORDS_NEEDED:
                words.append(packet[at : at + length].decode(errors="replace"))
            at += length + 2
        unit = _Unit(words, packet[start:at])
        if transaction is not None:
            transaction.data += unit.data
            transaction.replies += 1
            if words[0].upper() == "EXEC":
                yield transaction
                transaction = None
        elif words[0].upper() == "MULTI":
            transaction = unit
        else:
            yield unit
