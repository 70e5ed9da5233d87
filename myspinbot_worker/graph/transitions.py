"""What the transitions of a run take and return, as values; :mod:`.store` performs them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..keys import NodeRef
from .affinity import HEAD_ONLY, Bounds
from .document import Document
from .plan import Plan, State


@dataclass(frozen=True, slots=True)
class StreamNames:
    """Where entries come from, where graphs go back to, and our consumer group."""

    data: str = "process:data"
    control: str = "process:control"
    group: str = "workers"


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers the transitions need.

    Attributes:
        lease_ms: How long a started node belongs to its worker without a sign of life.
        message_check_ms: When to look whether a ready node's message really exists.
        max_lost_attempts: After how many lost workers a node fails.
        max_open_runs: How many runs may be open at one time.
        elsewhere_ms: How long a node that ran out of memory is left to other workers.
        job_ttl_seconds: Lifetime of ``job:<id>``.
        dead_letters_kept, history_kept: Caps of the two record streams.
    """

    lease_ms: int = 30_000
    message_check_ms: int = 5_000
    max_lost_attempts: int = 3
    max_open_runs: int = 1_000_000
    elsewhere_ms: int = 30_000
    job_ttl_seconds: int = 43_200
    dead_letters_kept: int = 10_000
    history_kept: int = 10_000


class Charge(StrEnum):
    """What a start that did not complete costs its node; the values name counters of the run hash."""

    ATTEMPT = "a"
    LOST_WORKER = "x"
    NOTHING = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """The farm's books at one moment; numbers of entries of the data stream.

    Attributes:
        added: Ever written; ``None`` where Redis does not count them (before 7.0).
        before: Of these, dealt with before the books were opened; ``None`` if they never were.
        unread, pending: Not read by the group yet; read and not ended.
        open: Runs there are.
        admitted, concluded, rejected: Acts of the farm.
    """

    added: int | None
    before: int | None
    unread: int | None
    pending: int | None
    open: int | None
    admitted: int | None
    concluded: int | None
    rejected: int | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A stream entry to admit.

    Attributes:
        created: The entry's ``created``, ms digits.
        fingerprint: Digest of the graph, and of the whole entry.
    """

    entry: str
    document: Document
    plan: Plan
    created: str
    fingerprint: tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReadyNode:
    """A node to send a message for: start number ``token`` of ``ref``; ``sent`` if that was done in the same step."""

    ref: NodeRef
    token: int
    service: str
    node_id: str
    sent: bool = False


AttemptId = tuple[NodeRef, int]
"""Which start of which node."""


@dataclass(frozen=True)
class Claim:
    """A started node, and everything needed to run it; payloads are JSON text, ``None`` where absent.

    Attributes:
        token: This start's number; it fences off older starts and names this attempt's objects.
        failed_attempts, lost_attempts: Earlier attempts of this visit.
        progress: The job's progress at the claim.
        weight: The node's share of it.
        outputs: The sources' outputs in edge order.
        retries: The node's ``retries`` as it came.
        exhausted: A worker whose memory the node did not fit into; empty for none.
    """

    ref: NodeRef
    token: int
    failed_attempts: int
    lost_attempts: int
    progress: float
    weight: float
    node_id: str
    service: str
    params: str | None
    input: str | None
    retries: str | None
    outputs: tuple[str | None, ...]
    exhausted: str = ""

    @property
    def attempt(self) -> AttemptId:
        return self.ref, self.token


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a node could not be started (claim.lua names the reasons), and after how long to try again, if at all."""

    reason: str
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """How a start ended; see :meth:`.store.RunStore.settle`."""

    outcome: State
    text: str | None = None
    delay_ms: int = 0
    charge: Charge = Charge.ATTEMPT
    exhausted: str = ""
    littered: bool = False
    first: bool = False
    reused: str = ""


@dataclass(frozen=True, slots=True)
class Taking:
    """What a worker asks for when it takes its next message.

    Attributes:
        queue: To take from.
        process: This process, as Dramatiq's broker is named.
        worker: Its name as a holder of leases.
        done: The message to acknowledge.
        another: Whether to take one.
        again: Asked before, and the reply was lost; then ``held`` is every message of the queue in hand.
        warm: The service that the worker has loaded; messages of it are taken first, within ``bounds``.
    """

    queue: str
    process: str
    worker: str
    done: str
    another: bool = True
    again: bool = False
    held: tuple[str, ...] = ()
    warm: str = ""
    bounds: Bounds = HEAD_ONLY


@dataclass(frozen=True, slots=True)
class Taken:
    """A message (its text) and what came of claiming its node; ``None``: the node could not be read from it."""

    message: str
    answer: Claim | Refused | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What recording a result did: ``ok``, ``already``, ``fenced`` or ``gone``."""

    outcome: str
    over: bool = False
    ready: tuple[ReadyNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Concluded:
    """A terminal act was done; how long (s) after the job was cancelled, if it was."""

    cancelled_seconds: float | None


@dataclass(frozen=True, slots=True)
class Expired:
    """What lease expiry found."""

    again: tuple[ReadyNode, ...]
    lost: tuple[ReadyNode, ...]
    halted: int
