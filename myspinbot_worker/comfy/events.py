"""What ComfyUI's events mean: both engines hear the same ones, over a socket pair or a WebSocket.

Pure: events go in, an observer is told, a result or an error comes out. Everything an event holds is somebody else's
data, so nothing is taken over unread: ``current_inputs`` never, and texts only up to a length.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import FarmError, OutOfMemory
from .engine import InvalidPrompt, NodeFailed, Observer, OutputFile, Prompt, RunResult

Status = Literal["running", "success", "error", "interrupted"]

_LONGEST_TEXT = 2000
_TRACEBACK_LINES = 20
_NODE_ID = re.compile(r"Node ID '#(.+)'")


@dataclass(frozen=True, slots=True)
class ReportedFile:
    """A file as an output node's ``ui`` names it.

    Attributes:
        place: Which of ComfyUI's folders it is in: ``output``, ``temp`` or ``input``.
    """

    node: str
    kind: str
    name: str
    subfolder: str
    place: str


class Trail:
    """Follows one prompt through its events.

    Args:
        prompt: What runs; nodes that ComfyUI makes itself while it runs count as the node that made them.
    """

    def __init__(
        self, prompt: Prompt, observer: Observer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._prompt = prompt
        self._observer = observer
        self._clock = clock
        self._node: str | None = None
        self._since = 0.0
        self.status: Status = "running"
        self.error: Mapping[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.nodes_cached: tuple[str, ...] = ()
        self.ui: dict[str, Mapping[str, Any]] = {}

    def take(self, event: str, data: Mapping[str, Any]) -> None:
        """One event of this prompt; those the farm has no use for are passed over."""
        match event:
            case "execution_cached":
                nodes = data.get("nodes")
                self.nodes_cached = tuple(
                    str(node)
                    for node in (nodes if isinstance(nodes, list | tuple) else ())
                    if str(node) in self._prompt
                )
                self._observer.cached(self.nodes_cached)
            case "executing":
                self._enter(self._own(data))
            case "progress":
                self._progress(self._own(data), data.get("value"), data.get("max"))
            case "progress_state":
                self._progress_state(data.get("nodes"))
            case "executed":
                node, output = self._own(data), data.get("output")
                if node is not None and isinstance(output, Mapping):
                    self.ui[node] = output
            case "execution_success":
                self._end("success")
            case "execution_interrupted":
                self._end("interrupted")
            case "execution_error":
                self.error = data
                self._end("error")

    def _own(self, data: Mapping[str, Any]) -> str | None:
        for key in ("display_node", "node"):
            node = data.get(key)
            if node is not None and str(node) in self._prompt:
                return str(node)
        return None

    def _enter(self, node: str | None) -> None:
        if node == self._node:
            return
        now = self._clock()
        if self._node is not None:
            self.seconds[self._node] = self.seconds.get(self._node, 0.0) + now - self._since
            self._observer.finished(self._node)
        self._node, self._since = node, now
        if node is not None:
            self._observer.started(node)

    def _progress(self, node: str | None, value: Any, most: Any) -> None:
        node = node or self._node
        if node is not None and _is_number(value) and _is_number(most) and most > 0:
            self._observer.progressed(node, float(value), float(most))

    def _progress_state(self, nodes: Any) -> None:
        if not isinstance(nodes, Mapping):
            return
        for state in nodes.values():
            if isinstance(state, Mapping) and state.get("state") == "running":
                shown = {"display_node": state.get("display_node_id"), "node": state.get("node_id")}
                self._progress(self._own(shown), state.get("value"), state.get("max"))

    def _end(self, status: Status) -> None:
        self._enter(None)
        self.status = status

    def result(self, files: tuple[OutputFile, ...]) -> RunResult:
        """What the prompt came to, its files now in the attempt's folder."""
        return RunResult(files, dict(self.seconds), self.nodes_cached, dict(self.ui))


def reported_files(outputs: Mapping[str, Any]) -> Iterator[ReportedFile]:
    """The files in a history's ``outputs`` (node id → ``ui``), in their order."""
    for node, ui in outputs.items():
        for kind, items in ui.items() if isinstance(ui, Mapping) else ():
            for item in items if isinstance(items, list | tuple) else ():
                if isinstance(item, Mapping) and isinstance(item.get("filename"), str):
                    yield ReportedFile(
                        str(node),
                        str(kind),
                        item["filename"],
                        str(item.get("subfolder") or ""),
                        str(item.get("type") or "output"),
                    )


def failure(error: Mapping[str, Any]) -> FarmError:
    """The farm's error for an ``execution_error``."""
    kind, message = _text(error.get("exception_type")), _text(error.get("exception_message")).strip()
    node, name = _text(error.get("node_id")), _text(error.get("node_type"))
    lines = error.get("traceback")
    details = {
        "node": node,
        "class": name,
        "exception": kind,
        "traceback": [_text(line) for line in lines[-_TRACEBACK_LINES:]] if isinstance(lines, list) else [],
    }
    where = f"node {node!r} ({name})" if node else "the prompt"
    if "OutOfMemory" in kind:
        first = message.partition("\n")[0] or kind
        return OutOfMemory(f"{where} ran out of memory: {first}", details=details)
    return NodeFailed(f"{where} failed: {kind or 'error'}: {message}", details=details)


def refusal(prompt: Prompt, error: Any, node_errors: Any) -> InvalidPrompt:
    """The farm's error for a prompt that ComfyUI's own validation refuses."""
    problems: list[dict[str, Any]] = []
    for node, found in node_errors.items() if isinstance(node_errors, Mapping) else ():
        errors = found.get("errors") if isinstance(found, Mapping) else None
        for item in errors if isinstance(errors, list) else ():
            if not isinstance(item, Mapping):
                continue
            extra = item.get("extra_info") or {}
            problems.append(
                {
                    "node": str(node),
                    "class": _text(found.get("class_type")),
                    "input": _text(extra.get("input_name")) if isinstance(extra, Mapping) else "",
                    "problem": ": ".join(
                        filter(None, (_text(item.get("message")), _text(item.get("details"))))
                    ),
                }
            )
    if not problems and isinstance(error, Mapping):
        extra = error.get("extra_info")
        node = _text(extra.get("node_id")) if isinstance(extra, Mapping) else ""
        # Until 2026 only the text said which node it is.
        if not node and (found := _NODE_ID.search(_text(error.get("details")))):
            node = found[1]
        name = prompt[node].get("class_type", "") if node in prompt else ""
        said = ": ".join(filter(None, (_text(error.get("message")), _text(error.get("details")))))
        problems.append({"node": node, "class": str(name), "input": "", "problem": said})
    if not problems:
        problems.append({"node": "", "class": "", "input": "", "problem": _text(error) or "refused"})
    return InvalidPrompt("; ".join(map(_told, problems[:5])), details={"problems": problems[:50]})


def _told(problem: Mapping[str, Any]) -> str:
    where = " ".join(
        filter(
            None,
            (
                f"node {problem['node']!r} ({problem['class']})" if problem["node"] else "",
                f"input {problem['input']!r}" if problem["input"] else "",
            ),
        )
    )
    return f"{where}: {problem['problem']}" if where else str(problem["problem"])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:_LONGEST_TEXT]
