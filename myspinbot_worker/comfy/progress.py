"""How far a prompt is, and how long it will take: its nodes weighted by how long their classes took before.

Pure: times come in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

_SPEED_FROM = 0.05
"""A node's own bar tells its speed from here on; before, its first step's set-up would be taken for it."""


class PromptProgress:
    """Follows one prompt. Node ids that are not known (a node may grow others while it runs) are left alone.

    Args:
        classes: Id → class of every node that has to run, or may turn out to be cached.
        seconds: Class → how long a node of it took in earlier runs (s); a class that is not known gets the median.
    """

    def __init__(self, classes: Mapping[str, str], seconds: Mapping[str, float]) -> None:
        usual = median(seconds.values()) if seconds else 1.0
        self._weights = {id_: max(0.0, seconds.get(name, usual)) for id_, name in classes.items()}
        if not sum(self._weights.values()):
            self._weights = dict.fromkeys(classes, 1.0)
        self._total = sum(self._weights.values())
        self._is_known = bool(seconds)
        self._done: set[str] = set()
        self._running: dict[str, tuple[float, float]] = {}
        self._fraction = 0.0

    def cached(self, nodes: Iterable[str]) -> None:
        """These need not run: as good as done."""
        for id_ in nodes:
            self.finished(id_)

    def started(self, node: str, now: float) -> None:
        """A node begins at ``now`` (s, of a clock that only goes on)."""
        if node in self._weights and node not in self._done:
            self._running[node] = (now, 0.0)

    def progressed(self, node: str, value: float, most: float) -> None:
        """A node's own bar; one that falls or makes no sense is left alone."""
        since, part = self._running.get(node, (0.0, 1.0))
        if most > 0 and part < value / most <= 1:
            self._running[node] = (since, value / most)

    def finished(self, node: str) -> None:
        """A node has ended."""
        if node in self._weights:
            self._running.pop(node, None)
            self._done.add(node)

    @property
    def fraction(self) -> float:
        """The done part, 0.0 to 1.0; it never falls."""
        if self._total > 0:
            done = sum(self._weights[id_] for id_ in self._done)
            done += sum(self._weights[id_] * part for id_, (_, part) in self._running.items())
            self._fraction = max(self._fraction, min(1.0, done / self._total))
        return self._fraction

    def eta_seconds(self, now: float) -> float | None:
        """How long the rest will take (s), ``None`` when nothing is known of earlier runs."""
        if not self._is_known:
            return None
        left = 0.0
        for id_, weight in self._weights.items():
            if id_ in self._running:
                since, part = self._running[id_]
                elapsed = max(0.0, now - since)
                left += elapsed * (1 - part) / part if part >= _SPEED_FROM else max(0.0, weight - elapsed)
            elif id_ not in self._done:
                left += weight
        return left
