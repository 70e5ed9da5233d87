"""What a check of ``doctor`` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at; stable, for programs.
        level: ``ok``; ``warning``: the farm works, or will once this is wanted; ``error``: it will not work.
        text: What was found.
        advice: What to do about it; empty when nothing needs doing.
    """

    name: str
    level: Level
    text: str
    advice: str = ""


Check = Callable[[], Finding]


def ok(name: str, text: str) -> Finding:
    return Finding(name, "ok", text)


def warning(name: str, text: str, advice: str) -> Finding:
    return Finding(name, "warning", text, advice)


def error(name: str, text: str, advice: str) -> Finding:
    return Finding(name, "error", text, advice)
