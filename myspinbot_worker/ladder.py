"""How an attempt that should end is brought to it: it is told, then interrupted, then killed. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from .task import StopReason


class Rung(IntEnum):
    """How far it has come."""

    RUNNING = 0
    TOLD = 1
    INTERRUPTED = 2
    KILLED = 3


@dataclass(slots=True)
class Ladder:
    """One attempt's way down.

    Attributes:
        notice_seconds: How long a task may take to notice that it was told.
        interrupt_seconds: How long it may take to end after it was interrupted.
        rung: The last step that was due.
    """

    notice_seconds: float
    interrupt_seconds: float
    reason: StopReason | None = None
    rung: Rung = Rung.RUNNING
    _next_at: float = math.inf

    def begin(self, reason: StopReason, now: float) -> None:
        """The attempt should end; the first reason stays."""
        if self.reason is None:
            self.reason, self._next_at = reason, now

    @property
    def next_at(self) -> float:
        """When the next step is due (s); infinity for never."""
        return self._next_at

    def step(self, now: float) -> Rung | None:
        """The step to take now, if one is due; each is given out once."""
        if now < self._next_at:
            return None
        self.rung = Rung(self.rung + 1)
        self._next_at = {
            Rung.TOLD: now + self.notice_seconds,
            Rung.INTERRUPTED: now + self.interrupt_seconds,
        }.get(self.rung, math.inf)
        return self.rung
