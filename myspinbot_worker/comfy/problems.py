"""What is wrong with a workflow: a list of findings that name node and input, and the error made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .engine import InvalidPrompt

MOST_TOLD = 100
"""Problems of one workflow that are told."""

_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        problem: What, in plain words.
        node: Id of the node; empty when it is not about one.
        class_name: The node's class; empty when it has none.
        input: Name of the input; empty when it is not about one. Of a binding: the path of the key.
    """

    problem: str
    node: str = ""
    class_name: str = ""
    input: str = ""

    def record(self) -> dict[str, Any]:
        """As ``InvalidPrompt.details`` holds it; what does not apply is ``None``."""
        return {
            "node": short(self.node) or None,
            "class": short(self.class_name) or None,
            "input": short(self.input) or None,
            "problem": self.problem,
        }

    def __str__(self) -> str:
        where = f"node {short(self.node)}" if self.node else ""
        if where and self.class_name:
            where += f" ({short(self.class_name)})"
        parts = [where, f"input {short(self.input)!r}" if self.node and self.input else short(self.input)]
        where = ", ".join(part for part in parts if part)
        return f"{where}: {self.problem}" if where else self.problem


def short(text: str) -> str:
    """``text`` on one line and not too long: it comes from outside."""
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return "".join(character if character.isprintable() else "�" for character in text)


def shown(value: Any) -> str:
    """A value for a message."""
    return short(repr(value)) if isinstance(value, str | int | float | bool | None) else type(value).__name__


def invalid(what: str, problems: Sequence[Problem]) -> InvalidPrompt:
    """The error for a workflow with these problems (one or more)."""
    told = list(problems[:MOST_TOLD])
    if len(problems) > MOST_TOLD:
        told.append(Problem(f"{len(problems) - MOST_TOLD} more problems, which are not told"))
    first = str(told[0])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return InvalidPrompt(
        f"{what}: {first}{more}", details={"problems": [problem.record() for problem in told]}
    )


def refuse(what: str, problems: Iterable[Problem]) -> None:
    """Do nothing if there is no problem.

    Raises:
        InvalidPrompt: There are some.
    """
    if found := list(problems):
        raise invalid(what, found)
