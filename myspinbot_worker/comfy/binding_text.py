"""YAML as bindings are written in: plain, without the traps of YAML 1.1.

``9:1`` is a node of a subgraph and not 541, ``no`` is a text, a key that stands twice is an error, and nothing in a
file makes objects or refers to another part of it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

MAX_BYTES = 1024 * 1024
"""Largest binding that is read."""


class _Loader(yaml.SafeLoader):
    """Safe, and with fewer surprises."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "a reference (*name) is not taken", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str | int | float | bool):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands here twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


_PLAIN = {
    "tag:yaml.org,2002:null": (r"~|null|", ["~", "n", ""]),
    "tag:yaml.org,2002:bool": (r"true|false", ["t", "f"]),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "tag:yaml.org,2002:float": (
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        list("-+.0123456789"),
    ),
}
_Loader.yaml_implicit_resolvers = {}
for _tag, (_shape, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_shape})$"), _first)


def _whole_number(loader: _Loader, node: Any) -> int:
    return int(loader.construct_scalar(node))


def _number(loader: _Loader, node: Any) -> float:
    value = float(loader.construct_scalar(node))
    if not math.isfinite(value):
        raise yaml.constructor.ConstructorError(None, None, "a number must be finite", node.start_mark)
    return value


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def read_yaml(data: bytes | str) -> Any:
    """A document.

    Raises:
        ValueError: It is too large, not text, not YAML or holds what bindings have no use for; the message says where.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        # The loader is a SafeLoader with fewer types.
        return yaml.load(text, Loader=_Loader)  # nosec B506
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start}: expected UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ValueError(f"not YAML: {where}{error.problem or 'malformed'}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {str(error).splitlines()[0]}") from None
    except (RecursionError, ValueError) as error:
        raise ValueError(
            f"not YAML: {'nested too deeply' if isinstance(error, RecursionError) else error}"
        ) from None
