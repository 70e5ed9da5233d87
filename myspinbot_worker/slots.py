"""How many messages a process may hold: in all, and of single queues."""

from __future__ import annotations

import threading
from collections.abc import Hashable


class Slots:
    """How many messages this process may hold: in all, and of single queues.

    A held message is known by a key of its delivery, so a slot is freed once however often its message is
    acknowledged, and one message delivered twice takes two.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._total = 1
        self._by_queue: dict[str, int] = {}
        self._held: dict[Hashable, str] = {}
        self._reserved: list[str] = []
        self._waiting: list[str] = []

    def configure(self, total: int, by_queue: dict[str, int]) -> None:
        """Set the limits; a queue not named in ``by_queue`` is limited by ``total`` alone."""
        with self._changed:
            self._total, self._by_queue = total, dict(by_queue)
            self._changed.notify_all()

    def _free(self, queue: str) -> bool:
        busy = [*self._held.values(), *self._reserved]
        return len(busy) < self._total and busy.count(queue) < self._by_queue.get(queue, self._total)

    def reserve(self, queue: str, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a slot and reserve it."""
        with self._changed:
            self._waiting.append(queue)
            try:
                if not self._changed.wait_for(lambda: self._free(queue), timeout):
                    return False
            finally:
                self._waiting.remove(queue)
            self._reserved.append(queue)
            return True

    def may_pass_on(self, queue: str, done: Hashable) -> bool:
        """Whether a message's slot may go to the next of its queue: held, not to be given up, and nobody's turn."""
        with self._changed:
            if done not in self._held:
                return False
            busy = [*self._held.values(), *self._reserved]
            within = len(busy) <= self._total and busy.count(queue) <= self._by_queue.get(queue, self._total)
            return within and all(other == queue for other in self._waiting)

    def pass_on(self, done: Hashable, following: Hashable) -> None:
        """Hold a message in the slot of another, which was never free in between."""
        with self._changed:
            self._held[following] = self._held.pop(done)

    def fill(self, queue: str, delivery: Hashable | None) -> None:
        """Turn a reservation into a held message, or give it back with ``None``."""
        with self._changed:
            self._reserved.remove(queue)
            if delivery is not None:
                self._held[delivery] = queue
            else:
                self._changed.notify_all()

    def release(self, delivery: Hashable) -> None:
        with self._changed:
            if self._held.pop(delivery, None) is not None:
                self._changed.notify_all()
