"""A ``langgraph.v1`` document, kept as it came and patched only where a run changed it.

The control plane compares what it gets back with what it sent, so nothing may be normalised on the way: an
absent key stays absent, ``1.0`` stays ``1.0``, a long number keeps its digits. The document is therefore
never rebuilt from parsed values. Parsing remembers the *text* of every node field; rendering splices new
text into the nodes that changed and copies everything else byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .scanner import MAX_DEPTH, DocumentError, Scanner, nested_deeper


@dataclass(frozen=True, slots=True)
class Node:
    """One node: the decoded fields the farm acts on, and the JSON text of every field.

    Attributes:
        index: Position in the document's ``nodes`` array.
        start, end: Where the node's object stands in the document's text.
        raw: Field name to the JSON text of its value, in document order.
    """

    index: int
    start: int
    end: int
    raw: Mapping[str, str]
    id: str
    service: str
    plane: str
    status: str
    progress_weight: float | None
    attempt: int
    max_attempts: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """A dependency between two nodes, by their indexes; ``kind`` is one of the contract's three."""

    source: int
    target: int
    kind: str


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed graph document.

    Attributes:
        text: The document exactly as it came.
        workflow_id: The job's id.
        nodes: In document order.
        edges: In document order.
    """

    text: str = field(repr=False)
    workflow_id: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def parse(cls, text: str, validate: Callable[[Any], None] | None = None) -> Document:
        """Parse ``text``.

        Args:
            text: The JSON text of a graph.
            validate: Called with the decoded document before it is used; raises to refuse it. Without it
                the document must be known to fit the schema (it was admitted earlier).

        Raises:
            DocumentError: Not JSON, a number that is not finite, a duplicate node id, or an edge to a
                node that does not exist.
        """
        value, spans = _decode(text)
        if validate is not None:
            validate(value)
        nodes = tuple(
            _node(index, span, decoded)
            for index, (span, decoded) in enumerate(zip(spans, value["nodes"], strict=True))
        )
        index_of: dict[str, int] = {}
        for node in nodes:
            for name, said in (("id", node.id), ("service", node.service)):
                if not _is_utf8(said):
                    raise DocumentError(f"nodes[{node.index}].{name} holds half a character and is no text")
            if node.id in index_of:
                raise DocumentError(f"nodes[{node.index}].id {node.id!r} is already the id of another node")
            index_of[node.id] = node.index
        edges = []
        for position, edge in enumerate(value["edges"]):
            for end in ("from", "to"):
                if edge[end] not in index_of:
                    raise DocumentError(f"edges[{position}].{end} names {edge[end]!r}, which is no node")
            edges.append(Edge(index_of[edge["from"]], index_of[edge["to"]], edge.get("kind", "normal")))
        return cls(text, value["workflowId"], nodes, tuple(edges))

    def render(self, changes: Mapping[int, Mapping[str, str]]) -> str:
        """The document with some node fields replaced or added.

        Args:
            changes: Node index to {field name: JSON text of the new value}.
        """
        pieces = []
        copied = 0
        for index in sorted(changes):
            node = self.nodes[index]
            members = {**node.raw, **changes[index]}
            body = ",".join(f"{json.dumps(name)}:{raw}" for name, raw in members.items())
            pieces += [self.text[copied : node.start], "{", body, "}"]
            copied = node.end
        pieces.append(self.text[copied:])
        return "".join(pieces)


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    raw: dict[str, str]


def _is_utf8(text: str) -> bool:
    """Whether ``text`` can be sent on; JSON can spell a lone surrogate, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _node(index: int, span: _Span, decoded: Mapping[str, Any]) -> Node:
    retries = decoded.get("retries") or {}
    return Node(
        index=index,
        start=span.start,
        end=span.end,
        raw=span.raw,
        id=decoded["id"],
        service=decoded["service"],
        plane=decoded["plane"],
        status=decoded["status"],
        progress_weight=decoded.get("progressWeight"),
        attempt=retries.get("attempt", 0),
        max_attempts=retries.get("maxAttempts"),
    )


def _decode(text: str) -> tuple[Any, list[_Span]]:
    """The decoded document, and the text spans of the objects in its ``nodes`` array."""
    scanner = Scanner(text)
    try:
        value, spans = _scan(scanner)
    except json.JSONDecodeError as error:
        raise DocumentError(f"not JSON: {error.msg} at {_place(text, error.pos)}") from None
    except RecursionError:
        raise DocumentError(f"nested too deeply, in the value at {_place(text, scanner.at)}") from None
    except DocumentError as error:
        raise DocumentError(f"{error}, in the value at {_place(text, scanner.at)}") from None
    except ValueError as error:  # int() refuses numbers of more than 4,300 digits
        raise DocumentError(f"not JSON: {error}, in the value at {_place(text, scanner.at)}") from None
    # Python's decoder follows as deep as its stack happens to allow; the limit is the same for all who read.
    if nested_deeper(value, MAX_DEPTH):
        raise DocumentError(f"nested too deeply: more than {MAX_DEPTH} levels")
    return value, spans


def _place(text: str, at: int) -> str:
    error = json.JSONDecodeError("", text, at)
    return f"line {error.lineno} column {error.colno}"


def _scan(scanner: Scanner) -> tuple[Any, list[_Span]]:
    value: Any = {}
    spans: list[_Span] = []
    if not scanner.next_is("{"):
        value = scanner.value()
    else:
        for name in scanner.members():
            if name == "nodes" and scanner.next_is("["):
                value[name], spans = _scan_nodes(scanner)
            else:
                value[name] = scanner.value()
    scanner.expect_end()
    return value, spans


def _scan_nodes(scanner: Scanner) -> tuple[list[Any], list[_Span]]:
    values: list[Any] = []
    spans: list[_Span] = []
    for _ in scanner.items():
        start = scanner.at
        raw: dict[str, str] = {}
        value: Any = {}
        if not scanner.next_is("{"):
            value = scanner.value()
        else:
            for name in scanner.members():
                begin = scanner.at
                value[name] = scanner.value()
                raw[name] = scanner.text[begin : scanner.at]
        values.append(value)
        spans.append(_Span(start, scanner.at, raw))
    return values, spans
