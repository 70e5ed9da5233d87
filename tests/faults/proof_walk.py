"""Mistakes in the scripts, and in what is done around them, that a walk beside the model must come upon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import redis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from myspinbot_worker.graph import ending
from tests.functional.store_walk import walk_at_random
from tests.unit.graphs import graphs

from .crash_points_bugs import scripts

MOST_WALKS = 1500
WALKS_OF_A_CONTROL = 100


@dataclass(frozen=True, slots=True)
class Walked:
    """A mistake.

    Attributes:
        where: The file.
        notices: What the walk compares that then differs; one of these.
        rare: Whether it takes many walks.
    """

    where: str
    plant: Callable[[], AbstractContextManager[Any]]
    notices: tuple[str, ...]
    rare: bool = False


def _script(name: str, old: str, new: str, *notices: str, rare: bool = False) -> Walked:
    return Walked(f"{name}.lua", lambda: scripts(**{name: (old, new)}), notices, rare)


def _no_litter() -> AbstractContextManager[Any]:
    return mock.patch.object(ending, "_unrecorded", return_value=())


@contextmanager
def _acknowledged_at_once() -> Iterator[None]:
    admitted, then = "redis.call('HSET', KEYS[5], entry, job)", "redis.call('XACK', stream, group, entry)"
    with scripts(admit=(admitted, f"{admitted} {then}")):
        yield


WALKED: dict[str, Walked] = {
    "an entry is acknowledged when its visit begins": Walked(
        "admit.lua", _acknowledged_at_once, ("unacknowledged entries",)
    ),
    "a node that is ready at admission is not looked for": _script(
        "admit", "if over == '0' then redis.call('ZADD'", "if false then redis.call('ZADD'",
        "ready nodes that nobody will look for",
    ),
    "a graph is decoded and encoded": _script(
        "admit", "'SET', graph, ARGV[7]", "'SET', graph, cjson.encode(cjson.decode(ARGV[7]))", "the graph"
    ),
    "an output is decoded and encoded": _script(
        "settle", ".. i, ARGV[5])", ".. i, cjson.encode(cjson.decode(ARGV[5])))", "changed payloads"
    ),
    "a start that was given is given to another": _script(
        "claim", "r[8] == 'R' and r[16] == ARGV[10]", "r[8] == 'R'", "claim", "tokens"
    ),
    "a message of an earlier start is taken": _script(
        "claim", "elseif tonumber(ARGV[3]) ~= token + 1 then", "elseif false then", "claim"
    ),
    "a node may start while its lease is alive": _script("claim", "if left > 0 then", "if false then", "claim"),
    "a request to cancel is not looked for when a node starts": _script(
        "claim", "redis.call('ZSCORE', KEYS[6], ARGV[11])", "false", "claim"
    ),
    "a request to cancel is not looked for when a lease is renewed": _script(
        "renew", "if redis.call('ZSCORE', KEYS[3], ARGV[10])", "if false", "renew", rare=True
    ),
    "a request to cancel is forgotten when the job is handed back": _script(
        "conclude", "if ARGV[4] ~= 'hand_back' then", "if true then", "what a visit leaves", rare=True
    ),
    "a renewal does not renew": _script(
        "renew", "redis.call('HSET', run, 'l:' .. i, deadline)", "", "lives of leases"
    ),
    "a lease is renewed for whoever asks": _script("renew", "or r[3] ~= ARGV[3] then", "then", "renew"),
    "a result is recorded whoever brings it": _script(
        "settle", "if r[3] ~= ARGV[3] or r[2] ~= 'R' then", "if r[2] ~= 'R' then", "settle"
    ),
    "a successor that is ready is not looked for": _script(
        "settle", "redis.call('ZADD', KEYS[4], now + delay, member(index))", "",
        "ready nodes that nobody will look for",
    ),
    "a visit that is over is not noted": _script(
        "settle", "redis.call('ZADD', KEYS[5], now, job)", "", "visits to conclude"
    ),
    "a lost worker is not charged": _script(
        "expire", "redis.call('HINCRBY', run, 'x:' .. i, 1)", "", "lost attempts", rare=True
    ),
    "a lost process is not charged": _script(
        "settle", "if ARGV[12] ~= '' and", "if ARGV[12] == 'a' and", "lost attempts"
    ),
    "a lost worker is charged though its start kept a step": _script(
        "expire", "r[10] == r[3]", "false", "lost attempts", "states", "tokens", "nodes lost too often", rare=True
    ),
    "a lost process is charged though its start kept a step": _script(
        "settle", "ARGV[12] == 'x' and r[9] == ARGV[3]", "false", "lost attempts", rare=True
    ),
    "a step that was kept is not noted": _script(
        "renew", "if ARGV[11] == '1' then", "if false then", "starts that kept a step"
    ),
    "a lost process is charged to the neighbour": _script(
        "settle", "ARGV[12] .. ':' .. i, 1)", "ARGV[12] .. ':' .. (ARGV[12] == 'x' and i + 1 or i), 1)",
        "lost attempts",
    ),
    "litter of a failed attempt is not noted": _script(
        "settle", "if ARGV[15] == '1' then", "if false then", "nodes that may have left litter"
    ),
    "litter of a lost worker is not noted": _script(
        "expire", "redis.call('HSET', run, 'u:' .. i, 1)", "", "nodes that may have left litter", rare=True
    ),
    "litter is noted and the notes are dropped at the end": _script(
        "conclude", "for at = 16 + dropped, #ARGV do", "for at = 1, 0 do", "what a visit leaves", "noted litter"
    ),
    "nobody asks which attempts left litter": Walked(
        "graph/ending.py", _no_litter, ("what a visit leaves", "noted litter")
    ),
    "what was seen is forgotten after a minute": _script(
        "conclude", "redis.call('EXPIRE', KEYS[9], ARGV[11])", "redis.call('EXPIRE', KEYS[9], 60)",
        "lifetime of farm:seen:job-1",
    ),
    "a job's snapshot goes after a minute": _script(
        "conclude", "redis.call('EXPIRE', KEYS[10], ARGV[11])", "redis.call('EXPIRE', KEYS[10], 60)",
        "lifetime of job:job-1",
    ),
    "a job's snapshot stays for ever": _script(
        "conclude", "redis.call('EXPIRE', KEYS[10], ARGV[11])", "", "lifetime of job:job-1"
    ),
    "a visit that is not over can be concluded": _script(
        "conclude", "or r[2] ~= '1' then", "then", "conclude while it is open"
    ),
}  # fmt: skip


def notice(client: redis.Redis, most: int = MOST_WALKS) -> str:
    """Walk until the scripts are not like the model; what differed, empty if nothing did."""

    @seed(1)
    @settings(
        max_examples=most, deadline=None, database=None, phases=(Phase.generate,), verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(graph=graphs(plain=True), keep_going=st.booleans(), data=st.data())
    def walk(graph: dict[str, object], keep_going: bool, data: st.DataObject) -> None:
        walk_at_random(client, graph, keep_going=keep_going, data=data)

    try:
        walk()
    except AssertionError as differs:
        return str(differs).splitlines()[0]
    return ""
