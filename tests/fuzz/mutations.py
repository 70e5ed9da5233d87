"""Damage to JSON documents and to plain texts, of every kind that has brought a parser down somewhere."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

CORPUS = Path(__file__).parent / "corpus"

# Texts that stand in the document as they are, unquoted.
_RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "-0", "-0.0", "01", "+1", ".5", "1.", "0x10",
    "9" * 400, "9" * 4300, "9" * 5000, "1" + "0" * 308, "1e308", "18446744073709551616", "9007199254740993",
    "[" * 300 + "]" * 300, "[" * 3000, '{"a":' * 300 + "1" + "}" * 300, "undefined", "tru", "''", "//x", "",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 0.5, -0.5, 1e300, "", " ", "a", "job-1", "python", "pending",
    "\0", "a\0b", "\ud800", "\udfff", "\ufeff", "\u202e", "é" * 50, "x" * 2000, "a:b", "../..", "{}", "1", "NaN",
    "redis://:hunter2@h", "$ref", "__proto__", "%s%n", "{0.__class__}", "\r\n\r\n", "\x1b[31m", [], {}, [[]],
    [None], {"": None}, {"a": {"b": []}}, list(range(50)), {"__class__": "x"}, "farm:runs", "~", "~nobody", "-",
)  # fmt: skip
_PIECES = (
    b"\0", b"\xff", b"\xfe\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\ud800",
    b"\\u0000", b"\\x", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\x1f", b"\x7f", b"../", b"/", b"%2e",
    b"\xe2\x80\xae", b"1e999", b"NaN", b"=", b"://", b"@", b"#", b"?", b"~", b"$",
)  # fmt: skip


def corpus(folder: str) -> list[bytes]:
    """The documents of one kind, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / folder).iterdir())]


def lines(name: str) -> list[str]:
    return (CORPUS / name).read_text(encoding="utf-8").splitlines()


def seeds() -> list[int]:
    return [int(line) for line in (Path(__file__).parent / "seeds.txt").read_text().split()]


def randoms(purpose: str, count: int) -> Iterator[Random]:
    """``count`` generators, the same in every run: shared out over the seeds that are kept."""
    kept = seeds()
    for number in range(count):
        yield Random(f"{purpose}/{kept[number % len(kept)]}/{number // len(kept)}")


def damaged_document(random: Random, documents: Sequence[bytes]) -> bytes:
    """One of the documents with one to four kinds of damage, as JSON text that may be none any more."""
    text = random.choice(documents)
    if random.random() < 0.75:
        value = json.loads(text)
        raw: list[str] = []
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            value = _reshaped(random, value, raw)
        text = _spelled(random, value, raw).encode("utf-8", "surrogatepass")
    if random.random() < 0.45:
        text = damaged_bytes(random, text, documents)
    return text


def damaged_bytes(random: Random, text: bytes, others: Sequence[bytes]) -> bytes:
    """Bytes flipped, cut, doubled, put in, or spliced with another text."""
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randint(0, len(text))
        to = min(len(text), at + random.choice((1, 1, 2, 8, 64)))
        match random.randrange(9):
            case 0:
                text = text[:at]
            case 1:
                text = text[:at] + text[to:]
            case 2:
                text = text[:at] + random.choice(_PIECES) + text[at:]
            case 3:
                text = text[:at] + random.choice(_PIECES) + text[to:]
            case 4 if at < len(text):
                text = text[:at] + bytes([text[at] ^ 1 << random.randrange(8)]) + text[at + 1 :]
            case 5:
                other = random.choice(others)
                text = text[:at] + other[random.randint(0, len(other)) :]
            case 6:
                text = text[:at] + text[at:to] * random.choice((2, 3, 50)) + text[to:]
            case 7:
                text = random.choice((b"\xef\xbb\xbf", b"\xff\xfe", b" " * 1000, b"\0")) + text
            case _:
                text = text + random.choice((b"}", b"{}", b"\0", b",", b"\n" * 100, text))
    return text


def damaged_text(random: Random, texts: Sequence[str]) -> str:
    """As :func:`damaged_bytes`, for what arrives decoded: half characters stay in."""
    encoded = [text.encode() for text in texts]
    made = damaged_bytes(random, random.choice(encoded), encoded)
    return made.decode("utf-8", random.choice(("surrogateescape", "replace", "ignore")))


def _value(random: Random) -> Any:
    # Copied: what was put in is damaged further.
    return copy.deepcopy(random.choice(_VALUES))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) in a document."""
    found: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict | list):
            inside = list(item.items()) if isinstance(item, dict) else list(enumerate(item))
            found += [(item, name) for name, _ in inside]
            stack += [child for _, child in inside]
    return found


def _reshaped(random: Random, value: Any, raw: list[str]) -> Any:
    """The document with one change to its structure; ``raw`` takes texts that no JSON value stands for."""
    places = _places(value)
    if not places:
        return _value(random)
    at, name = random.choice(places)
    match random.randrange(10):
        case 0:
            del at[name]
        case 1:
            at[name] = _value(random)
        case 2:
            raw.append(random.choice(_RAW))
            at[name] = f"@raw{len(raw) - 1}@"
        case 3:
            at[name] = random.choice(
                ([at[name]], {"a": at[name]}, str(at[name]), [at[name], copy.deepcopy(at[name])])
            )
        case 4 if isinstance(at, dict):
            at[random.choice(("x", "", "\0", "\ud800", "nodes", "id", "retries", "y" * 500))] = random.choice(
                _VALUES
            )
        case 5 if isinstance(at, dict) and isinstance(name, str):
            at[random.choice((name.upper(), name + " ", name[:-1], "\ufeff" + name))] = at.pop(name)
        case 6:
            other, other_name = random.choice(places)
            if isinstance(other, dict) == isinstance(other_name, str) and _has(other, other_name):
                # Copied, not shared: a value must not come to hold itself.
                at[name] = json.loads(json.dumps(other[other_name]))
        case 7 if isinstance(value, dict) and isinstance(value.get("nodes"), list) and value["nodes"]:
            _rewired(random, value)
        case 8 if isinstance(at, list):
            at += json.loads(json.dumps(at)) * random.choice((1, 1, 20))
        case _:
            at[name] = _value(random)
    return value


def _has(at: Any, name: Any) -> bool:
    return name in at if isinstance(at, dict) else name < len(at)


def _rewired(random: Random, graph: dict[str, Any]) -> None:
    """Edges that close a cycle, loop, dangle or double; nodes that share an id; a thousand of them."""
    ids = [node["id"] for node in graph["nodes"] if isinstance(node, dict) and "id" in node] or ["a"]
    edges = graph["edges"] if isinstance(graph.get("edges"), list) else graph.setdefault("edges", [])
    one, two = random.choice(ids), random.choice(ids)
    match random.randrange(6):
        case 0 if isinstance(edges, list):
            edges.append({"from": one, "to": one})
        case 1 if isinstance(edges, list):
            edges += [{"from": one, "to": two}, {"from": two, "to": one}]
        case 2 if isinstance(edges, list):
            edges.append({"from": one, "to": random.choice(("nowhere", "", "\ud800", one, None, 1))})
        case 3 if isinstance(edges, list):
            edges += [{"from": a, "to": b} for a, b in itertools.pairwise(ids)] * 50
        case 4:
            graph["nodes"].append(json.loads(json.dumps(random.choice(graph["nodes"]))))
        case _:
            node = {"service": "s", "plane": "python", "status": "pending"}
            graph["nodes"] += [{"id": f"n{i}", **node} for i in range(random.choice((10, 1000)))]


def _spelled(random: Random, value: Any, raw: list[str]) -> str:
    """As JSON text: raw texts put in, sometimes with doubled keys, unescaped half characters or odd spaces."""
    ascii_only = random.random() < 0.8
    text = json.dumps(value, ensure_ascii=ascii_only, indent=random.choice((None, None, None, 1)))
    for number, piece in enumerate(raw):
        text = text.replace(f'"@raw{number}@"', piece)
    if random.random() < 0.1:
        key = random.choice(('"id"', '"nodes"', '"workflowId"', '"edges"', '"schema"', '"url"', '"farm"'))
        text = text.replace(f"{key}:", f"{key}: {random.choice(('1', 'null', '[]', '{}'))}, {key}:", 1)
    if random.random() < 0.05:
        text = text.replace(",", random.choice((",,", ", ,", "\u00a0,", ";")), 1)
    return text
