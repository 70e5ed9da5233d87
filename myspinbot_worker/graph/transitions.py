"""What the transitions of a run take and return, as values; :mod:`.store` performs them."""

from __future__ import annotations

from dataclasses import dataclass

from ..keys import NodeRef


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
        job_ttl_seconds: Lifetime of ``job:<id>``.
        dead_letters_kept, history_kept: Caps of the two record streams.
    """

    lease_ms: int = 30_000
    message_check_ms: int = 5_000
    max_lost_attempts: int = 3
    job_ttl_seconds: int = 43_200
    dead_letters_kept: int = 10_000
    history_kept: int = 10_000


@dataclass(frozen=True, slots=True)
class ReadyNode:
    """A node to send a message for: start number ``token`` of ``ref``."""

    ref: NodeRef
    token: int
    service: str
    node_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A started node, and everything needed to run it; payloads are JSON text, ``None`` where absent.

    Attributes:
        token: This start's number; it fences off older starts and names this attempt's objects.
        failed_attempts, lost_attempts: Earlier attempts of this visit.
        progress: The job's progress at the claim.
        weight: The node's share of it.
        outputs: The sources' outputs in edge order.
        retries: The node's ``retries`` as it came.
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


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a node could not be started (claim.lua names the reasons); ``wait_ms`` only when it is leased."""

    reason: str
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What recording a result did: ``ok``, ``already``, ``fenced`` or ``gone``."""

    outcome: str
    over: bool = False
    ready: tuple[ReadyNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Expired:
    """What lease expiry found."""

    again: tuple[ReadyNode, ...]
    lost: tuple[ReadyNode, ...]
    halted: int
