"""The next step of a process that has something to do, in the order in which the code does it.

Sending is a step of its own here, as it is in reconciliation, and so are fetching and claiming. ``admit`` and
``settle`` send what they make ready at once, and a worker fetches and claims at once, often with a result's recording:
these are ways through the same states that nobody can come between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from myspinbot_worker.graph.plan import OPEN, State, Verdict
from myspinbot_worker.graph.transitions import Charge

from .bugs import Bug, Statement
from .ground import EPSILON, Broken
from .process import Process
from .runs import MOST_FAILED, MOST_LOST
from .state import ABSENT, DONE, ENTRIES, OUTCOMES, PENDING, Action, Do, How, Step, Todo, replaced, visit_of

_FINE: Broken = None
_NONE: tuple[int, ...] = ()


class Busy(Process):
    """A process with something to do."""

    __slots__ = ()

    def go_on(self, action: Action, rest: Todo) -> Iterator[Step]:
        match action[0]:
            case Do.TAKE:
                yield self._take(action[1], rest)
            case Do.REJECT:
                yield self._reject(action[1], rest)
            case Do.SEND:
                yield from self._send(action[1], rest)
            case Do.READ:
                world = self.world
                over = world.run >= 0 and self.ground.views[world.run].over
                todo: Todo = ((Do.CONCLUDE, world.entry, world.run), *rest) if over else rest
                yield Step((self, "reads the run"), self.then(todo))
            case Do.CONCLUDE:
                yield from self._conclude(action[1], action[2], rest)
            case _:
                yield from self._hold(action, rest)

    def _take(self, entry: int, rest: Todo) -> Step:
        """``admit``, and the answer to each of its replies."""
        world, ground, bug = self.world, self.ground, self.ground.bug
        label: tuple[object, ...] = (self, "admits", ENTRIES[entry])
        visit = visit_of(entry)
        if world.entries[entry] != PENDING and bug is not Bug.NOT_PENDING:
            return Step(label, self.then(rest))
        if world.entry == entry:
            return Step(label, self.then(rest))
        if world.entry >= 0 and visit_of(world.entry) != visit:
            return Step((*label, "(busy)"), self.then(rest))
        remembered = world.seen & 1 << visit and bug is not Bug.ADMIT_TWICE
        if world.entry >= 0 or remembered:
            return Step((*label, "(duplicate)"), self.then(((Do.REJECT, entry), *rest)))
        run, ready = ground.runs.admit(ground.arrival(world, visit))
        todo: Todo = (*((Do.SEND, node) for node in ready), *rest) if ready else ((Do.READ,), *rest)
        # `queued` is published.
        broken = ground.publishing(world, entry, max(world.published, ground.views[run].progress))
        if world.entries[entry] == DONE:
            broken = Statement.ENDING, "an entry is admitted after its terminal act"
        return Step(label, self.with_run(todo, run, entry=entry), broken=broken)

    def _reject(self, entry: int, rest: Todo) -> Step:
        entries, broken = self.world.entries, _FINE
        if entries[entry] == PENDING:
            entries = replaced(entries, entry, DONE)
        elif self.ground.bug is Bug.NOT_PENDING:
            broken = Statement.ENDING, "a second terminal act of one entry"
        after = self.then(rest, self.world._replace(entries=entries))
        return Step((self, "sets aside", ENTRIES[entry]), after, broken=broken)

    def _send(self, node: int, rest: Todo) -> Iterator[Step]:
        if not self.ground.known[node]:
            # No capability serves it: it is started and failed on the spot.
            yield from self.claim(node, How.INSTEAD_OF_SEND, rest, fresh=True)
            return
        world = self.world._replace(messages=self.world.messages | 1 << node)
        yield Step((self, "sends the message of node", node), self.then(rest, world))

    def _hold(self, action: Action, rest: Todo) -> Iterator[Step]:
        """A node this process started: progress, and every way to end."""
        _, entry, node, _, newest, how, unanswered = action
        world, ground = self.world, self.ground
        if how != How.WORKER:
            outcomes: Sequence[tuple[State, Charge]] = OUTCOMES[1:2]
        elif unanswered:
            outcomes = (OUTCOMES[unanswered - 1],)
        elif entry != world.entry or not newest:
            outcomes = OUTCOMES[:1]  # refused whatever it is
        else:
            view = ground.views[world.run]
            spent = {
                Charge.ATTEMPT: view.failed[node] + 1 >= MOST_FAILED,
                Charge.LOST_WORKER: view.lost[node] + 1 >= MOST_LOST,
                Charge.NOTHING: not ground.scope.returns,
            }
            outcomes = tuple(
                (state, charge) for state, charge in OUTCOMES if state is not State.READY or not spent[charge]
            )
        if how == How.WORKER and not unanswered and ground.scope.fractions:
            yield from self._renew(action, rest)
        for outcome in outcomes:
            yield from self._settle(action, rest, outcome)

    def _renew(self, action: Action, rest: Todo) -> Iterator[Step]:
        _, entry, node, current, _, _, _ = action
        world, ground = self.world, self.ground
        label = (self, "reports progress of node", node)
        if ground.bug is Bug.LATE_PUBLISH and entry != world.entry:
            yield Step(label, world, broken=ground.publishing(world, entry, world.published))
        if entry != world.entry:
            return
        answer, run = ground.runs.renew(world.run, node, newest=bool(current))
        if answer != "lost" and run != world.run:
            progress = ground.views[run].progress
            after = self.with_run((action, *rest), run)._replace(published=progress)
            yield Step(label, after, broken=ground.publishing(world, entry, progress))

    def _settle(self, action: Action, rest: Todo, how_ended: tuple[State, Charge]) -> Iterator[Step]:
        _, entry, node, current, newest, how, unanswered = action
        outcome, charge = how_ended
        world, ground = self.world, self.ground
        label: tuple[object, ...] = (self, "settles node", node, "as", outcome.name.lower())
        if outcome is State.READY:
            label += ("charging", charge.name.lower().replace("_", " "))
        if entry != world.entry:
            answer, run, ready = "gone", world.run, _NONE
        else:
            answer, run, ready = ground.runs.settle(world.run, node, how_ended, newest=bool(current))
        if answer != "ok":
            todo: Todo = rest
            if answer == "already" and ground.views[run].over:
                todo = ((Do.READ,), *rest)
            yield Step(
                (*label, f"({answer})"), self.then(todo), broken=self._forgetting(answer, outcome, unanswered)
            )
            return
        view = ground.views[run]
        sends: Todo = tuple((Do.SEND, index) for index in ready)
        over: Todo = ((Do.READ,),) if view.over else ()
        todo = (*over, *rest, *sends) if how == How.INSTEAD_OF_SEND else (*over, *sends, *rest)
        broken = ground.publishing(world, entry, view.progress)
        if not newest:
            broken = Statement.RECORDING, f"node {node} recorded by a holder that is not the newest"
        if all(state not in OPEN for state in view.states) and view.progress < 1 - EPSILON:
            broken = Statement.PROGRESS, f"the whole graph is done and progress is {view.progress}"
        after = self.with_run(todo, run)._replace(published=view.progress)
        yield Step(label, after, broken=broken)
        if how == How.WORKER and ground.scope.unanswered:
            # Done, but the worker does not know: it will ask again. Of a retry it will hear what one hears who
            # lost the node.
            again: Action = (*action[:6], 1 + OUTCOMES.index(how_ended))
            if outcome is State.READY:
                again = (*action[:4], 0, how, 0)
            after = self.with_run((again, *rest), run)._replace(published=view.progress)
            yield Step((*label, "and gets no answer"), after, fair=False)

    def _forgetting(self, answer: str, outcome: State, unanswered: int) -> Broken:
        """A worker removes the objects of an attempt whose result was refused."""
        if answer == "already" or not unanswered or outcome is not State.COMPLETED:
            return None
        if answer == "gone" and self.ground.bug is not Bug.FORGET_ON_GONE:
            return None
        return Statement.RECORDING, "the objects that a recorded result names are removed"

    def _conclude(self, entry: int, run: int, rest: Todo) -> Iterator[Step]:
        """``conclude`` with what was read before."""
        world, ground, bug = self.world, self.ground, self.ground.bug
        label = (self, "concludes", ENTRIES[entry])
        still = world.entry == entry and world.run >= 0 and ground.views[world.run].over
        if not still and bug is not Bug.CONCLUDE_TWICE:
            yield Step(label, self.then(rest))
            return
        view, visit = ground.views[run], visit_of(entry)
        done = view.verdict in (Verdict.COMPLETED, Verdict.COMPLETED_WITH_SKIPS)
        progress = 1.0 if done else world.published
        broken = ground.publishing(world, entry, progress)
        if world.entries[entry] == DONE:
            broken = Statement.ENDING, "a second terminal act of one entry"
        elif bug is Bug.ACK_FIRST:
            broken = Statement.ENDING, "acknowledged before the terminal act"
        elif still and run != world.run:
            broken = Statement.ENDING, "what is handed back is not how the run ended"
        seen = 1 << visit if bug is Bug.SEEN_ONE else world.seen | 1 << visit
        second = world.second
        if view.verdict is Verdict.HAND_BACK and visit == 0 and world.entries[2] == ABSENT:
            second = ground.second_visit(view)
        after = self.with_run(rest, -1, entry=-1)._replace(
            entries=replaced(world.entries, entry, DONE),
            seen=seen,
            closed=world.closed | 1 << visit,
            second=second,
            published=progress,
        )
        yield Step(label, after, broken=broken)
