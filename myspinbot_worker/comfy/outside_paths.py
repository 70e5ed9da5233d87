"""Paths in a prompt that lead out of ComfyUI's folders.

Pure. ComfyUI's own nodes guard most of their folders, custom packs often do not; so a value that is a path out of
them is refused before it gets there. Texts are left alone: ``/imagine a cat`` is no path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .engine import Catalog, Prompt
from .input_specs import InputSpec, specs_of
from .problems import Problem, shown
from .prompt import link_of

_FILE_WORDS = frozenset(
    {"file", "files", "filename", "filenames", "filepath", "path", "paths", "dir", "dirs", "directory"}
    | {"folder", "folders", "foldername", "subfolder", "ckpt", "checkpoint"}
)
_PREFIX_WORDS = frozenset({"prefix", "suffix"})
_TEXT_WORDS = frozenset(
    {"prompt", "text", "texts", "caption", "description", "lyrics", "tags", "positive", "negative"}
)

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_DRIVE = re.compile(r"^[A-Za-z]:")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:/")
_HOME = re.compile(r"^~[A-Za-z0-9_-]*([/\\]|$)")
_SEPARATOR = re.compile(r"[/\\]")
_OTHER_FOLDER = re.compile(r"\[(input|output|temp)\]\s*$")
# Without blanks and with two folders or more, or from the home folder: no sentence looks like this.
_SURELY_A_PATH = re.compile(r"(/[\w.@+-]+){2,}/?|~/\S+|[A-Za-z]:[/\\]\S*|\\\\\S+|file:\S+")


def outside(value: str) -> str | None:
    """Why a value that names a file leads out of the folder it is looked up in, ``None`` if it does not."""
    if "\0" in value:
        return "a path with a control character"
    text = value.strip()
    if text.startswith(("/", "\\")):
        return "an absolute path"
    if _SCHEME.match(text):
        return "an address instead of a file's name"
    if _DRIVE.match(text):
        return "a path on a drive"
    if _HOME.match(text):
        return "a path from a home folder"
    if ".." in (part.strip() for part in _SEPARATOR.split(text)):
        return "a path with '..'"
    if _OTHER_FOLDER.search(text):
        return "a file of another folder of ComfyUI's"
    return None


def names_a_file(name: str, spec: InputSpec | None) -> bool:
    """Whether an input's value names a file or folder, by its declaration or by its name."""
    if spec is not None and spec.picks_a_file:
        return True
    if spec is not None and spec.type not in ("STRING", "COMBO", "*"):
        return False
    words = {word.lower() for word in _WORDS.findall(name)}
    if words & _FILE_WORDS:
        return True
    is_text = words & _TEXT_WORDS or (spec is not None and spec.is_long_text)
    return bool(words & _PREFIX_WORDS) and not is_text


def outside_paths(prompt: Prompt, catalog: Catalog | None = None) -> Iterator[Problem]:
    """Every value that leads out of ComfyUI's folders.

    Args:
        catalog: Tells which inputs name files; without it their names have to do.
    """
    for id_, node in prompt.items():
        name = node["class_type"]
        known = specs_of((catalog or {}).get(name, {}), node["inputs"])
        for input_, value in node["inputs"].items():
            for text in _texts(value) if link_of(value) is None else ():
                reason = _reason(input_, text, known)
                if reason is not None:
                    yield Problem(f"{shown(text)} is {reason}", id_, name, input_)


def _reason(input_: str, text: str, known: Mapping[str, InputSpec]) -> str | None:
    spec = known.get(input_)
    if names_a_file(input_, spec):
        return next(filter(None, map(outside, text.splitlines() or [""])), None)
    if spec is not None and (spec.is_long_text or spec.type != "STRING"):
        return None
    if {word.lower() for word in _WORDS.findall(input_)} & _TEXT_WORDS:
        return None
    stripped = text.strip()
    if _SURELY_A_PATH.fullmatch(stripped):
        return outside(stripped)
    if ".." in _SEPARATOR.split(stripped) and not re.search(r"\s", stripped):
        return outside(stripped)
    return None


def _texts(value: Any) -> Iterator[str]:
    """The texts in a literal value: itself, or what a list or object in it holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from _texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)
