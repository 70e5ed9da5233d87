"""Keeps what packs would load again for every run: results of named functions, by their arguments.

A pack that reads its model in every run keeps the device waiting. A name is ``<file>:<function>``, the file as it lies
in a folder of packs (``ComfyUI-F5-TTS/F5TTS.py:F5TTSNode.load_model``).
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

log = logging.getLogger(__name__)


class Warm:
    """What is kept, and how often each function really ran."""

    def __init__(self) -> None:
        self.loads: dict[str, int] = {}
        self._kept: dict[tuple[str, str], Any] = {}

    def keep(self, names: Iterable[str]) -> list[str]:
        """Wrap the named functions; those that were not found."""
        missing = []
        for name in names:
            if not self._wrap(name):
                missing.append(name)
        return missing

    def free(self) -> None:
        """Let go of everything."""
        self._kept.clear()

    def _wrap(self, name: str) -> bool:
        file, _, path = name.partition(":")
        owner = _module(file)
        *parents, last = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        function = vars(owner).get(last) if owner is not None else None
        if function is None:
            return False
        bound = isinstance(function, staticmethod | classmethod)
        inner: Callable[..., Any] = function.__func__ if bound else function
        # A method's first argument is a node object, or its class: the same work whoever asks.
        skip = 1 if parents and not isinstance(function, staticmethod) else 0
        kept = self._keeping(name, inner, skip)
        setattr(owner, last, type(function)(kept) if bound else kept)
        self.loads[name] = 0
        return True

    def _keeping(self, name: str, inner: Callable[..., Any], skip: int) -> Callable[..., Any]:
        @functools.wraps(inner)
        def call(*args: Any, **kwargs: Any) -> Any:
            key = (name, repr((args[skip:], sorted(kwargs.items()))))
            if key not in self._kept:
                self.loads[name] += 1
                self._kept[key] = inner(*args, **kwargs)
            return self._kept[key]

        return call


def _module(file: str) -> Any:
    for module in list(sys.modules.values()):
        found = getattr(module, "__file__", None)
        if isinstance(found, str) and found.endswith("/" + file):
            return module
    return None
