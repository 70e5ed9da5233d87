"""Stand-in: the server's queue and history."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

Item = tuple[Any, ...]
"""Number, prompt id, prompt, extra data, output nodes, what is not shown."""


class PromptQueue:
    """Used by the server's loop and by the thread that runs prompts."""

    class ExecutionStatus(NamedTuple):
        status_str: str
        completed: bool
        messages: list[Any]

    def __init__(self, server: Any) -> None:
        self.server = server
        self.mutex = threading.RLock()
        self.not_empty = threading.Condition(self.mutex)
        self.queue: list[Item] = []
        self.currently_running: dict[int, Item] = {}
        self.history: dict[str, Any] = {}
        self.flags: dict[str, Any] = {}
        self._taken = 0

    def put(self, item: Item) -> None:
        with self.mutex:
            heapq.heappush(self.queue, item)
            self.server.queue_updated()
            self.not_empty.notify()

    def get(self, timeout: float | None = None) -> tuple[Item, int] | None:
        with self.not_empty:
            if not self.not_empty.wait_for(lambda: self.queue or self.flags, timeout) or not self.queue:
                return None
            item = heapq.heappop(self.queue)
            self._taken += 1
            self.currently_running[self._taken] = item
            self.server.queue_updated()
            return item, self._taken

    def task_done(self, item_id: int, history_result: dict[str, Any], status: ExecutionStatus) -> None:
        with self.mutex:
            item = self.currently_running.pop(item_id)
            self.history[item[1]] = {
                "prompt": item[:5],
                "outputs": {},
                "status": status._asdict(),
            } | history_result
            self.server.queue_updated()

    def delete_queue_item(self, function: Callable[[Item], bool]) -> bool:
        with self.mutex:
            kept = [item for item in self.queue if not function(item)]
            found = len(kept) < len(self.queue)
            self.queue = kept
            heapq.heapify(self.queue)
            self.server.queue_updated()
            return found

    def get_current_queue(self) -> tuple[list[Item], list[Item]]:
        with self.mutex:
            return list(self.currently_running.values()), list(self.queue)

    def get_tasks_remaining(self) -> int:
        with self.mutex:
            return len(self.queue) + len(self.currently_running)

    def get_history(self, prompt_id: str | None = None) -> dict[str, Any]:
        with self.mutex:
            if prompt_id is None:
                return dict(self.history)
            return {prompt_id: self.history[prompt_id]} if prompt_id in self.history else {}

    def set_flag(self, name: str, data: Any) -> None:
        with self.mutex:
            self.flags[name] = data
            self.not_empty.notify()

    def get_flags(self) -> dict[str, Any]:
        with self.mutex:
            flags, self.flags = self.flags, {}
            return flags
