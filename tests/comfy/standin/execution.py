"""Stand-in: runs a prompt's nodes, remembers their outputs, tells the server."""

from __future__ import annotations

import enum
import itertools
import json
import time
import traceback
from typing import Any

import nodes
from comfy import model_management
from prompt_queue import PromptQueue
from prompt_validation import validate_prompt

_never_again = itertools.count()

__all__ = ["CacheType", "PromptExecutor", "PromptQueue", "validate_prompt"]


class CacheType(enum.Enum):
    """How outputs are kept; here always as CLASSIC does: those of the prompt before."""

    CLASSIC = 0
    LRU = 1
    NONE = 2
    RAM_PRESSURE = 3


class PromptExecutor:
    """Runs one prompt at a time; the outputs of its nodes are kept until the next has no use for them."""

    def __init__(self, server: Any, cache_type: Any = False, cache_args: Any = None) -> None:
        self.server = server
        self.reset()

    def reset(self) -> None:
        self._kept: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._objects: dict[tuple[str, str], Any] = {}
        self.status_messages: list[tuple[str, dict[str, Any]]] = []
        self.history_result: dict[str, Any] = {}
        self.success = True

    def add_message(self, event: str, data: dict[str, Any], broadcast: bool) -> None:
        data = {**data, "timestamp": int(time.time() * 1000)}
        self.status_messages.append((event, data))
        if self.server.client_id is not None or broadcast:
            self.server.send_sync(event, data, self.server.client_id)

    def execute(
        self, prompt: dict[str, Any], prompt_id: str, extra_data: dict[str, Any], execute_outputs: list[str]
    ) -> None:
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        self.status_messages, self.success = [], True
        self.add_message("execution_start", {"prompt_id": prompt_id}, broadcast=False)
        order = _in_order(prompt, execute_outputs)
        keys: dict[str, str] = {}
        for node in order:
            _key(prompt, node, keys)
        self._kept = {key: value for key, value in self._kept.items() if key in set(keys.values())}
        cached = [node for node in order if keys[node] in self._kept]
        self.add_message("execution_cached", {"nodes": cached, "prompt_id": prompt_id}, broadcast=False)
        shown: dict[str, Any] = {}
        executed: list[str] = []
        for node in order:
            told = {"node": node, "display_node": node, "prompt_id": prompt_id}
            if keys[node] not in self._kept:
                self.server.last_node_id = node
                self.server.send_sync("executing", told, self.server.client_id)
                inputs = {
                    name: self._kept[keys[value[0]]][0][value[1]] if isinstance(value, list) else value
                    for name, value in prompt[node]["inputs"].items()
                }
                if not self._run(prompt, prompt_id, node, inputs, keys, executed):
                    break
                executed.append(node)
            ui = self._kept[keys[node]][1]
            if ui:
                shown[node] = ui
                self.server.send_sync("executed", {**told, "output": ui}, self.server.client_id)
        else:
            self.add_message("execution_success", {"prompt_id": prompt_id}, broadcast=False)
        self.history_result = {"outputs": shown, "meta": dict.fromkeys(shown, told)}
        self.server.last_node_id = None

    def _run(
        self, prompt: dict[str, Any], prompt_id: str, node: str,
        inputs: dict[str, Any], keys: dict[str, str], executed: list[str],
    ) -> bool:  # fmt: skip
        name = prompt[node]["class_type"]
        kind = nodes.NODE_CLASS_MAPPINGS[name]
        said: dict[str, Any] = {
            "prompt_id": prompt_id,
            "node_id": node,
            "node_type": name,
            "executed": executed,
        }
        try:
            model_management.throw_exception_if_processing_interrupted()
            made = self._objects.setdefault((node, name), kind())
            wanted = {one for group in ("required", "optional") for one in kind.INPUT_TYPES().get(group, {})}
            result = getattr(made, kind.FUNCTION)(**{k: v for k, v in inputs.items() if k in wanted})
        except model_management.InterruptProcessingException:
            self.success = False
            self.add_message("execution_interrupted", said, broadcast=True)
            return False
        except Exception as error:  # noqa: BLE001 - a node may raise anything
            kind_name = type(error).__qualname__
            if type(error).__module__ != "builtins":
                kind_name = f"{type(error).__module__}.{kind_name}"
            said |= {
                "exception_message": f"{error}\n",
                "exception_type": kind_name,
                "traceback": traceback.format_tb(error.__traceback__),
                "current_inputs": {name: [str(value)] for name, value in inputs.items()},
                "current_outputs": list(keys),
            }
            self.success = False
            self.add_message("execution_error", said, broadcast=False)
            return False
        ui = result.get("ui", {}) if isinstance(result, dict) else {}
        self._kept[keys[node]] = (result.get("result", ()) if isinstance(result, dict) else result, ui)
        return True


def _key(prompt: dict[str, Any], node: str, keys: dict[str, str]) -> str:
    """What a node's outputs are remembered by: its class and inputs, and those of all before it."""
    if node not in keys:
        entry = prompt[node]
        kind = nodes.NODE_CLASS_MAPPINGS[entry["class_type"]]
        inputs = {
            name: [_key(prompt, value[0], keys), value[1]] if isinstance(value, list) else value
            for name, value in sorted(entry["inputs"].items())
        }
        plain = {name: value for name, value in inputs.items() if not isinstance(value, list)}
        changed = kind.IS_CHANGED(**plain) if hasattr(kind, "IS_CHANGED") else None
        # Not a number is equal to nothing, itself included: never remembered.
        mark = changed if changed == changed else next(_never_again)
        keys[node] = json.dumps([entry["class_type"], inputs, mark], default=str)
    return keys[node]


def _in_order(prompt: dict[str, Any], outputs: list[str]) -> list[str]:
    """The outputs and all they need, each after what it needs."""
    order: dict[str, None] = {}

    def add(node: str) -> None:
        for value in prompt[node]["inputs"].values():
            if isinstance(value, list) and value[0] not in order:
                add(value[0])
        order[node] = None

    for output in outputs:
        add(output)
    return list(order)
