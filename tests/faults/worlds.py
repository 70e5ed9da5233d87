"""The small worlds that are explored whole, and those in which planted mistakes are looked for."""

from __future__ import annotations

from typing import NamedTuple

from .ground import Scope
from .shapes import Shape

ALONE = Shape(("python",), ())
CHAIN = Shape(("python", "python"), ((0, 1, "normal"),))
JOIN = Shape(("python", "python", "python"), ((0, 2, "normal"), (1, 2, "normal")))
TWO_VISITS = Shape(("node", "python"), ((0, 1, "normal"),))

LEAN = Scope(ingestors=1, doubles=False, fractions=False, unanswered=False, returns=False)
"""What matters between nodes: two workers, a reconciler, crashes, lost and repeated messages, cancels."""


class Whole(NamedTuple):
    """Every graph of a size, and at least how many states that is."""

    name: str
    nodes: int
    scope: Scope
    least: int


EXPLORED = (
    Whole("one node, everything", 1, Scope(), 10_000),
    Whole("two nodes, every entry once", 2, Scope(doubles=False), 50_000),
    Whole(
        "two nodes, doubled entries",
        2,
        Scope(workers=1, fractions=False, unanswered=False, returns=False),
        50_000,
    ),
    Whole("two nodes, keep going", 2, Scope(ingestors=1, doubles=False, keep_going=True), 5_000),
    Whole("three nodes", 3, LEAN, 100_000),
)
"""Where every statement holds in every state."""

SEARCHED = (
    (ALONE, Scope()),
    (CHAIN, LEAN),
    (JOIN, LEAN),
    (TWO_VISITS, Scope(fractions=False, unanswered=False)),
)
"""Where a planted mistake shows, the quickest first."""
