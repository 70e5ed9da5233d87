"""Breadth-first search over every state the small world can reach.

``python -m tests.faults.explore --nodes 4`` explores every graph of that size and prints what it saw; a
violated statement is told with a shortest trace that leads to it.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import pairwise

from .bugs import Bug, Statement
from .ground import Scope
from .shapes import Shape, shapes
from .state import World, ended
from .world import Steps


@dataclass(frozen=True, slots=True)
class Violation:
    """A statement that does not hold, and a shortest way there."""

    statement: Statement
    what: str
    shape: Shape
    trace: tuple[str, ...]

    def __str__(self) -> str:
        steps = "\n".join(f"  {number:3}. {step}" for number, step in enumerate(self.trace, 1))
        return f"{self.statement}\n{self.what}\ngraph {self.shape}\n{steps}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a search saw; ``complete`` unless it was cut short by a limit or a violation."""

    states: int
    steps: int
    complete: bool
    violation: Violation | None = None


class Search:
    """The search over one graph's world."""

    def __init__(self, shape: Shape, scope: Scope, bug: Bug | None = None) -> None:
        self.shape = shape
        self.steps = Steps(shape, scope, bug)
        self._number: dict[World, int] = {}
        self._parent = array("q")
        self._fair_from = array("q")
        self._fair_to = array("q")
        self._taken = 0

    @property
    def worlds(self) -> Iterable[World]:
        """The states that were reached."""
        return self._number.keys()

    def run(self, limit: int | None = None) -> Result:
        """Explore; stops at the first violation, and at ``limit`` states."""
        # States are never garbage, and looking through millions of them for some takes its time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._run(limit)
        finally:
            if collecting:
                gc.enable()

    def _run(self, limit: int | None) -> Result:
        number, parent = self._number, self._parent
        for world in self.steps.first():
            number[world] = len(number)
            parent.append(-1)
        worlds = list(number)
        at = 0
        while at < len(worlds):
            if limit is not None and len(worlds) >= limit:
                return self._result(complete=False)
            world = worlds[at]
            for label, after, fair, broken in self.steps.out_of(world):
                self._taken += 1
                if broken is not None:
                    return self._result(complete=False, violation=self._violation(at, worlds, label, broken))
                there = number.get(after)
                if there is None:
                    there = number[after] = len(worlds)
                    worlds.append(after)
                    parent.append(at)
                if fair and there != at:
                    self._fair_from.append(at)
                    self._fair_to.append(there)
            at += 1
        stuck = self._stuck(worlds)
        if stuck is None:
            return self._result(complete=True)
        broken = Statement.LIVENESS, "no fair steps lead from here to the end of every entry"
        return self._result(complete=True, violation=self._violation(stuck, worlds, None, broken))

    def _result(self, *, complete: bool, violation: Violation | None = None) -> Result:
        return Result(len(self._number), self._taken, complete, violation)

    def _stuck(self, worlds: list[World]) -> int | None:
        """The first state from which fair steps cannot reach an end, found backwards from all ends."""
        size = len(worlds)
        begins = array("q", bytes(8 * (size + 1)))
        for there in self._fair_to:
            begins[there + 1] += 1
        for index in range(size):
            begins[index + 1] += begins[index]
        sources, filled = array("q", bytes(8 * len(self._fair_to))), array("q", begins)
        for source, there in zip(self._fair_from, self._fair_to, strict=True):
            sources[filled[there]] = source
            filled[there] += 1
        good = bytearray(ended(world) for world in worlds)
        pending = [index for index in range(size) if good[index]]
        while pending:
            index = pending.pop()
            for source in sources[begins[index] : begins[index + 1]]:
                if not good[source]:
                    good[source] = 1
                    pending.append(source)
        found = good.find(0)
        return None if found < 0 else found

    def _violation(
        self,
        at: int,
        worlds: list[World],
        last: tuple[object, ...] | None,
        broken: tuple[Statement, str],
    ) -> Violation:
        path = [at]
        while self._parent[path[-1]] >= 0:
            path.append(self._parent[path[-1]])
        path.reverse()
        trace = ["the first entry is sent" + (" twice" if worlds[path[0]].entries[1] else "")]
        for before, after in pairwise(path):
            label = next(
                step.label for step in self.steps.out_of(worlds[before]) if step.after == worlds[after]
            )
            trace.append(_told(label))
        if last is not None:
            trace.append(_told(last))
        return Violation(*broken, self.shape, tuple(trace))


def _told(label: Iterable[object]) -> str:
    return " ".join(map(str, label))


def explore(
    graphs: Iterable[Shape], scope: Scope, bug: Bug | None = None, limit: int | None = None
) -> tuple[int, Result | None]:
    """Search graph after graph: the states seen in all, and the first result with a violation."""
    states = 0
    for shape in graphs:
        result = Search(shape, scope, bug).run(limit)
        states += result.states
        if result.violation is not None:
            return states, result
    return states, None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2, help="size of the graphs (default: 2)")
    parser.add_argument(
        "--limit", type=int, help="most states a graph; beyond it a graph counts as cut short"
    )
    parser.add_argument("--seconds", type=float, help="begin no further graph after this time")
    parser.add_argument("--every", type=int, default=1, help="explore every n-th graph only")
    parser.add_argument("--bug", choices=[bug.name for bug in Bug], help="build a mistake in")
    for option in fields(Scope):
        flag = "--" + option.name.replace("_", "-")
        if isinstance(option.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=option.default)
        else:
            parser.add_argument(flag, type=int, default=option.default)
    given = parser.parse_args(arguments)
    scope = replace(Scope(), **{option.name: getattr(given, option.name) for option in fields(Scope)})
    bug = Bug[given.bug] if given.bug else None
    started, states, steps, graphs, cut = time.monotonic(), 0, 0, 0, 0
    for index, shape in enumerate(shapes(given.nodes)):
        if index % given.every:
            continue
        if given.seconds is not None and time.monotonic() - started > given.seconds:
            print("out of time: not every graph was explored")
            break
        result = Search(shape, scope, bug).run(given.limit)
        states, steps, graphs = states + result.states, steps + result.steps, graphs + 1
        cut += not result.complete
        print(f"{time.monotonic() - started:8.1f} s {result.states:9} states  {shape}", flush=True)
        if result.violation is not None:
            print(result.violation)
            return 1
    print(f"{graphs} graphs ({cut} cut short), {states} distinct states, {steps} steps: nothing violated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
