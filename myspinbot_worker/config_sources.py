"""Where settings come from: two JSON files, the environment, the command line.

Nothing here knows what a setting means. Each reader gives raw values by dotted key, with their origin, and
adds what it cannot make sense of to a list of problems, so that an operator sees all of them at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

BRIDGE_FILE = "redis.bridge.json"
CONFIG_FILE = "config.json"
ENV_PREFIX = "FARM_"
COMMAND_LINE = "command line"

_MOST_TOLD = 50
"""Unknown keys of one file that are told, each with a suggestion, which takes a millisecond."""

_LONGEST_NAME = 120


@dataclass(frozen=True)
class Source:
    """Mark on a setting's type: where its value may come from.

    Args:
        env: The environment variable; default: ``FARM_`` and the dotted key in upper case, without the
            group's name for the group ``farm``.
        bridge: Dotted key in ``redis.bridge.json``; None: not there.
        config: Dotted key in ``config.json``; None: not there.
        secret: The value must never be shown, not even when it is malformed.
    """

    env: str | None = None
    bridge: str | None = None
    config: str | None = None
    secret: bool = False

    def env_name(self, key: str) -> str:
        """The variable that sets the setting ``key``."""
        return self.env or ENV_PREFIX + key.removeprefix("farm.").replace(".", "_").upper()


class Given(NamedTuple):
    """One raw value that somebody gave."""

    raw: Any
    origin: str
    """For people and ``Settings.origins``: ``env REDIS_URL``, ``config.json``, ``command line``."""
    place: str
    """Origin with all that helps to find the value: the file's path and the key in it."""
    typed: bool
    """From a JSON file: a number must be a number there, not a text that reads like one."""


Place = tuple[str, ...]


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean …?)``, or nothing when no known name is close."""
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def printable(name: str) -> str:
    """``name`` as it is when it is a plain word, else quoted and escaped for a terminal; a long one cut."""
    if len(name) > _LONGEST_NAME:
        name = name[:_LONGEST_NAME] + "…"
    return name if name.isprintable() and name.strip() else repr(name)


def read_file(path: Path, problems: list[str]) -> dict[str, Any]:
    """The JSON object in ``path``; empty when there is no such file or it cannot be used."""
    try:
        # Windows editors put a byte order mark in front.
        text = path.read_text(encoding="utf-8-sig")
        document = json.loads(text, parse_constant=_refuse_constant)
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        problems.append(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: byte {error.start}: expected UTF-8")
    except RecursionError:
        problems.append(f"{path}: nested too deeply")
    except (OSError, ValueError) as error:
        problems.append(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")
    else:
        if isinstance(document, dict):
            return document
        problems.append(f"{path}: expected a JSON object")
    return {}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def from_file(
    document: Mapping[str, Any],
    path: Path,
    keys: Mapping[str, str],
    elsewhere: Mapping[str, str],
    problems: list[str],
) -> dict[str, Given]:
    """Values of one file.

    Args:
        document: The file's content.
        path: The file, for messages; its name is the origin.
        keys: Dotted key in the file → dotted key of the setting.
        elsewhere: Dotted key in the other file → the other file's name.
        problems: Where unknown keys go.
    """
    known = {tuple(key.split(".")): setting for key, setting in keys.items()}
    groups = {key[:depth] for key in known for depth in range(1, len(key))}
    found: dict[str, Given] = {}
    before = len(problems)
    for at, value in _leaves(document, (), known, groups):
        if len(problems) - before == _MOST_TOLD:
            problems.append(f"{path}: more unknown keys, which are not told")
            break
        name = ".".join(map(printable, at))
        if at in known:
            found[known[at]] = Given(value, path.name, f"{path}: {name}", typed=True)
        elif at in groups:
            problems.append(f"{path}: {name}: expected an object")
        elif name in elsewhere:
            problems.append(f"{path}: unknown key {name} (it belongs in {elsewhere[name]})")
        else:
            near = {".".join(key[: len(at)]) for key in known if key[: len(at) - 1] == at[:-1]}
            problems.append(f"{path}: unknown key {name}{suggestion(name, sorted(near) + list(keys))}")
    return found


def _leaves(
    value: Mapping[str, Any], at: Place, known: Mapping[Place, str], groups: set[Place]
) -> Iterator[tuple[Place, Any]]:
    """Every key that is not a well-formed group, with its place."""
    for name, inner in value.items():
        below = (*at, name)
        if below in groups and isinstance(inner, dict):
            yield from _leaves(inner, below, known, groups)
        else:
            yield below, inner


def from_environment(
    environ: Mapping[str, str], variables: Mapping[str, str], problems: list[str]
) -> dict[str, Given]:
    """Values of the environment.

    An empty variable counts as not set: compose files pass ``${NAME:-}`` on for what the operator left out.

    Args:
        environ: The environment.
        variables: Variable → dotted key of the setting.
        problems: Where unknown ``FARM_*`` variables go.
    """
    found: dict[str, Given] = {}
    for name, value in environ.items():
        if name in variables:
            if value:
                found[variables[name]] = Given(value, f"env {name}", f"env {name}", typed=False)
        elif name.startswith(ENV_PREFIX):
            near = suggestion(name, [known for known in variables if known.startswith(ENV_PREFIX)])
            problems.append(f"env {printable(name)}: unknown variable{near}")
    return found


def from_overrides(
    overrides: Mapping[str, Any], keys: Iterable[str], problems: list[str]
) -> dict[str, Given]:
    """Values of the command line, by dotted key; None counts as not given."""
    known = set(keys)
    found: dict[str, Given] = {}
    for key, value in overrides.items():
        if key not in known:
            problems.append(f"{COMMAND_LINE}: unknown key {printable(key)}{suggestion(key, sorted(known))}")
        elif value is not None:
            found[key] = Given(value, COMMAND_LINE, COMMAND_LINE, typed=False)
    return found
