"""Which errors are the same error: a code and a message without what differs from case to case. Pure."""

from __future__ import annotations

import hashlib
import re

LENGTH = 8
"""Hex digits of a fingerprint: few enough to type, and enough for the errors one farm can have."""

_MOST = 300
"""How much of a message counts: the end of a long one is what somebody's document said."""

_REPLACEMENTS = (
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"]+"), "<url>"),
    (re.compile(r"'(?:[^'\\]|\\.)*'(?!\w)|\"(?:[^\"\\]|\\.)*\"(?!\w)"), "<name>"),
    (re.compile(r"(?<![\w<])(?:[\w.@-]+)?(?:/[\w.@:+-]+)+/?"), "<path>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*[0-9])(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{6,}\b"), "<id>"),
    (re.compile(r"[-+]?\d+(?:[.,:]\d+)*(?:[eE][-+]?\d+)?"), "<n>"),
)


def normalise(message: str) -> str:
    """The message with numbers, ids, quoted names, paths and addresses replaced by what they are."""
    text = " ".join(message[: 4 * _MOST].split())
    for pattern, word in _REPLACEMENTS:
        text = pattern.sub(word, text)
    return text[:_MOST]


def fingerprint(code: str, message: str) -> str:
    """A short name of an error; the same for every case of it, on every machine."""
    told = f"{code}\n{normalise(message)}".encode(errors="replace")
    return hashlib.sha256(told).hexdigest()[:LENGTH]
