"""Kills a process before and after every single Redis command it sends.

``python -m tests.faults.crash_points --world entries --side after --at 17`` plays one point; without ``--at``
it plays all. What was played, and everything that went wrong, is written as one line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from myspinbot_worker.config import load_settings
from myspinbot_worker.embedded import EmbeddedRedis
from myspinbot_worker.settings import Settings

from .crash_points_bugs import BUGS
from .crash_points_crew import hurry
from .crash_points_ledger import Ledger
from .crash_points_stage import Ended, Stage
from .crash_points_visits import WORLDS
from .crash_points_wire import SIDES, Fault, Side


@dataclass
class Report:
    """What was played.

    Attributes:
        points: How many plays there were, each with its fault or faults.
        faults: How many faults befell a process in them: a second one may find that there is nothing left to do.
        aftermaths: How many of them were played to the end; the others' crash left what an earlier one had left.
        commands: How many commands of each name the crews sent without a fault.
        problems: Where what went wrong.
        noticed: By planted bug, the first point that showed it; empty if none did.
    """

    points: int = 0
    faults: int = 0
    aftermaths: int = 0
    seconds: float = 0.0
    commands: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    noticed: dict[str, str] = field(default_factory=dict)


class Player:
    """Plays on one server, and reports."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self.stage = Stage(settings, ledger)
        self.report = Report()

    def clean(self, world: str) -> Ended:
        """A world without faults."""
        ended = self.stage.play(WORLDS[world]())
        self.report.problems += [f"{world}, no fault: {kind}: {text}" for kind, text in ended.problems]
        for name in ended.commands:
            self.report.commands[name] = self.report.commands.get(name, 0) + 1
        return ended

    def singles(self, world: str, sides: Sequence[Side], points: slice, *, every_aftermath: bool) -> None:
        """One fault a play, at some or all of the commands."""
        clean = self.clean(world)
        for side in sides:
            for at, command in list(enumerate(clean.commands, 1))[points]:
                ended = self._play(world, [Fault(at, side)], clean, every_aftermath=every_aftermath)
                if ended.hits != [(at, command)]:
                    self.report.problems.append(f"{world}: {at} is {command}, but hit was {ended.hits}")

    def doubles(self, seed: int, count: int) -> None:
        """Two faults a play: the second befalls those who clean up after the first."""
        chance = random.Random(seed)
        clean = {name: self.clean(name) for name in WORLDS}
        while self.report.points < count:
            world = chance.choice(list(WORLDS))
            most = len(clean[world].commands)
            # A process that lost a reply goes on by itself: nobody comes after it to suffer the second fault.
            sides = [chance.choice([side for side in SIDES if side != "lost"]), chance.choice(SIDES)]
            faults = [Fault(chance.randint(1, most), side) for side in sides]
            self._play(world, faults, clean[world], every_aftermath=True)

    def plant(self, name: str) -> None:
        """Look for a planted bug until a crash shows what no clean play does."""
        bug = BUGS[name]
        right = self.stage.play(WORLDS[bug.world]())
        with bug.plant():
            stage = Stage(self._settings, self._ledger)
            clean = stage.play(WORLDS[bug.world]())
            usual = {kind for kind, _ in clean.problems}
            self.report.noticed[name] = ""
            for at, command in enumerate(clean.commands, 1):
                if not re.fullmatch(bug.at, command):
                    continue
                self.report.points += 1
                ended = stage.play(WORLDS[bug.world](), [Fault(at, bug.side)], right)
                if new := [problem for problem in ended.problems if problem[0] not in usual]:
                    self.report.noticed[name] = f"{bug.side} {command} ({at}): {new[0][0]}: {new[0][1][:200]}"
                    return

    def _play(self, world: str, faults: list[Fault], clean: Ended, *, every_aftermath: bool) -> Ended:
        ended = self.stage.play(WORLDS[world](), faults, clean, every_aftermath=every_aftermath)
        self.report.points += 1
        self.report.faults += len(ended.hits)
        self.report.aftermaths += not ended.known
        where = ", ".join(
            f"{fault.side} {hit[1]} ({hit[0]})" for fault, hit in zip(faults, ended.hits, strict=False)
        )
        self.report.problems += [f"{world}, {where}: {kind}: {text}" for kind, text in ended.problems]
        return ended


@contextmanager
def player() -> Iterator[Player]:
    """A player on a server of its own; this process must do nothing else any more that takes time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crash-points-")))
        # A blocked client's time is looked at this often, and a crew often waits for what does not come.
        server = stack.enter_context(EmbeddedRedis(folder / "redis", config=("--hz", "500")))
        environ = {
            "REDIS_URL": server.url,
            "WORKER_HOME": str(folder),
            "FARM_SCRATCH_DIR": str(folder / "scratch"),
            # No task here keeps an artifact, and without these buckets nothing is looked for in them.
            "MINIO_BUCKETS": "input",
            "MINIO_ACCESS_KEY": "unused",
            "MINIO_SECRET_KEY": "unused-too",
            # Crashes are ours here, not the tasks' doing: no number of them may use a node up.
            "FARM_MAX_LOST_ATTEMPTS": "6",
        }
        os.environ["REDIS_URL"] = server.url
        hurry()
        yield Player(load_settings(environ), stack.enter_context(Ledger(server.url)))


@click.command()
@click.option("--world", type=click.Choice(list(WORLDS)), multiple=True, default=list(WORLDS))
@click.option("--side", type=click.Choice(SIDES), multiple=True, default=("before", "after"))
@click.option("--at", type=int, help="The one command to play; all by default.")
@click.option("--every", type=int, default=1, help="Only each so-manyth command.")
@click.option(
    "--every-aftermath", is_flag=True, help="Even of a crash that left what an earlier one had left."
)
@click.option("--doubles", type=int, default=0, help="Instead: so many plays of two faults.")
@click.option("--seed", type=int, default=0)
@click.option("--bugs", is_flag=True, help="Instead: look for planted bugs.")
def main(
    world: tuple[str, ...], side: tuple[Side, ...], at: int | None, every: int, every_aftermath: bool,
    doubles: int, seed: int, bugs: bool,
) -> None:  # fmt: skip
    """Play crash points; the report is one line of JSON."""
    logging.getLogger().addHandler(logging.NullHandler())
    started = time.monotonic()
    with player() as play:
        if bugs:
            for name in BUGS:
                play.plant(name)
        elif doubles:
            play.doubles(seed, doubles)
        else:
            points = slice(at - 1, at) if at else slice(seed % every, None, every)
            for name in world:
                play.singles(name, side, points, every_aftermath=every_aftermath)
        play.report.seconds = round(time.monotonic() - started, 1)
        json.dump(asdict(play.report), sys.stdout)
        print()


if __name__ == "__main__":
    main()
