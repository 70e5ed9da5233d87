"""Unusual but valid spellings of JSON: white space, key order, escapes, numbers no float would print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

from myspinbot_worker.graph.document import Document
from tests.unit.graphs import graphs

NUMBERS = (
    "0", "-0", "0.0", "-0.0", "1.0", "1.00", "1E2", "1e+2", "1E-2", "-1.5e0", "0e0", "0.1000000000000000001",
    "12345678901234567890", "-98765432109876543210.5", "3.141592653589793238462643383279502884197",
    "9007199254740993", "1e308", "5e-324", "1e-400", "100000000000000000000000000000000",
)  # fmt: skip
WORDS = (
    "",
    "a",
    "b",
    "output",
    "nodes",
    "currentProgress",
    "\u00e9",
    "\u6f22",
    "\U0001f600",
    '"',
    "\\",
    "/",
    "\n",
    "\x00",
    "{[",
)
SPACES = ("", "", "", " ", "  ", "\n", "\t", "\r\n  ")

_WEIGHTS = ("-0.0", *(text for text in NUMBERS if not text.startswith("-")))

randoms = st.integers(0, 2**32).map(Random)


def space(random: Random) -> str:
    return random.choice(SPACES)


def number(random: Random) -> str:
    if random.random() < 0.5:
        return random.choice(NUMBERS)
    digits = "".join(random.choices("0123456789", k=random.randint(1, 30)))
    whole = random.choice(["0", "7", "1" + digits])
    fraction = random.choice(["", "." + digits])
    return random.choice(["", "-"]) + whole + fraction + random.choice(["", "e5", "E+10", "e-07"])


def string(value: str, random: Random) -> str:
    """``value`` with some of its characters escaped, in lower or upper case."""
    pieces = []
    for character in value:
        if random.random() < 0.7:
            pieces.append(json.dumps(character, ensure_ascii=False)[1:-1])
            continue
        units = character.encode("utf-16-be", "surrogatepass")
        form = random.choice(["\\u{:04x}", "\\u{:04X}"])
        pieces += [form.format(int.from_bytes(units[i : i + 2])) for i in range(0, len(units), 2)]
    return '"' + "".join(pieces) + '"'


def spelled(value: Any, random: Random, *, free: bool = True) -> str:
    """``value`` as JSON text; with ``free`` every number becomes some other number in an unusual spelling."""
    if isinstance(value, str):
        return string(value, random)
    if isinstance(value, list):
        return _listed("[", (spelled(item, random, free=free) for item in value), "]", random)
    if isinstance(value, dict):
        members = [(name, spelled(item, random, free=free)) for name, item in value.items()]
        return object_text(members, random)
    if free and isinstance(value, int | float) and not isinstance(value, bool):
        return number(random)
    return json.dumps(value)


def object_text(members: Iterable[tuple[str, str]], random: Random) -> str:
    pairs = (f"{string(name, random)}{space(random)}:{space(random)}{raw}" for name, raw in members)
    return _listed("{", pairs, "}", random)


def _listed(begin: str, texts: Iterable[str], end: str, random: Random) -> str:
    padded = (space(random) + text + space(random) for text in texts)
    return begin + (",".join(padded) or space(random)) + end


@dataclass(frozen=True)
class SpelledGraph:
    """A graph's text, and what its author knows of it.

    Attributes:
        nodes: Per node, field name to the text of its value, in the order of the text.
        outside: The text before the first node, between each two, and after the last.
    """

    text: str
    nodes: list[dict[str, str]]
    outside: list[str]


def spelled_graph(graph: dict[str, Any], random: Random) -> SpelledGraph:
    nodes = []
    for node in graph["nodes"]:
        members = list(node.items())
        random.shuffle(members)
        nodes.append({name: _field(name, value, random) for name, value in members})
    outside = ["[" + space(random)]
    bodies = []
    for fields in nodes:
        bodies.append(object_text(fields.items(), random))
        outside.append(f"{space(random)},{space(random)}")
    outside[-1] = space(random) + "]"
    names = list(graph)
    random.shuffle(names)
    # Everything but the nodes as one object's text, with a mark where the nodes go.
    texts = {name: "<nodes>" if name == "nodes" else spelled(graph[name], random) for name in names}
    before, _, after = object_text(texts.items(), random).partition("<nodes>")
    outside[0] = space(random) + before + outside[0]
    outside[-1] += after + space(random)
    text = outside[0] + "".join(body + gap for body, gap in zip(bodies, outside[1:], strict=True))
    return SpelledGraph(text, nodes, outside)


def _field(name: str, value: Any, random: Random) -> str:
    if name == "progressWeight":
        return random.choice(_WEIGHTS)
    return spelled(value, random, free=name in ("params", "input", "output", "telemetry"))


def value(random: Random, depth: int = 3) -> Any:
    """Some JSON value."""
    match random.randrange(9 if depth else 6):
        case 0:
            return random.choice([None, True, False])
        case 1:
            return random.choice([0, 1, -7, 0.5, 10**20])
        case 2 | 3:
            return random.choice(WORDS)
        case 4:
            return []
        case 5:
            return {}
        case 6:
            return [value(random, depth - 1) for _ in range(random.randrange(4))]
        case _:
            return payload(random, depth - 1)


def payload(random: Random, depth: int = 2) -> dict[str, Any]:
    """Some JSON object; few different names, so that two objects often share one."""
    return {random.choice(WORDS): value(random, depth) for _ in range(random.randrange(4))}


def filled(graph: dict[str, Any], random: Random) -> dict[str, Any]:
    """A graph of plain nodes with optional fields added at random."""
    optional: dict[str, Callable[[], Any]] = {
        "name": lambda: random.choice(WORDS),
        "params": lambda: random.choice([None, payload(random)]),
        "input": lambda: random.choice([value(random), payload(random)]),
        "output": lambda: random.choice([value(random), payload(random)]),
        "error": lambda: random.choice([None, {"message": random.choice(WORDS), "more": value(random)}]),
        "retries": lambda: random.choice(
            [None, {}, {"attempt": random.randrange(5)}, {"maxAttempts": 3}, {"maxAttempts": 2, "attempt": 1}]
        ),
        "tags": lambda: random.choice([None, [], [random.choice(WORDS)]]),
        "telemetry": lambda: random.choice([None, payload(random)]),
    }
    graph["nodes"] = [
        {**node, **{name: make() for name, make in optional.items() if random.random() < 0.4}}
        for node in graph["nodes"]
    ]
    for edge in graph["edges"]:
        if random.random() < 0.2:
            edge["metadata"] = random.choice([None, payload(random)])
    for name in ("context", "metadata"):
        if random.random() < 0.3:
            graph[name] = payload(random)
    return graph


# Hypothesis finds the shape; the payloads come from a seed, which is many times faster.
filled_graphs = st.builds(filled, graphs(plain=True), randoms)
spelled_graphs = st.builds(spelled_graph, filled_graphs, randoms)


def outside(document: Document) -> list[str]:
    """The text around the nodes, as the document sees it."""
    ends = [0, *(node.end for node in document.nodes)]
    starts = [*(node.start for node in document.nodes), len(document.text)]
    return [document.text[end:start] for end, start in zip(ends, starts, strict=True)]
