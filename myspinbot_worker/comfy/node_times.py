"""How long nodes of each class took, kept in Redis for the progress and the remaining time of later runs.

Only a worker has Redis: the process that runs a prompt is told the times with its start, and tells its own at the
end. They are hints: one that is lost, or counted twice, does no harm.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import redis

from ..keys import Keys

SHARE = 0.3
"""Share of a new time in the average: after a handful of runs an old card's times are forgotten."""

MOST_CLASSES = 5000
LONGEST_NAME = 200
_LONGEST_SECONDS = 7 * 86_400.0

_SCRIPT = Path(__file__).parent / "lua" / "node_times.lua"


class RecordedTimes:
    """The times of all workers.

    Args:
        client: Decodes replies.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.node_times
        self._script = client.register_script(_SCRIPT.read_text(encoding="utf-8"))

    def read(self) -> dict[str, float]:
        """Class → seconds, a decaying average; what is not a time is left out."""
        times = {}
        for name, text in self._client.hgetall(self._key).items():
            try:
                times[str(name)] = float(text)
            except ValueError:
                continue
        return usable(times)

    def record(self, seconds: Mapping[str, float]) -> None:
        """Let the times of one run flow in."""
        pairs = [item for name, value in usable(seconds).items() for item in (name, f"{value:.6g}")]
        if pairs:
            self._script(keys=[self._key], args=[SHARE, MOST_CLASSES, *pairs])


def usable(seconds: Mapping[str, float]) -> dict[str, float]:
    """The entries that are times of classes."""
    return {
        name: value
        for name, value in seconds.items()
        if name and len(name) <= LONGEST_NAME and math.isfinite(value) and 0 <= value <= _LONGEST_SECONDS
    }


def class_times(seconds: Mapping[str, float], classes: Mapping[str, str]) -> dict[str, float]:
    """Seconds by node id as seconds by class; those of several nodes of a class are averaged."""
    by_class: dict[str, list[float]] = defaultdict(list)
    for id_, value in seconds.items():
        if id_ in classes:
            by_class[classes[id_]].append(value)
    return {name: fmean(values) for name, values in by_class.items()}
