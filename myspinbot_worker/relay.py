"""From one message to the next in one round trip: the result recorded, the message acknowledged, another taken.

What was taken goes to Dramatiq's work queue in the slot of the message before it, its node claimed and its attempt
begun already, so that no thread of ours waits for another. A reply may be lost after Redis did all this; then the same
is asked again, and what this process has taken and does not have in hand is given again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import dramatiq
from dramatiq.broker import MessageProxy

from .broker import FarmBroker
from .consumer import MESSAGE_ID, Delivered
from .farm import Farm
from .graph.affinity import HEAD_ONLY, Bounds
from .graph.plan import State
from .graph.transitions import Charge, Claim, Result, Settled, Taken, Taking
from .running import Running

log = logging.getLogger(__name__)

T = TypeVar("T")

_PASSED_OVER_MS = 60_000
"""How long the head of a queue may wait while workers take what their models are loaded for."""


class Relay:
    """See the module.

    Args:
        worker: To whose work queue messages go.
        name: Of this process, as a holder of leases.
        ready: How many nodes of a queue could begin at once.
        begin: Begins with a node that was claimed, in the lane of the attempt before it or in a free one, if it can.
    """

    def __init__(
        self,
        farm: Farm,
        worker: dramatiq.Worker,
        name: str,
        ready: Callable[[str], int],
        begin: Callable[[Claim, str, Running | None], Running | None],
    ) -> None:
        self._store = farm.store
        self._farm = farm
        self._broker: FarmBroker = farm.broker
        self._worker = worker
        self._name = name
        self._ready = ready
        self._begin = begin
        self._ahead = 0
        """Messages that came with a claim and have no lane yet."""
        self._bounds = Bounds(farm.settings.farm.affinity_window, _PASSED_OVER_MS)
        self._warm: dict[str, str] = {}
        """Per queue, the service of the last message taken: what is loaded by the time of the next."""
        self._broker.give_back = self.give_back
        self._broker.take_claimed = self.first

    def advance(
        self,
        message: Delivered,
        claim: Claim,
        result: Result,
        patiently: Callable[[Callable[[], Settled]], Settled],
        *,
        another: bool,
    ) -> Settled:
        """Record a result, acknowledge its message, and take the next one if ``another`` is wanted.

        Args:
            patiently: Calls until it is done, and returns what came of it.
        """

        def ask(taking: Taking) -> tuple[Settled, Taken | None]:
            return self._store.advance(claim.ref, claim.token, result, taking, self._farm.taking_client)

        return self._relayed(message, ask, patiently, another=another)

    def first(self, queue: str, again: bool) -> tuple[bool, Delivered | None]:
        """Take a queue's next message for a free slot and claim its node, if it can begin at once.

        Args:
            again: Asked before, and the reply was lost.

        Returns:
            Whether the queue was looked at, and the message.
        """
        # Starting a runner must take nothing from the lease.
        ready = self._ready(queue) > self._ahead
        if not (ready or again):
            return False, None
        broker = self._broker
        with broker.taking:
            held = tuple(broker.held[queue])
            asking = self._asking(queue, "", another=ready, again=again, held=held)
            taken = self._store.take(asking, self._farm.taking_client)
            message = self._in_hand(queue, taken) if taken else None
        if message is not None:
            self._begin_or_return(message, None)
        return ready, message

    def begun(self, message: MessageProxy) -> None:
        """A message that came with a claim has a lane now, or will have none."""
        with self._broker.taking:
            if not isinstance(message, Delivered):
                return
            if message.ahead:
                message.ahead = False
                self._ahead -= 1
            else:
                self._warm[message.queue_name] = message.actor_name

    def _relayed(
        self,
        message: Delivered,
        ask: Callable[[Taking], tuple[T, Taken | None]],
        patiently: Callable[[Callable[[], T]], T],
        *,
        another: bool,
    ) -> T:
        queue, done, again = message.queue_name, message.options[MESSAGE_ID], False

        def step() -> T:
            nonlocal again
            with self._broker.taking:
                held = tuple(self._broker.held[queue])
                asked, again = again, True
                answer, taken = ask(self._asking(queue, done, another=another, again=asked, held=held))
                message.acknowledged = True
                following = self._in_hand(queue, taken) if taken else None
            if following is not None:
                self._deliver(message, following)
            return answer

        with self._broker.relaying():
            return patiently(step)

    def _asking(self, queue: str, done: str, *, another: bool, again: bool, held: tuple[str, ...]) -> Taking:
        bounds = self._bounds if queue == "gpu" else HEAD_ONLY
        warm = self._warm.get(queue, "")
        return Taking(queue, self._broker.broker_id, self._name, done, another, again, held, warm, bounds)

    def _in_hand(self, queue: str, taken: Taken) -> Delivered | None:
        following = Delivered(dramatiq.Message.decode(taken.message.encode()), taken.answer)
        message_id = following.options[MESSAGE_ID]
        if message_id in self._broker.held[queue]:
            # Others took this process for dead and queued again what it works on.
            log.warning("message %s came again while it is in hand; it is passed over", message_id)
            return None
        self._broker.held[queue].add(message_id)
        self._warm[queue] = following.actor_name
        following.ahead = True
        self._ahead += 1
        return following

    def _deliver(self, message: Delivered, following: Delivered) -> None:
        self._begin_or_return(following, message.running)
        self._broker.slots.pass_on(id(message), id(following))
        message.followed = True
        self._worker.consumers[following.queue_name].handle_message(following)

    def _begin_or_return(self, message: Delivered, before: Running | None) -> None:
        claim = message.answer
        if not isinstance(claim, Claim):
            return
        if message.actor_name not in self._broker.actors:
            # A farm of several versions: another worker may know it. Dramatiq sets the message aside.
            self.give_back(claim, self._store.limits.message_check_ms)
            self.begun(message)
            return
        message.running = self._begin(claim, message.queue_name, before)
        if message.running is not None:
            self.begun(message)

    def give_back(self, claim: Claim, delay_ms: int = 0) -> None:
        """Let others start a node that was claimed with its message and that nobody began to work on."""
        self._store.settle(
            claim.ref, claim.token, State.READY, delay_ms=delay_ms, charge=Charge.NOTHING, first=True
        )
