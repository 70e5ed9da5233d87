"""Objects that attempts without a result may have left behind: noted as their visit ends, removed by an ingestor.

A note is a member of a sorted set (:attr:`.keys.Keys.litter`), written by the script that ends the visit, so that
no crash can lose it; it goes when the folder has been looked through.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .artifact_keys import attempt_folder, visit_folder
from .graph.ending import Unrecorded

if TYPE_CHECKING:
    from .storage import Storage

log = logging.getLogger(__name__)

BUCKETS = frozenset({"staged", "output"})
"""Where tasks keep artifacts."""


@dataclass(frozen=True, slots=True)
class Litter:
    """Everything in a node's folder of one visit but for one attempt's.

    Attributes:
        folder: Beginning of the keys.
        keep: Beginning of the keys that a graph may name; empty for none.
    """

    folder: str
    keep: str = ""

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Litter:
        return cls(**json.loads(text))


def litter_of(job: str, entry: str, nodes: Iterable[Unrecorded]) -> list[str]:
    """The notes for nodes that had starts without a result."""
    return [
        str(
            Litter(
                visit_folder(job, node.node_id, entry),
                attempt_folder(job, node.node_id, entry, node.recorded) if node.recorded else "",
            )
        )
        for node in nodes
    ]


def clear(storage: Storage, litter: Litter) -> int:
    """Remove the objects; how many.

    Raises:
        StorageError: Storage refused or cannot be reached.
    """
    removed = sum(
        len(storage.remove_prefix(bucket, litter.folder, litter.keep))
        for bucket in sorted(BUCKETS & set(storage.config.buckets))
    )
    if removed:
        log.info("%d objects of attempts without a result removed below %s", removed, litter.folder)
    return removed
