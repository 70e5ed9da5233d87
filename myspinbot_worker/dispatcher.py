"""What happens after a transition: messages for ready nodes, the ending of a run that is over.

Used by the ingestor (after admission and in reconciliation) and by the workers (after a node ended). Nothing
here needs to happen exactly once: a message sent twice is refused by ``claim``, a conclusion tried twice by
``conclude``, and what a crash leaves undone is found by the reconciler.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import dramatiq

from .broker import FarmBroker
from .consumer import MESSAGE_ID
from .errors import UnknownService
from .graph.ending import Ending, Handoff, end_visit
from .graph.plan import State
from .graph.store import RunStore
from .graph.transitions import Claim, ReadyNode
from .litter import litter_of

log = logging.getLogger(__name__)


def node_message(node: ReadyNode, queue: str) -> dramatiq.Message[Any]:
    """The Dramatiq message that starts a node; its id is the same whoever sends it."""
    message_id = node.ref.message_id(node.token)
    return dramatiq.Message(
        queue_name=queue,
        actor_name=node.service,
        args=(str(node.ref), node.token, node.node_id),
        kwargs={},
        options={MESSAGE_ID: message_id},
        message_id=message_id,
    )


class Dispatcher:
    """Sends ready nodes to their queues and concludes runs.

    Args:
        route: Service id to queue name, ``None`` for a service the farm does not have.
        worker: Name under which this process settles nodes that cannot be sent.
        on_conclude: Told of every run this process concluded, and how long (s) after it was cancelled, if it was.
    """

    def __init__(
        self,
        store: RunStore,
        broker: FarmBroker,
        route: Callable[[str], str | None],
        handoff: Handoff,
        worker: str,
        on_conclude: Callable[[Ending, float | None], None] = lambda ending, cancelled: None,
    ) -> None:
        self.store = store
        self.broker = broker
        self.route = route
        self.handoff = handoff
        self.worker = worker
        self.on_conclude = on_conclude

    def send(self, nodes: Iterable[ReadyNode], *, first: bool = False) -> None:
        """Send each node's message unless the transition did; a node of an unknown service fails here.

        Args:
            first: Put them before what waits: they lost their worker, and have waited their turn.
        """
        pending = [node for node in nodes if not node.sent]
        while pending:
            messages = []
            failed: list[ReadyNode] = []
            for node in pending:
                queue = self.route(node.service)
                if queue is None:
                    failed.append(node)
                else:
                    messages.append(node_message(node, queue))
            if first:
                self.broker.enqueue_first(messages)
            else:
                self.broker.enqueue_all(messages)
            pending = []
            for node in failed:
                error = UnknownService(f"no capability of this farm serves {node.service!r}")
                pending += (after for after in self.fail(node, error.code, error.message) if not after.sent)

    def fail(self, node: ReadyNode, code: str, message: str) -> tuple[ReadyNode, ...]:
        """Fail a ready node without running it; the nodes that became ready by it."""
        claim = self.store.claim(node.ref, node.token, self.worker)
        if not isinstance(claim, Claim):
            return ()
        return self.record_failure(node, claim.token, code, message)

    def record_failure(self, node: ReadyNode, token: int, code: str, message: str) -> tuple[ReadyNode, ...]:
        """Record a node that this process holds as failed; the nodes that became ready by it."""
        log.warning(
            "node %s (%s) of job %s failed: %s: %s", node.node_id, node.service, node.ref.job, code, message
        )
        settled = self.store.settle(
            node.ref,
            token,
            State.FAILED,
            json.dumps(
                {"message": message, "code": code, "details": {"attempt": token, "worker": self.worker}}
            ),
        )
        if settled.over:
            self.conclude(node.ref.job)
        return settled.ready

    def resend_missing(self, nodes: Iterable[ReadyNode]) -> int:
        """Send the messages that do not exist; how many were sent."""
        routed = [(node, self.route(node.service)) for node in nodes]
        known = [(node, queue) for node, queue in routed if queue is not None]
        gone = (
            self.broker.missing([(queue, node.ref.message_id(node.token)) for node, queue in known])
            if known
            else []
        )
        lost = [node for (node, _), missing in zip(known, gone, strict=True) if missing]
        lost += [node for node, queue in routed if queue is None]
        self.send(lost)
        return len(lost)

    def conclude(self, job: str) -> bool:
        """Conclude a job's run if it is over; whether this call did it."""
        keys, client = self.store.keys, self.store.client
        with client.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.run(job))
            pipe.hgetall(keys.payload(job))
            pipe.get(keys.graph(job))
            run, payloads, graph = pipe.execute()
        if run.get("over") != "1":
            return False
        ending = end_visit(graph, run, payloads, self.handoff)
        done = self.store.conclude(
            job,
            run["entry"],
            verdict=ending.verdict,
            graph=ending.graph,
            hand_back=ending.hand_back,
            last_progress=ending.last_progress,
            last_status=ending.last_status,
            reason=ending.reason,
            queued=ending.queued,
            litter=litter_of(job, run["entry"], ending.unrecorded),
        )
        if done:
            log.info("job %s: %s %s", job, ending.verdict, " ".join(ending.reason.split()))
            self.on_conclude(ending, done.cancelled_seconds)
        return done is not None
