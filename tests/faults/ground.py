"""What the steps of all processes stand on: the graph, its runs, and what a changed run makes void."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from myspinbot_worker.graph.plan import OPEN, State, propagate_skips, unsatisfied

from .bugs import Bug, Statement
from .runs import Runs, View
from .shapes import Shape
from .state import Action, Crew, Do, Todo, World, visit_of

EPSILON = 1e-9

Broken = tuple[Statement, str] | None


@dataclass(frozen=True, slots=True)
class Scope:
    """How much of the world is explored.

    Attributes:
        doubles: Whether one of the entries may come twice.
        cancels: Whether the job may be cancelled.
        fractions: Whether workers report progress within a node.
        unanswered: Whether the answer of a settle or conclude may get lost after it was done.
        crashes: Whether processes may crash: any of them, at any moment, any number of times.
        returns: Whether a worker that stops may give back what it runs.
    """

    workers: int = 2
    ingestors: int = 2
    doubles: bool = True
    cancels: bool = True
    fractions: bool = True
    unanswered: bool = True
    crashes: bool = True
    returns: bool = True
    keep_going: bool = False


class Ground:
    """The graph, its runs, and worlds with a changed run."""

    def __init__(self, shape: Shape, scope: Scope, bug: Bug | None = None) -> None:
        self.shape, self.scope, self.bug = shape, scope, bug
        self.plan = shape.plan()
        self.runs = Runs(self.plan, keep_going=scope.keep_going, bug=bug)
        self.views = self.runs.views
        self.known = [kind != "unknown" for kind in shape.nodes]
        self._bits = [1 << index for index in range(len(shape.nodes))]
        self._arrivals = [tuple(State.WAITING for _ in shape.nodes)]

    def arrival(self, world: World, visit: int) -> tuple[State, ...]:
        """In which states the nodes come."""
        return self._arrivals[world.second if visit else 0]

    def second_visit(self, view: View) -> int:
        """The number of the states in which a handed-back graph comes again; 0: the control plane keeps it."""
        states = [State.WAITING if state in OPEN else state for state in view.states]
        for index in self.plan.order:
            node = self.plan.nodes[index]
            if not node.ours and states[index] is State.WAITING and not unsatisfied(self.plan, states, index):
                states[index] = State.COMPLETED
        left = propagate_skips(self.plan, states)
        if not any(node.ours and left[node.index] is State.WAITING for node in self.plan.nodes):
            return 0
        arrival = tuple(states)
        if arrival not in self._arrivals:
            self._arrivals.append(arrival)
        return self._arrivals.index(arrival)

    def changed(
        self,
        world: World,
        run: int,
        workers: Crew,
        ingestors: Crew,
        *,
        entry: int,
        superseded: tuple[int, ...] = (),
        renumbered: tuple[int, ...] = (),
    ) -> World:
        """The world with another run, without what can have no effect any more.

        A message of an earlier start needs no memory: messages may be delivered again at any later time, so
        one of a node that was ever started can always come (:meth:`.process.Process.fetch`). What remains of
        messages, and of intents to send one, is about nodes that are ready now.

        Args:
            superseded: Nodes whose holder, if any, is not the newest any more.
            renumbered: Nodes of these whose token grew, too.
        """
        ready = self.views[run].ready if run >= 0 else frozenset()
        messages = world.messages
        if messages:
            messages = sum(bit for index, bit in enumerate(self._bits) if messages & bit and index in ready)
        return World(
            world.entries,
            entry,
            run,
            messages,
            world.seen,
            world.closed,
            world.second,
            world.published,
            sorted_crew(still_meant(todo, ready, entry, superseded, renumbered) for todo in workers),
            sorted_crew(still_meant(todo, ready, entry, superseded, renumbered) for todo in ingestors),
        )

    def publishing(self, world: World, entry: int, progress: float) -> Broken:
        """What is wrong with publishing for this entry now, when the job's progress is ``progress``."""
        visit = visit_of(entry)
        if world.closed & 1 << visit:
            return Statement.SILENCE, f"published for visit {visit + 1} after its end"
        if progress < world.published - EPSILON:
            return Statement.PROGRESS, f"progress fell from {world.published:.3f} to {progress:.3f}"
        if progress > 1 + EPSILON:
            return Statement.PROGRESS, f"progress is {progress}"
        return None


def sorted_crew(todos: Iterable[Todo]) -> Crew:
    return tuple(sorted(todos))


def still_meant(
    todo: Todo,
    ready: frozenset[int],
    entry: int,
    superseded: tuple[int, ...] = (),
    renumbered: tuple[int, ...] = (),
) -> Todo:
    """What a process still means to do, now that the run is another."""
    if not todo:
        return todo
    kept: list[Action] = []
    for action in todo:
        match action[0]:
            case Do.SEND if action[1] not in ready:
                continue
            case Do.CONCLUDE if action[1] != entry:
                # What was read is of no use any more.
                kept.append((Do.CONCLUDE, action[1], 0))
            case Do.HOLD if action[1] != entry:
                # All that is left to hear is that the run is gone.
                kept.append((Do.HOLD, action[1], 0, 0, 0, action[5], int(action[6] == 1)))
            case Do.HOLD if action[2] in superseded:
                current = 0 if action[2] in renumbered else action[3]
                kept.append((Do.HOLD, entry, action[2], current, 0, *action[5:]))
            case _:
                kept.append(action)
    return tuple(kept)
