"""One booted ComfyUI and its executor: runs prompts, interrupts them, frees memory, looks whether it is well."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from . import drift
from .boot import Comfy
from .warm import Warm

log = logging.getLogger(__name__)

_PROGRESS_EVERY_SECONDS = 0.1
_COLLECT_EVERY_SECONDS = 10.0

_PASSED_ON = {
    "execution_start",
    "execution_cached",
    "executing",
    "executed",
    "execution_success",
    "execution_error",
    "execution_interrupted",
    "progress",
}


@dataclass(frozen=True)
class Job:
    """A prompt to run.

    Attributes:
        owner: What models are loaded for.
        needs_bytes: Device memory it should find free.
    """

    id: str
    prompt: dict[str, Any]
    owner: str
    needs_bytes: int


class Session:
    """See the module. :meth:`run` is called by one thread, :meth:`interrupt` by another."""

    def __init__(self, comfy: Comfy, warm: Warm) -> None:
        self.comfy = comfy
        self.warm = warm
        self._executor = comfy.new_executor()
        self._lock = threading.Lock()
        self._running: str | None = None
        self._cancelled: str | None = None
        self._owner = ""
        self._told_at = 0.0
        self._collected_at = time.monotonic()
        sys.modules["comfy.utils"].set_progress_bar_global_hook(self._on_progress)

    def run(self, job: Job) -> dict[str, Any]:
        """Run a prompt to its end: what ``done`` tells the parent."""
        with self._lock:
            self._running = job.id
            if self._cancelled == job.id:
                return {"status": "interrupted"}
        try:
            return self._run(job)
        except Exception as error:
            log.exception("the executor itself failed")
            return {
                "status": "error",
                "error": {"exception_type": type(error).__name__, "exception_message": str(error)[:4000]},
            }
        finally:
            with self._lock:
                self._running = self._cancelled = None

    def _run(self, job: Job) -> dict[str, Any]:
        self._make_room(job)
        valid, error, outputs, node_errors = asyncio.run(
            self.comfy.execution.validate_prompt(job.id, job.prompt, None)
        )
        if not valid or node_errors:
            return {"status": "invalid", "error": error, "node_errors": node_errors}
        self.comfy.server.last_prompt_id = job.id
        self._executor.execute(job.prompt, job.id, {"client_id": "farm"}, outputs)
        events = dict(self._executor.status_messages)
        if "execution_interrupted" in events:
            return {"status": "interrupted"}
        if (failed := events.get("execution_error")) is not None:
            told = {
                "status": "error",
                "error": {
                    "node_id": str(failed.get("node_id", "")),
                    "node_type": str(failed.get("node_type", "")),
                    "exception_type": str(failed.get("exception_type", "")),
                    "exception_message": str(failed.get("exception_message", ""))[:4000],
                    "traceback": [str(line) for line in failed.get("traceback") or ()][-20:],
                },
            }
            if "OutOfMemory" in told["error"]["exception_type"]:  # type: ignore[index]
                self.free()
            return told
        if not self._executor.success:
            return {"status": "error", "error": {"exception_message": "the prompt ended without success"}}
        return {"status": "success", "outputs": self._executor.history_result.get("outputs", {})}

    def interrupt(self, job: str) -> None:
        """End a prompt at its next step; also one that has not begun."""
        with self._lock:
            self._cancelled = job
            if self._running == job:
                self.comfy.nodes.interrupt_processing(True)

    def passes_on(self, event: str, data: dict[str, Any]) -> bool:
        """Whether the parent is told of an event; called when one is sent."""
        if self._is_cancelled():
            # ``execute`` forgets an interrupt that came just before it.
            self.comfy.nodes.interrupt_processing(True)
        if data.get("prompt_id", self._running) != self._running or self._running is None:
            return False
        return event in _PASSED_ON

    def _is_cancelled(self) -> bool:
        return self._cancelled is not None and self._cancelled == self._running

    def _on_progress(
        self, value: Any, total: Any, preview: Any = None, prompt_id: Any = None, node_id: Any = None
    ) -> None:
        """What ComfyUI's progress bars call at every step."""
        if self._is_cancelled():
            self.comfy.nodes.interrupt_processing(True)
        self.comfy.management.throw_exception_if_processing_interrupted()
        now = time.monotonic()
        if now - self._told_at < _PROGRESS_EVERY_SECONDS and value != total:
            return
        self._told_at = now
        node = node_id if node_id is not None else self.comfy.server.last_node_id
        self.comfy.server.send_sync(
            "progress", {"value": value, "max": total, "node": node, "prompt_id": self._running}
        )

    def well(self) -> str:
        """A tiny prompt through the same executor; why it failed, empty if it did not."""
        try:
            _, _, outputs, _ = asyncio.run(self.comfy.execution.validate_prompt("canary", drift.CANARY, None))
            self._executor.execute(drift.CANARY, "canary", {"client_id": "farm"}, outputs)
            made = self._executor.history_result["outputs"].get("sink", {}).get("value")
        except Exception as error:  # noqa: BLE001 - whatever a poisoned device context raises
            return f"{type(error).__name__}: {error}"
        return "" if self._executor.success and made == [42] else f"it came to {made!r}"

    def free(self) -> None:
        """Let go of models, cached outputs and what packs keep."""
        self.warm.free()
        self._executor.reset()
        self.comfy.management.unload_all_models()
        self._collect()

    def _make_room(self, job: Job) -> None:
        if job.owner != self._owner and job.needs_bytes:
            free = self.comfy.management.get_free_memory()
            if free < job.needs_bytes:
                log.info(
                    "models of %s go: %s wants %d bytes, %d are free",
                    self._owner, job.owner, job.needs_bytes, free,
                )  # fmt: skip
                self.free()
        self._owner = job.owner

    def tidy(self) -> None:
        """The housekeeping of ComfyUI's own main loop; called now and then."""
        if time.monotonic() - self._collected_at >= _COLLECT_EVERY_SECONDS:
            self._collect()

    def _collect(self) -> None:
        gc.collect()
        self.comfy.management.soft_empty_cache()
        self._collected_at = time.monotonic()
