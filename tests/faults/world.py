"""The small world: one job, its graph and entries, workers and ingestors, the control plane, a bad network.

Every process does one Redis step at a time and may vanish between any two, any number of times. What the
scripts do is :mod:`myspinbot_worker.graph.machine`; what processes do around them (:mod:`.idle`, :mod:`.busy`) follows
``ingestor.py``, ``completion.py``, ``dispatcher.py`` and ``reconciler.py`` step by step.
"""

from __future__ import annotations

from collections.abc import Iterator

from .bugs import Bug
from .busy import Busy
from .ground import Ground, Scope
from .idle import Idle
from .shapes import Shape
from .state import ABSENT, NEW, Crew, Step, World


class Steps:
    """The steps out of each state of the world of one graph."""

    def __init__(self, shape: Shape, scope: Scope, bug: Bug | None = None) -> None:
        self.scope = scope
        self.ground = Ground(shape, scope, bug)

    def first(self) -> list[World]:
        """The world when the job's first entry, single or double, is in the stream."""
        workers: Crew = ((),) * self.scope.workers
        ingestors: Crew = ((),) * self.scope.ingestors
        return [
            World((NEW, double, ABSENT, ABSENT), -1, -1, 0, 0, 0, 0, 0.0, workers, ingestors)
            for double in ((ABSENT, NEW) if self.scope.doubles else (ABSENT,))
        ]

    def out_of(self, world: World) -> Iterator[Step]:
        """Every step that can be taken."""
        yield from self._environment(world)
        for crew, ingests in ((world.workers, False), (world.ingestors, True)):
            for place, todo in enumerate(crew):
                if place and todo == crew[place - 1]:
                    continue  # which of two like processes makes the step does not matter
                if todo:
                    busy = Busy(self.ground, world, place, ingests)
                    if self.scope.crashes:
                        yield Step((busy, "crashes"), busy.then(()), fair=False)
                    yield from busy.go_on(todo[0], todo[1:])
                elif ingests:
                    yield from Idle(self.ground, world, place, ingests).look()
                else:
                    yield from Idle(self.ground, world, place, ingests).fetch()

    def _environment(self, world: World) -> Iterator[Step]:
        """The control plane, whoever cancels, and the network."""
        ground = self.ground
        if world.second and world.entries[2] == ABSENT:
            label = ("the control plane sends the second visit",)
            yield Step(label, world._replace(entries=(*world.entries[:2], NEW, ABSENT)))
            if self.scope.doubles and world.entries[1] == ABSENT:
                twice = world._replace(entries=(*world.entries[:2], NEW, NEW))
                yield Step((*label, "twice"), twice, fair=False)
        if world.run < 0:
            return
        view = ground.views[world.run]
        if self.scope.cancels and not view.over and not view.cancelled:
            run = ground.runs.cancel(world.run)
            after = ground.changed(world, run, world.workers, world.ingestors, entry=world.entry)
            yield Step(("the job is cancelled",), after, fair=False)
        for node in view.ready:
            if world.messages & 1 << node:
                label = (f"the message of node {node} is lost",)
                yield Step(label, world._replace(messages=world.messages & ~(1 << node)), fair=False)
