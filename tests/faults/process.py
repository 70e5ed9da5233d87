"""One worker or ingestor in one state of the world, and what the world is after its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from myspinbot_worker.graph.plan import State

from .bugs import Bug, Statement
from .ground import Ground, sorted_crew, still_meant
from .state import ENTRIES, Action, Crew, Do, Step, Todo, World


@dataclass(slots=True)
class Process:
    """The process at ``place`` among its kind."""

    ground: Ground
    world: World
    place: int
    ingests: bool

    def __str__(self) -> str:
        """Processes of a kind are told apart by what they have in hand."""
        kind, one = ("ingestor", "an ingestor") if self.ingests else ("worker", "a worker")
        todo = (self.world.ingestors if self.ingests else self.world.workers)[self.place]
        match todo[0] if todo else None:
            case None:
                return f"an idle {kind}"
            case (Do.TAKE | Do.REJECT | Do.CONCLUDE, entry, *_):
                return f"{one} with {ENTRIES[entry]} in hand"
            case (Do.HOLD, _, node, _, newest, *_):
                return f"{one} {'holding' if newest else 'that lost'} node {node}"
            case _:
                return f"the {kind}"

    def then(self, todo: Todo, world: World | None = None) -> World:
        """The world when this process has ``todo`` left; the run is as it was."""
        world = world or self.world
        if self.ingests:
            return world._replace(ingestors=self._crew(world.ingestors, todo))
        return world._replace(workers=self._crew(world.workers, todo))

    def _crew(self, crew: Crew, todo: Todo) -> Crew:
        return sorted_crew((*crew[: self.place], todo, *crew[self.place + 1 :]))

    def with_run(
        self,
        todo: Todo,
        run: int,
        *,
        entry: int | None = None,
        superseded: tuple[int, ...] = (),
        renumbered: tuple[int, ...] = (),
    ) -> World:
        """The world when this process has ``todo`` left and the run is another (see :meth:`.Ground.changed`)."""
        world, ground, place = self.world, self.ground, self.place
        workers, ingestors = world.workers, world.ingestors
        if self.ingests:
            ingestors = (*ingestors[:place], *ingestors[place + 1 :])
        else:
            workers = (*workers[:place], *workers[place + 1 :])
        entry = world.entry if entry is None else entry
        after = ground.changed(
            world, run, workers, ingestors, entry=entry, superseded=superseded, renumbered=renumbered
        )
        # What it means to do from now on is about the run as it is now.
        todo = still_meant(todo, ground.views[run].ready if run >= 0 else frozenset(), entry)
        if self.ingests:
            return after._replace(ingestors=sorted_crew((*after.ingestors, todo)))
        return after._replace(workers=sorted_crew((*after.workers, todo)))

    def claim(self, node: int, how: int, rest: Todo, *, fresh: bool) -> Iterator[Step]:
        """Start a node; nothing if it is refused, for then only its message is gone, which is loss.

        Args:
            fresh: By the message of the node's next start; else by one of an earlier start.
        """
        world, ground, bug = self.world, self.ground, self.ground.bug
        view = ground.views[world.run]
        running = view.states[node] is State.RUNNING
        lease_out = running and bug is not Bug.CLAIM_LEASED
        answer, run = ground.runs.claim(world.run, node, fresh=fresh, lease_out=lease_out)
        if answer != "ok":
            return
        keeps_number = (bug is Bug.CLAIM_STALE and not fresh) or (bug is Bug.EXPIRE_UNFENCED and not running)
        hold: Action = (Do.HOLD, world.entry, node, 1, 1, how, 0)
        broken = ground.publishing(world, world.entry, max(world.published, view.progress))
        if node in view.blocked:
            broken = Statement.STARTING, f"node {node} started though it has ended or waits for another"
        elif running and not lease_out:
            broken = Statement.STARTING, f"node {node} started again under a lease that is alive"
        renumbered = () if keeps_number else (node,)
        after = self.with_run((hold, *rest), run, superseded=(node,), renumbered=renumbered)
        message = "its message" if fresh else "an earlier message"
        yield Step((self, "claims node", node, "by", message), after, fair=fresh, broken=broken)
