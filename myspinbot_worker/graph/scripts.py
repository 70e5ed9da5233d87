"""The scripts of ``lua/`` as Redis gets them.

A script may call others: a line ``-- Needs: claim, send`` at its head puts those before it, each as a local function
of its ``KEYS`` and ``ARGV``. So what happens in one step is still written one transition a file.
"""

from __future__ import annotations

import re
from pathlib import Path

_FOLDER = Path(__file__).parent / "lua"
_NEEDS = re.compile(r"^-- Needs: (.+)$", re.MULTILINE)


def sources() -> dict[str, str]:
    """The text of every script by its name."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in _FOLDER.glob("*.lua")}
    return {name: _with_needed(name, texts) for name in texts}


def _with_needed(name: str, texts: dict[str, str]) -> str:
    functions = [
        f"local function {needed}(KEYS, ARGV)\n{texts[needed]}\nend\n" for needed in _needed(name, texts)
    ]
    return "".join([*functions, texts[name]])


def _needed(name: str, texts: dict[str, str]) -> list[str]:
    """What a script needs, directly or not; what others need comes before them."""
    found: list[str] = []
    for names in _NEEDS.findall(texts[name]):
        for needed in names.split(", "):
            found += [*_needed(needed, texts), needed]
    return list(dict.fromkeys(found))
