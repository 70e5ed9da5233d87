"""A prompt made ready for one run: files by the names ComfyUI knows them by, output names of this run only. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from .engine import InputFile, Prompt

PREFIX_INPUTS = frozenset({"filename_prefix"})
"""Inputs that name what a saver writes."""

RUN_INPUT = "myspinbot_run"
"""An input that no class has: ComfyUI passes it on to nobody, but it is part of what a node is remembered by."""


def staged(
    prompt: Prompt, run: str, place: Callable[[Path], str], outputs: Container[str] = ()
) -> dict[str, dict[str, Any]]:
    """A copy of ``prompt`` for one run.

    Args:
        run: Unlike that of any other run; becomes the first folder of every output's name, so that a saver is never
            answered from the cache with an older run's file.
        place: Puts a file where ComfyUI finds it and returns its name there; called once a file.
        outputs: Classes of output nodes; one whose files cannot be named (a preview) runs again in every run.
    """
    names: dict[Path, str] = {}

    def value_of(name: str, value: Any) -> Any:
        if isinstance(value, InputFile):
            if value.path not in names:
                names[value.path] = place(value.path)
            return names[value.path]
        if name in PREFIX_INPUTS and isinstance(value, str):
            return f"{run}/{value}"
        return value

    def inputs_of(entry: Mapping[str, Any]) -> dict[str, Any]:
        given = entry.get("inputs", {})
        made = {name: value_of(name, value) for name, value in given.items()}
        named = any(isinstance(given.get(name), str) for name in PREFIX_INPUTS)
        return made | {RUN_INPUT: run} if entry.get("class_type") in outputs and not named else made

    return {node: {**entry, "inputs": inputs_of(entry)} for node, entry in prompt.items()}
