"""What an idle worker or ingestor may begin with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from .bugs import Bug
from .process import Process
from .state import ENTRIES, NEW, PENDING, Action, Do, How, Step, Todo, replaced


class Idle(Process):
    """A process that has nothing to do."""

    __slots__ = ()

    def fetch(self) -> Iterator[Step]:
        """A worker takes a message and claims its node.

        As one step: a message taken but not yet acknowledged still exists for everybody else (it is taken back
        from the dead, and ``missing`` finds it), so when it was taken makes no difference to anything. A claim
        that is refused is acknowledged and changes nothing but the message, again one step.
        """
        world, ground = self.world, self.ground
        if world.run < 0:
            return
        view = ground.views[world.run]
        for node in view.ready:
            if world.messages & 1 << node and ground.known[node]:
                yield from self.claim(node, How.WORKER, (), fresh=True)
        # Delivered again, or late: a message of a start that was.
        for node in range(len(view.states)):
            if view.started[node] and ground.known[node]:
                yield from self.claim(node, How.WORKER, (), fresh=False)

    def look(self) -> Iterator[Step]:
        """An ingestor reads an entry, or its reconciler looks for something that a crash left open."""
        world, ground, bug = self.world, self.ground, self.ground.bug
        for entry, status in enumerate(world.entries):
            if status == NEW:
                entries = replaced(world.entries, entry, PENDING)
                label: tuple[object, ...] = (self, "reads", ENTRIES[entry])
                yield Step(label, self.then(((Do.TAKE, entry),), world._replace(entries=entries)))
                break  # a stream is read in order
        for entry, status in enumerate(world.entries):
            if status == PENDING and entry != world.entry and bug is not Bug.NO_ADOPTION:
                yield Step((self, "adopts", ENTRIES[entry]), self.then(((Do.TAKE, entry),)))
        if world.run < 0:
            return
        view = ground.views[world.run]
        if view.over and bug is not Bug.SKIP_OVER:
            yield Step((self, "finds the run over"), self.then(((Do.READ,),)))
        for node in view.ready:
            if (
                bug is not Bug.NO_OUTBOX
                and not world.messages & 1 << node
                and not self._meant((Do.SEND, node))
            ):
                # As one step: `due` and `missing`. What changes between them makes the send a stale one. If
                # another process is about to send it, a second intent adds nothing that looking later does not.
                label = (self, "finds no message of node", node)
                yield Step(label, self.then(((Do.SEND, node),)))
        for count in range(1, len(view.running) + 1):
            for nodes in combinations(view.running, count):
                if bug is not Bug.NO_EXPIRY:
                    yield self._expire(nodes)

    def _expire(self, nodes: tuple[int, ...]) -> Step:
        run, again, lost = self.ground.runs.expire(self.world.run, nodes)
        todo: Todo = (
            *((Do.SEND, node) for node in again),
            *((Do.HOLD, self.world.entry, node, 1, 1, How.AFTER_LOSS, 0) for node in lost),
        )
        after = self.with_run(todo, run, superseded=nodes, renumbered=lost)
        return Step((self, "expires nodes", *nodes), after, fair=not any(map(self._held, nodes)))

    def _meant(self, action: Action) -> bool:
        """Whether some process is about to do this."""
        return any(action in todo for crew in (self.world.workers, self.world.ingestors) for todo in crew)

    def _held(self, node: int) -> bool:
        """Whether a live process holds the node and would keep its lease."""
        return any(
            action[0] == Do.HOLD and action[1] == self.world.entry and action[2] == node and action[4]
            for crew in (self.world.workers, self.world.ingestors)
            for todo in crew
            for action in todo
        )
