"""Mistakes that can be built into the small world, to show that the search would notice them."""

from __future__ import annotations

from enum import StrEnum


class Statement(StrEnum):
    """What must hold; a violation names one of these.

    The first four are the architecture's. That nothing in a graph changes but what may is not for a world without
    documents; instead there are silence after the end, and that an end is always in reach.
    """

    ENDING = "1: an entry ends in exactly one terminal act and is acknowledged only there"
    RECORDING = "2: a node's result is recorded once, by the holder of the newest token, and stays whole"
    STARTING = "3: a node starts only when its dependencies allow it, and again only when it may"
    PROGRESS = "4: published progress never falls, is within [0, 1] and is 1 when the whole graph is done"
    SILENCE = "5: nothing of a visit is published or handed back after it was handed back or closed"
    LIVENESS = "6: from everywhere, fair steps alone can bring every entry to its end"


class Bug(StrEnum):
    """One mistake each; :data:`BREAKS` says which statement it breaks."""

    ACK_FIRST = "the entry is acknowledged before the hand-back, in a step of its own"
    ADMIT_TWICE = "admit does not recognise a doubled entry"
    CLAIM_EARLY = "settle makes a successor ready when the first of its sources ends"
    CLAIM_FINISHED = "claim starts a finished node again"
    CLAIM_LEASED = "claim takes a node whose lease is alive"
    CLAIM_STALE = "claim accepts a message of an earlier start and gives its number out again"
    CONCLUDE_TWICE = "conclude does not check that the run is still open"
    EXPIRE_UNFENCED = "expire lets the next start have the number of the lost one"
    FORGET_ON_GONE = "a worker whose settle got no answer and then `gone` removes what it uploaded"
    LATE_PUBLISH = "renew publishes without a look at who holds the node and whether the run is open"
    NO_ADOPTION = "entries that were read and not admitted are never looked for"
    NO_EXPIRY = "leases that ran out are never looked for"
    NO_OUTBOX = "ready nodes without a message are never looked for"
    NOT_PENDING = "admit and reject do not check that the entry is still pending"
    PROGRESS_RESET = "a second attempt starts from fraction 0 and publishes what it reports"
    SEEN_ONE = "only the last concluded visit of a job is remembered, so an older double of it is new"
    SETTLE_ANY = "settle does not check the token"
    SKIP_OVER = "runs that are over and not concluded are never looked for"


BREAKS = {
    Bug.ACK_FIRST: Statement.ENDING,
    Bug.ADMIT_TWICE: Statement.SILENCE,
    Bug.CLAIM_EARLY: Statement.STARTING,
    Bug.CLAIM_FINISHED: Statement.STARTING,
    Bug.CLAIM_LEASED: Statement.STARTING,
    Bug.CLAIM_STALE: Statement.RECORDING,
    Bug.CONCLUDE_TWICE: Statement.ENDING,
    Bug.EXPIRE_UNFENCED: Statement.RECORDING,
    Bug.FORGET_ON_GONE: Statement.RECORDING,
    Bug.LATE_PUBLISH: Statement.SILENCE,
    Bug.NO_ADOPTION: Statement.LIVENESS,
    Bug.NO_EXPIRY: Statement.LIVENESS,
    Bug.NO_OUTBOX: Statement.LIVENESS,
    Bug.NOT_PENDING: Statement.ENDING,
    Bug.PROGRESS_RESET: Statement.PROGRESS,
    Bug.SEEN_ONE: Statement.SILENCE,
    Bug.SETTLE_ANY: Statement.RECORDING,
    Bug.SKIP_OVER: Statement.LIVENESS,
}
"""The statement each mistake is found out by first."""
