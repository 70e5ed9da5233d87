"""What the scripts answer, as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..keys import NodeRef
from .transitions import Claim, Expired, ReadyNode, Refused, Settled, Taken


def claimed(ref: NodeRef, reply: Sequence[Any]) -> Claim | Refused:
    if reply[0] != "ok":
        return Refused(reply[0], int(reply[1]) if len(reply) > 1 else 0)
    _, got, failed, lost, done, weight, node_id, service, exhausted, *texts = reply
    params, own_input, retries, *outputs = (text or None for text in texts)
    return Claim(
        ref, int(got), int(failed), int(lost), float(done), float(weight), node_id, service,
        params, own_input, retries, tuple(outputs), exhausted,
    )  # fmt: skip


def settled(ref: NodeRef, reply: Sequence[Any]) -> Settled:
    ready = tuple(
        ReadyNode(NodeRef(ref.entry, int(index), ref.job), int(token), service, node_id, sent=bool(sent))
        for index, token, service, node_id, sent in _chunks(reply[2:], 5)
    )
    return Settled(reply[0], len(reply) > 1 and bool(reply[1]), ready)


def taken(reply: Sequence[Any]) -> Taken | None:
    if not reply:
        return None
    text, *claim = reply
    if not claim:
        return Taken(text, None)
    return Taken(text, claimed(NodeRef.parse(claim[0]), claim[1]))


def expired(reply: Sequence[Any]) -> Expired:
    found: dict[str, list[ReadyNode]] = {"again": [], "lost": [], "halted": []}
    for what, *node in _chunks(reply, 5):
        found[what].extend(due(node))
    return Expired(tuple(found["again"]), tuple(found["lost"]), len(found["halted"]))


def due(reply: Sequence[Any]) -> list[ReadyNode]:
    return [
        ReadyNode(NodeRef.parse(member), int(token), service, node_id)
        for member, token, service, node_id in _chunks(reply, 4)
    ]


def _chunks(values: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))
