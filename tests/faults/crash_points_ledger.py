"""What really happened on the server, in its order, and what a subscriber heard."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Self

import redis

_LINE = re.compile(r"^\S+ \[\d+ (\S+)\] (.*)$", re.DOTALL)
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WANTED = re.compile(r'\] "(HSET|PUBLISH|XADD|XACK|UNLINK|ECHO)" ', re.IGNORECASE)
_RUN = "farm:run:"
_ATOMIC = frozenset({("XACK", "process:data"), ("XADD", "process:control"), ("XADD", "farm:dead")})
"""Parts of a terminal act, which is one step: they are done by scripts or not at all."""


@dataclass
class Story:
    """What happened to one job."""

    open: bool = False
    ever_open: bool = False
    snapshot_fresh: bool = False
    statuses: list[str] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    backs: int = 0
    runs: int = 0
    results: Counter[tuple[int, str]] = field(default_factory=Counter)
    starts: int = 0


class Ledger:
    """Listens to everything the server executes (MONITOR) and publishes (Pub/Sub)."""

    def __init__(self, url: str) -> None:
        untyped: Any = redis.Redis
        self._client = untyped.from_url(url, decode_responses=True, encoding_errors="replace")
        self._monitor: Any = self._client.connection_pool.get_connection()
        self._monitor.send_command("MONITOR")
        self._monitor.read_response()
        self._pubsub: Any = self._client.pubsub()
        self._pubsub.psubscribe("channel:*")
        self._pubsub.get_message(timeout=5)
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pubsub.close()
        self._monitor.disconnect()
        self._client.close()

    def clear(self) -> None:
        """Begin anew; what happened so far is forgotten."""
        self._lines()
        self._heard()
        self.stories: dict[str, Story] = defaultdict(Story)
        self.acknowledged: Counter[str] = Counter()
        self.dead: list[tuple[str, str]] = []
        self.problems: list[tuple[str, str]] = []

    def read(self) -> None:
        """Take in what happened since :meth:`clear`."""
        published: list[tuple[str, str]] = []
        for source, words in self._lines():
            self._take(source, words, published)
        if (heard := self._heard()) != published:
            self._problem("heard", f"published {published}, heard {heard}")

    def _lines(self) -> list[tuple[str, list[str]]]:
        mark = uuid.uuid4().hex
        self._client.echo(mark)
        found = []
        while mark not in (line := self._monitor.read_response()):
            if _WANTED.search(line, 0, 80) and (parts := _LINE.match(line)):
                words = [_plain(word) for word in _WORD.findall(parts[2])]
                found.append((parts[1], words))
        return found

    def _heard(self) -> list[tuple[str, str]]:
        mark = uuid.uuid4().hex
        self._client.publish(f"channel:{mark}", "")
        heard: list[tuple[str, str]] = []
        while True:
            message = self._pubsub.get_message(timeout=5)
            assert message is not None, "what was published is not heard"
            if mark in message["channel"]:
                return heard
            heard.append((message["channel"], message["data"]))

    def _take(self, source: str, words: list[str], published: list[tuple[str, str]]) -> None:
        command, key, *rest = words
        if source != "lua" and (command.upper(), key) in _ATOMIC:
            self._problem("apart", f"{command} {key} is not part of a script")
        match command.upper():
            case "PUBLISH" if len(parts := key.split(":")) == 3:
                published.append((key, rest[0]))
                self._message(parts[1], parts[2], json.loads(rest[0]))
            case "XADD" if key == "process:control":
                self._hand_back(_after("jobId", rest))
            case "XADD" if key == "farm:dead":
                self.dead.append((_after("jobId", rest), _after("code", rest)))
            case "XACK":
                self.acknowledged.update(rest[1:])
            case "HSET" if key.startswith("job:"):
                self.stories[key.removeprefix("job:")].snapshot_fresh = True
            case "HSET" if key.startswith(_RUN) and source == "lua":
                self._change(self.stories[key.removeprefix(_RUN)], rest)
            case "UNLINK" if key.startswith(_RUN):
                self.stories[key.removeprefix(_RUN)].open = False

    def _message(self, kind: str, job: str, value: dict[str, Any]) -> None:
        story = self.stories[job]
        if story.ever_open and not story.open:
            self._problem("late", f"{kind} of {job} after its end: {value[kind]}")
        if kind == "status":
            story.statuses.append(value[kind])
        elif kind == "progress":
            if not 0 <= value[kind] <= 1 or (story.progress and value[kind] < story.progress[-1]):
                self._problem("progress", f"progress of {job} went on from {story.progress} to {value[kind]}")
            story.progress.append(value[kind])

    def _hand_back(self, job: str) -> None:
        story = self.stories[job]
        story.backs += 1
        if not story.snapshot_fresh:
            self._problem("snapshot", f"{job} came back before job:{job} was written")
        story.snapshot_fresh = False

    def _change(self, story: Story, fields: list[str]) -> None:
        if fields[0] == "entry":
            story.open = story.ever_open = True
            story.runs += 1
            story.progress.clear()
        elif fields[0].startswith("s:") and fields[1] == "R":
            story.starts += 1
        elif fields[0].startswith("s:") and len(fields) == 2 and fields[1] in "CF":
            story.results[story.runs, fields[0]] += 1

    def _problem(self, kind: str, text: str) -> None:
        self.problems.append((kind, text))


def _plain(word: str) -> str:
    if "\\" not in word:
        return word
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1]), word)


def _after(name: str, words: list[str]) -> str:
    return words[words.index(name) + 1] if name in words else ""
