"""Stand-in: a prompt looked at before it runs, with errors in the shape of ComfyUI's."""

from __future__ import annotations

import inspect
from typing import Any

import nodes

_KINDS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
Error = dict[str, Any]


def _error(kind: str, message: str, details: str, **extra: Any) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


async def validate_prompt(
    prompt_id: str, prompt: dict[str, Any], partial_execution_list: list[str] | None
) -> tuple[bool, Error | None, list[str], dict[str, Any]]:
    """Whether it can run, why not, which output nodes can, and what is wrong with which node."""
    outputs = []
    for node, entry in prompt.items():
        name = entry.get("class_type")
        kind = nodes.NODE_CLASS_MAPPINGS.get(name)
        if kind is None:
            message = f"Node {name!r} is not there"
            extra = {"node_id": node, "class_type": name, "node_title": name}
            return False, _error("missing_node_type", message, f"Node ID '#{node}'", **extra), [], {}
        if getattr(kind, "OUTPUT_NODE", False):
            outputs.append(node)
    if not outputs:
        return False, _error("prompt_no_outputs", "Prompt has no outputs", ""), [], {}
    good: list[str] = []
    found: dict[str, Any] = {}
    for output in outputs:
        seen: dict[str, list[Error]] = {}
        _look(prompt, output, seen)
        if not any(seen.values()):
            good.append(output)
        for node, errors in seen.items():
            if errors:
                entry = {"errors": errors, "dependent_outputs": [], "class_type": prompt[node]["class_type"]}
                found.setdefault(node, entry)["dependent_outputs"].append(output)
    if good:
        return True, None, good, found
    lines = "\n".join(f"* {node}: {item['message']}" for node, one in found.items() for item in one["errors"])
    failed = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", lines)
    return False, failed, [], found


def _look(prompt: dict[str, Any], node: str, seen: dict[str, list[Error]]) -> None:
    if node in seen:
        return
    errors = seen[node] = []
    inputs = prompt[node]["inputs"]
    kind = nodes.NODE_CLASS_MAPPINGS[prompt[node]["class_type"]]
    check = getattr(kind, "VALIDATE_INPUTS", None)
    own = set(inspect.signature(check).parameters) if check else set()
    for group, wanted in kind.INPUT_TYPES().items():
        for name, (type_name, *rest) in wanted.items() if group in ("required", "optional") else ():
            if name not in inputs:
                if group == "required":
                    text = "Required input is missing"
                    errors.append(_error("required_input_missing", text, name, input_name=name))
            elif isinstance(inputs[name], list):
                source, slot = inputs[name]
                given = nodes.NODE_CLASS_MAPPINGS[prompt[source]["class_type"]].RETURN_TYPES[slot]
                if given != type_name and "*" not in (given, type_name):
                    text = "Return type mismatch between linked nodes"
                    details = f"{name}, received_type({given}) mismatch input_type({type_name})"
                    errors.append(_error("return_type_mismatch", text, details, input_name=name))
                else:
                    _look(prompt, source, seen)
            elif (error := _value(inputs, name, type_name, rest[0] if rest else {}, own)) is not None:
                errors.append(error)
    if check and not errors:
        said = check(**{name: inputs.get(name) for name in own})
        if said is not True:
            name = sorted(own)[0]
            text = "Custom validation failed for node"
            errors.append(_error("custom_validation_failed", text, f"{name} - {said}", input_name=name))


def _value(
    inputs: dict[str, Any], name: str, kind: Any, limits: dict[str, Any], own: set[str]
) -> Error | None:
    value = inputs[name]
    if kind in _KINDS if isinstance(kind, str) else False:
        try:
            value = inputs[name] = _KINDS[kind](value)
        except (TypeError, ValueError) as error:
            message = f"Failed to convert an input value to a {kind} value"
            return _error("invalid_input_type", message, f"{name}, {value}, {error}", input_name=name)
    if name in own:
        return None
    if "min" in limits and value < limits["min"]:
        message = f"Value {value} smaller than min of {limits['min']}"
        return _error("value_smaller_than_min", message, name, input_name=name)
    if "max" in limits and value > limits["max"]:
        message = f"Value {value} bigger than max of {limits['max']}"
        return _error("value_bigger_than_max", message, name, input_name=name)
    if isinstance(kind, list) and value not in kind:
        details = f"{name}: {value!r} not in {kind}"
        return _error("value_not_in_list", "Value not in list", details, input_name=name)
    return None
