"""Stand-in: progress bars, which call one hook."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PROGRESS_BAR_HOOK: Callable[..., Any] | None = None
_EVERY_SECONDS = 0.1


def set_progress_bar_global_hook(function: Callable[..., Any]) -> None:
    """Called with value, total, preview, and the node's id if the bar knows it."""
    global PROGRESS_BAR_HOOK
    PROGRESS_BAR_HOOK = function


class ProgressBar:
    """A node's bar; tells at most every 0.1 s, but always the first and the last step."""

    def __init__(self, total: int, node_id: str | None = None) -> None:
        self.total, self.current, self.node_id = total, 0, node_id
        self.hook = PROGRESS_BAR_HOOK
        self._told_at = 0.0

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        self.total = self.total if total is None else total
        self.current = min(value, self.total)
        now = time.monotonic()
        if self.hook and (now - self._told_at >= _EVERY_SECONDS or self.current == self.total):
            self._told_at = now
            self.hook(self.current, self.total, preview, node_id=self.node_id)

    def update(self, value: int) -> None:
        self.update_absolute(self.current + value)
