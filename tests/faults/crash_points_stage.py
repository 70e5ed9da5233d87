"""One play on a real server: a world, crews that die in it one after another, and how it ended."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from myspinbot_worker.farm import Farm
from myspinbot_worker.settings import Settings

from .crash_points_checks import (
    Nodes,
    Problem,
    dead_letter_problems,
    final_nodes,
    graph_problems,
    visit_problems,
)
from .crash_points_crew import Crew, tasks
from .crash_points_fork import CrewProcess
from .crash_points_ledger import Ledger
from .crash_points_state import state_of
from .crash_points_visits import World, everything, submit
from .crash_points_wire import Fault

MOST_HOURS = 12
"""Idle times a crew may need before a play counts as stuck."""
_KEPT = (
    "process:", "job:", "farm:seen:", "farm:history", "farm:dead", "farm:counters", "farm:dramatiq:__heartbeats__",
)  # fmt: skip


@dataclass
class Ended:
    """How a play ended.

    Attributes:
        problems: (kind, what) of everything that is not as it must be.
        hits: Number and name of the command at each fault; fewer than faults if a crew finished before its own.
        commands: What the last crew sent.
        starts: How often nodes were started.
        graphs: Nodes of the final graphs by job, without what may differ between two right endings.
        known: The crash left what an earlier one had left, so what follows was not played again.
    """

    problems: list[Problem] = field(default_factory=list)
    hits: list[tuple[int, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    starts: int = 0
    graphs: dict[str, Nodes] = field(default_factory=dict)
    known: bool = False


class Stage:
    """A server's database on which one play follows the other."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._client: Any = redis.Redis.from_url(
            settings.redis.url, decode_responses=True, encoding_errors="replace"
        )
        farm = Farm(settings, registry=tasks)
        # Every crew finds the scripts loaded, so that all send the same commands.
        self._scripts = {
            self._client.script_load(script.script): name for name, script in farm.store._scripts.items()
        }
        farm.broker.maintain("cpu")
        self._warm_up()
        self._crew = Crew(settings)
        self._states: set[int] = set()
        gc.collect()
        gc.freeze()

    def _warm_up(self) -> None:
        """Have everything imported and cached before the first fork: one that is cold takes several times as long."""
        self._client.flushdb()
        submit(self._client, everything())
        crew = Crew(self._settings)
        crew.start("warm")
        crew.shift()
        crew.close()

    def play(
        self,
        world: World,
        faults: Sequence[Fault] = (),
        clean: Ended | None = None,
        *,
        every_aftermath: bool = True,
    ) -> Ended:
        """Let crews work in a world until all is done; the n-th crew suffers the n-th fault.

        Args:
            clean: How the same world ended without faults.
            every_aftermath: Go on after a crash even if it left exactly what an earlier one had left.
        """
        self._client.flushdb()
        self._ledger.clear()
        entries = submit(self._client, world)
        world.prepare(Farm(self._settings, registry=tasks), entries)
        self._pass_time(set())
        ended = Ended()
        ids = [entry for visit in world.visits for entry in entries[visit.job]]
        self._work(list(faults), ended, None if every_aftermath else ids)
        self._ledger.read()
        ended.problems += self._ledger.problems
        if ended.known:
            return ended
        for visit in world.visits:
            text = self._client.hget(f"job:{visit.job}", "graph")
            ended.graphs[visit.job] = nodes = final_nodes(text)
            ended.problems += visit_problems(visit, entries[visit.job], self._ledger)
            ended.problems += graph_problems(visit, nodes, clean.graphs[visit.job] if clean else None)
        ended.problems += dead_letter_problems(world, self._ledger)
        ended.starts = sum(story.starts for story in self._ledger.stories.values())
        if clean and ended.starts > clean.starts + len(ended.hits):
            ended.problems.append(("starts", f"{ended.starts} starts, without faults {clean.starts}"))
        return ended

    def _work(self, faults: list[Fault], ended: Ended, entries: list[str] | None) -> None:
        crews: list[CrewProcess] = []
        sleepers: list[CrewProcess] = []

        def crew() -> CrewProcess:
            crews.append(
                CrewProcess(
                    self._crew, self._scripts, f"crew-{len(crews)}", faults.pop(0) if faults else None
                )
            )
            return crews[-1]

        working, hours = crew(), 0
        while True:
            state = working.work()
            if state == "dead" and working.hit is None:
                break
            if state == "dead" and entries is not None and self._seen_before(entries):
                ended.known = True
                break
            if state == "dead" or state == "asleep":
                sleepers += [working] if state == "asleep" else []
                working = crew()
                continue
            left = self._left()
            if not left and sleepers:
                working.end()
                working = sleepers.pop()
                continue
            if not left or hours == MOST_HOURS:
                break
            hours += 1
            self._pass_time({f"{working.name}-ingestor", f"{working.name}-worker"})
        if not ended.known and (left := self._left()):
            ended.problems.append(("unfinished", f"after {hours} hours there is still {left}"))
        ended.commands = working.commands
        ended.hits = [each.hit for each in crews if each.hit]
        ended.problems += [("error", text) for each in crews for text in each.errors]
        for each in crews:
            each.end()

    def _seen_before(self, entries: list[str]) -> bool:
        """Whether a crash has left Redis like this before: what follows depends on nothing else."""
        state = hash(state_of(self._client, entries))
        known = state in self._states
        self._states.add(state)
        return known

    def _left(self) -> list[str]:
        """What should not be there when all is done."""
        left = sorted(key for key in self._client.scan_iter() if not key.startswith(_KEPT))
        waiting = self._client.xlen("process:data")
        groups = self._client.xinfo_groups("process:data")
        pending = sum(group["pending"] for group in groups)
        return (
            left
            + [f"{waiting} entries"] * bool(waiting)
            + [f"{pending} pending"] * bool(pending or not groups)
        )

    def _pass_time(self, living: set[str]) -> None:
        """Let an hour pass in which nobody did anything: every time that Redis holds is now past.

        Args:
            living: Dramatiq's names of processes that are alive, so that they would have shown it.
        """
        client = self._client
        for member in client.zrange("farm:leases", 0, -1):
            _, index, job = member.split("|", 2)
            client.hset(f"farm:run:{job}", f"l:{index}", 0)
        for key in ("farm:leases", "farm:outbox", "farm:over", "farm:litter"):
            if members := client.zrange(key, 0, -1):
                client.zadd(key, dict.fromkeys(members, 0))
        beats = client.zrange("farm:dramatiq:__heartbeats__", 0, -1)
        if gone := [name for name in beats if name not in living]:
            client.zadd("farm:dramatiq:__heartbeats__", dict.fromkeys(gone, 1))
        if not client.exists("process:data") or not client.xinfo_groups("process:data"):
            return
        for item in client.xpending_range("process:data", "workers", "-", "+", 1000):
            client.xclaim(
                "process:data", "workers", item["consumer"], 0, [item["message_id"]],
                idle=3_600_000, justid=True,
            )  # fmt: skip
