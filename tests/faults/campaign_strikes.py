"""Faults befall the farm: each at its moment, and what it froze or stopped goes on again after its time.

Of workers and of ingestors one keeps working, for which a fault waits if need be, and lets those after it go first:
else the time to a node's next start would be the time without any worker.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Self

from .campaign_control_plane import KEYS, ControlPlane, patient_client
from .campaign_doubles import Doubler
from .campaign_faults import Fault, Kind
from .campaign_processes import Program, quietly, tasks_of
from .campaign_recovery import Loss
from .campaign_stage import Stage

_PATIENCE = 60.0
"""Seconds without any fault after which one is given up that finds nothing to befall."""
_POLL_SECONDS = 0.05
_AT_ONCE = 10
"""So many faults that are due wait for what they befall; those after them wait for these."""
_ANYWAY = 0.3
"""Part of the faults of a program that come whether or not it is at work: it may be starting, or frozen."""


class Strikes:
    """A thread that lets the planned faults happen.

    Args:
        say: Told of each.
    """

    def __init__(
        self, faults: Iterable[Fault], stage: Stage, plane: ControlPlane, say: Callable[[str], None]
    ) -> None:
        self.done: Counter[Kind] = Counter()
        self.missed: Counter[Kind] = Counter()
        self.losses: list[Loss] = []
        self.task_losses: list[Loss] = []
        self.problems: list[str] = []
        self._faults = list(faults)
        self._stage = stage
        self._plane = plane
        self._say = say
        self._client = patient_client(stage.redis.url)
        self._doubler = Doubler(stage.redis.url)
        self._after: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._struck_at = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with self._plane.changed:
            self._plane.changed.notify_all()
        self._thread.join()
        self._client.close()
        self._doubler.close()

    @property
    def over(self) -> bool:
        """Whether all faults have happened and nothing is frozen or stopped any more."""
        return not self._thread.is_alive() or not (self._faults or self._after)

    @property
    def behind(self) -> int:
        """How many faults are waiting."""
        return len(self._due())

    def _run(self) -> None:
        try:
            while not self._closing.is_set() and (self._faults or self._after):
                self._wait()
                if self._after and self._after[0][0] <= time.monotonic():
                    self._after[0][2]()
                    heapq.heappop(self._after)
                elif due := self._due():
                    self._try(due)
        except Exception as error:  # noqa: BLE001 - the campaign must hear of it
            self.problems.append(f"faults ended early: {error!r}")
        finally:
            for _, _, restore in sorted(self._after, key=lambda item: item[:2]):
                restore()
            self._after.clear()
            with self._plane.changed:
                self._plane.changed.notify_all()

    def _try(self, due: list[Fault]) -> None:
        """The first of the faults that can happen."""
        for fault in due:
            if what := self._strike(fault):
                lasts = f" for {fault.seconds} s" if fault.seconds else ""
                self._say(f"fault {fault.number}: {fault.kind}{lasts}: {what}")
                self.done[fault.kind] += 1
                break
        else:
            if time.monotonic() < self._struck_at + _PATIENCE:
                self._closing.wait(_POLL_SECONDS)
                return
            fault = due[0]
            self._say(f"fault {fault.number}: {fault.kind}: there was nothing it could befall")
            self.missed[fault.kind] += 1
        self._faults.remove(fault)
        self._struck_at = time.monotonic()

    def _due(self) -> list[Fault]:
        ended = self._plane.visits_ended
        return [fault for fault in self._faults[:_AT_ONCE] if fault.after <= ended]

    def _wait(self) -> None:
        """Until a fault is due, or what one did is to be undone."""
        due = bool(self._due())
        with self._plane.changed:
            left = self._after[0][0] - time.monotonic() if self._after else None
            self._plane.changed.wait_for(lambda: bool(self._due()) or self._closing.is_set(), left)
        if not due:
            self._struck_at = time.monotonic()

    def _later(self, seconds: float, restore: Callable[[], None]) -> None:
        heapq.heappush(self._after, (time.monotonic() + seconds, next(self._numbers), restore))

    def _strike(self, fault: Fault) -> str:
        """Whom it befell; empty if there was nothing that it could befall."""
        chance = random.Random(fault.pick)
        match fault.kind:
            case Kind.KILL_COMMAND | Kind.STOP_WORKER | Kind.FREEZE_COMMAND:
                return self._strike_one(fault, self._stage.workers, chance)
            case Kind.KILL_INGESTOR | Kind.STOP_INGESTOR | Kind.FREEZE_INGESTOR:
                return self._strike_one(fault, self._stage.ingestors, chance)
            case Kind.KILL_WORKER | Kind.FREEZE_WORKER:
                return self._strike_worker(fault, chance)
            case Kind.KILL_TASK:
                return self._kill_task(chance)
            case Kind.DOUBLE_ENTRY:
                return self._plane.double(chance, self._client) or ""
            case Kind.DOUBLE_MESSAGE:
                return self._doubler.double(chance)
            case _:
                return self._strike_server(fault)

    def _strike_server(self, fault: Fault) -> str:
        stage = self._stage
        match fault.kind:
            case Kind.KILL_REDIS:
                self._plane.expect_silence()
                stage.redis.kill()
                stage.redis.start()
            case Kind.CUT_CONNECTIONS:
                return f"{self._client.client_kill_filter(_type='normal', skipme=True)} of them"
            case Kind.KILL_STORAGE:
                stage.storage.kill()
                self._later(fault.seconds, self._start_storage)
            case Kind.FREEZE_STORAGE:
                if (pid := stage.storage.pid) is None:
                    return ""
                os.kill(pid, signal.SIGSTOP)
                self._later(fault.seconds, stage.thaw_storage)
        return "and started again" if fault.kind is Kind.KILL_REDIS else "for a while"

    def _start_storage(self) -> None:
        self._stage.storage.start()

    def _strike_one(self, fault: Fault, programs: list[Program], chance: random.Random) -> str:
        candidates = [program for program in programs if _others_work(program, programs)]
        if chance.random() > _ANYWAY:
            candidates = [program for program in candidates if program.at_work]
        if not candidates:
            return ""
        program = chance.choice(candidates)
        match fault.kind:
            case Kind.KILL_COMMAND:
                pids, at = {process.pid for process in program.workers()}, time.time()
                program.kill()
                return f"{program.name}, which was running {self._lose(pids, at)}"
            case Kind.KILL_INGESTOR:
                program.kill()
            case Kind.STOP_WORKER | Kind.STOP_INGESTOR:
                program.ask_to_stop()
            case _:
                self._later(fault.seconds, program.freeze())
        return program.name

    def _strike_worker(self, fault: Fault, chance: random.Random) -> str:
        programs = self._stage.workers
        # Whoever dies while it starts is noticed by Dramatiq after half a minute only: nothing to wait for here.
        candidates = [
            (process, program)
            for program in programs
            if program.at_work and _others_work(program, programs)
            for process in program.workers()
        ]
        working = [(process, program) for process, program in candidates if self._held({process.pid})]
        if not candidates:
            return ""
        process, program = chance.choice(working or candidates)
        if fault.kind is Kind.FREEZE_WORKER:
            self._later(fault.seconds, program.freeze_one(process))
            return f"{process.pid} of {program.name}"
        # The others of its command may end with it, but by themselves: what they have in hand is not lost.
        at = time.time()
        program.kill_one(process)
        return f"{process.pid} of {program.name}, which was running {self._lose({process.pid}, at)}"

    # Kills, and what was running.

    def _kill_task(self, chance: random.Random) -> str:
        tasks = [
            (task, process)
            for program in self._stage.workers
            if program.at_work
            for process in program.workers()
            for task in tasks_of(process)
        ]
        working = [(task, process) for task, process in tasks if self._held({process.pid})]
        if not tasks:
            return ""
        task, process = chance.choice(working or tasks)
        # Which of several tasks of a worker this one is only the worker knows.
        held = self._held({process.pid})
        lost = [Loss(*node, time.time()) for node in held if len(held) == 1]
        quietly(task.kill)
        self.task_losses += lost
        return f"{task.pid}, which was running {[f'{loss.node} of {loss.job}' for loss in lost]}"

    def _lose(self, pids: set[int], at: float) -> list[str]:
        """Note the nodes that these processes had; by now they are dead and hold them still."""
        lost = [Loss(*node, at) for node in self._held(pids)]
        self.losses += lost
        return [f"{loss.node} of {loss.job}" for loss in lost]

    def _held(self, pids: set[int]) -> list[tuple[str, str, str, int]]:
        """Job, node, entry and start number of what these processes are running."""
        names = {f"{os.uname().nodename}:{pid}" for pid in pids}
        held = []
        for member in self._client.zrange(KEYS.leases, 0, -1):
            entry, index, job = member.split("|", 2)
            wanted = ("entry", f"k:{index}", f"t:{index}", f"d:{index}", f"s:{index}")
            seen, holder, token, node, state = self._client.hmget(KEYS.run(job), wanted)
            if seen == entry and holder in names and state == "R":
                held.append((job, node, entry, int(token)))
        return held


def _others_work(program: Program, programs: list[Program]) -> bool:
    return len(programs) == 1 or any(other.at_work for other in programs if other is not program)
