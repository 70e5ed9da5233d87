"""A caller of engines that remembers what it was told, and can withdraw in the middle."""

from __future__ import annotations

from myspinbot_worker.errors import Cancelled


class Recorder:
    """``Steps`` for tests.

    Args:
        cancelled_at: Number of the ``check`` that raises ``Cancelled``; none by default.
    """

    def __init__(self, cancelled_at: int | None = None) -> None:
        self.fractions: list[float] = []
        self.checks = 0
        self._cancelled_at = cancelled_at

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)

    def check(self) -> None:
        self.checks += 1
        if self.checks == self._cancelled_at:
            raise Cancelled("cancelled by the test")

    def complete(self) -> bool:
        """Whether progress rose to 1, stayed within [0, 1] and never fell."""
        return (
            bool(self.fractions)
            and self.fractions == sorted(self.fractions)
            and self.fractions[0] >= 0.0
            and self.fractions[-1] == 1.0
        )
