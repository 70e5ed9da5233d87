"""The scripts of ``lua/``, ready to be called. Keys and arguments are named at the head of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import redis

_FOLDER = Path(__file__).parent / "lua"


class Scripts:
    """Calls scripts by their name.

    Args:
        client: Must not decode responses: letters may hold bytes that are no text.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._scripts: dict[str, Any] = {
            path.stem: client.register_script(path.read_text(encoding="utf-8"))
            for path in _FOLDER.glob("*.lua")
        }

    def __call__(self, name: str, keys: Sequence[str], *args: str | int | bytes) -> Any:
        return self._scripts[name](keys=keys, args=list(args))


def text(value: bytes | str) -> str:
    """What others wrote, readable whatever it is."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def texts(values: Iterable[bytes | str]) -> list[str]:
    return [text(value) for value in values]
