"""Measured values and what is told of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Args:
        benchmark: Which benchmark measured it.
        name: Stable name in the JSON file, unique in a benchmark.
        what: For people.
        unit: Of the values.
        values: One a round or a sample; at least one.
        note: What a reader must know to judge it.
    """

    benchmark: str
    name: str
    what: str
    unit: str
    values: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p99(self) -> float | None:
        """The 99th percentile; None where there are too few values for one."""
        return percentile(self.values, 99) if len(self.values) >= 50 else None

    def to_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "count": len(self.values),
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "p99": self.p99,
            "values": list(self.values),
            "note": self.note,
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that ``percent`` of the values do not exceed, interpolated; at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
