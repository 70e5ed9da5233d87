"""Prompts for tests, and what is wrong with bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from myspinbot_worker.comfy.engine import InvalidPrompt


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def scaled(**changes: Any) -> dict[str, dict[str, Any]]:
    """LoadImage → ImageScale → SaveImage; inputs of the middle one can be changed."""
    middle = {"image": ["1", 0], "upscale_method": "area", "width": 64, "height": 64, "crop": "disabled"}
    return {
        "1": node("LoadImage", image="example.png"),
        "2": node("ImageScale", **{**middle, **changes}),
        "3": node("SaveImage", images=["2", 0], filename_prefix="out"),
    }


def refused(action: Callable[[], Any]) -> list[dict[str, Any]]:
    """The problems with which something is refused; they are in the message, and are JSON."""
    with pytest.raises(InvalidPrompt) as caught:
        action()
    problems: list[dict[str, Any]] = caught.value.details["problems"]
    assert caught.value.code == "bad_workflow"
    assert problems
    assert problems[0]["problem"] in caught.value.message
    assert "\n" not in caught.value.message
    json.dumps(problems, allow_nan=False).encode()
    for problem in problems:
        assert set(problem) == {"node", "class", "input", "problem"}
    return problems


def one_refused(action: Callable[[], Any]) -> dict[str, Any]:
    (problem,) = refused(action)
    return problem
