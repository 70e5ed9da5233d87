"""Does this ComfyUI still work as the farm expects? Asked at every boot, answered in one line a finding.

In twelve months 39 commits touched ComfyUI's executor. What changed should be told at start, not by the first job.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .boot import Comfy

SOURCE, SINK = "MySpinBotCanarySource", "MySpinBotCanarySink"

CANARY = {
    "source": {"class_type": SOURCE, "inputs": {"value": 20}},
    "sink": {"class_type": SINK, "inputs": {"value": ["source", 0]}},
}
"""A tiny graph: two nodes that compute on the device."""

_EVENTS = {
    "execution_start": {"prompt_id"},
    "execution_cached": {"prompt_id", "nodes"},
    "executing": {"prompt_id", "node"},
    "executed": {"prompt_id", "node", "output"},
    "execution_success": {"prompt_id"},
}
_SERVER_ATTRIBUTES = ("client_id", "last_node_id", "last_prompt_id", "sockets_metadata", "prompt_queue")


class Source:
    """Makes a number."""

    CATEGORY = "farm"
    RETURN_TYPES = ("INT",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("INT", {"default": 0})}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:
        return float("nan")  # equal to nothing: never from the cache

    def run(self, value: int) -> tuple[int]:
        return (value + 1,)


class Sink:
    """Doubles a number on the device."""

    CATEGORY = "farm"
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("INT", {"default": 0})}}

    def run(self, value: int) -> dict[str, Any]:
        import sys

        torch = sys.modules.get("torch")
        if torch is None:
            return {"ui": {"value": [value * 2]}}
        device = sys.modules["comfy.model_management"].get_torch_device()
        return {"ui": {"value": [int((torch.full((8,), value, device=device) * 2).sum().item()) // 8]}}


class _StrictServer:
    """Stands in for the server and notes what it is asked for that the farm does not know of."""

    def __init__(self) -> None:
        self.client_id = self.last_node_id = self.last_prompt_id = self.prompt_queue = None
        self.sockets_metadata: dict[str, Any] = {}
        self.events: list[tuple[Any, Any]] = []
        self.unknown: set[str] = set()

    def send_sync(self, event: Any, data: Any, sid: Any = None) -> None:
        self.events.append((event, data))

    def __getattr__(self, name: str) -> Any:
        self.unknown.add(name)
        raise AttributeError(f"the farm's server has no {name!r}")


def install(comfy: Comfy) -> None:
    """Add the canary's two node classes."""
    comfy.nodes.NODE_CLASS_MAPPINGS.update({SOURCE: Source, SINK: Sink})


def findings(comfy: Comfy) -> list[str]:
    """What does not fit, a line each; nothing is fine."""
    found = [
        f"the server has no {name!r} any more"
        for name in _SERVER_ATTRIBUTES
        if name != "last_prompt_id" and not hasattr(comfy.server, name)
    ]
    strict = _StrictServer()
    try:
        executor = comfy.new_executor(strict)
        answer = asyncio.run(comfy.execution.validate_prompt("canary", CANARY, None))
        valid, error, outputs, node_errors = answer
        if not valid or node_errors:
            return [*found, f"a tiny graph is refused: {error or node_errors}"]
        executor.execute(CANARY, "canary", {"client_id": "farm"}, outputs)
        made = executor.history_result["outputs"]
        if not executor.success or made.get("sink", {}).get("value") != [42]:
            found.append(f"a tiny graph came to {made!r}")
    except Exception as error:  # noqa: BLE001 - whatever a changed executor raises is what is looked for
        # The events that did not come then are no finding of their own.
        wanted = [f"the executor wants server.{name}" for name in sorted(strict.unknown)]
        return [*found, f"a tiny graph fails: {type(error).__name__}: {error}", *wanted]
    found += [f"the executor wants server.{name}" for name in sorted(strict.unknown)]
    sent = {name: data for name, data in strict.events if isinstance(name, str)}
    for name, keys in _EVENTS.items():
        if name not in sent:
            found.append(f"no event {name!r} was sent")
        elif missing := keys - set(sent[name]):
            found.append(f"event {name!r} lacks {', '.join(sorted(missing))}")
    return found
