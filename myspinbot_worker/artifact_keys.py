"""Where a node's artifacts are kept: ``job/node/visit/attempt/name``; its kept steps: ``job/node/visit/steps/…``.

A repeated attempt overwrites nothing, and what an attempt left behind can be told from what counts. A visit is its
stream entry, as attempts count anew in each.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote

_LONGEST_SEGMENT = 300
"""Job, node and a file's name must fit into S3's 1,024 bytes together."""


def node_folder(job: str, node_id: str) -> str:
    """What the keys of a node's artifacts begin with."""
    return f"{_segment(job)}/{_segment(node_id)}/"


def visit_folder(job: str, node_id: str, entry: str) -> str:
    """The same for one visit of the job."""
    return f"{node_folder(job, node_id)}{entry}/"


def attempt_folder(job: str, node_id: str, entry: str, token: int) -> str:
    """The same for one start of the node."""
    return f"{visit_folder(job, node_id, entry)}{token}/"


def steps_folder(job: str, node_id: str, entry: str) -> str:
    """The same for what attempts of one visit keep for the ones after them (:mod:`.checkpoints`)."""
    return f"{visit_folder(job, node_id, entry)}steps/"


def name_of(key: str) -> str:
    """What an artifact is called in its attempt's folder."""
    return key.split("/", 4)[-1]


def _segment(name: str) -> str:
    """A part of a key, different for different names, whatever they hold and however long they are."""
    # "." and ".." are no names of objects, and quote() leaves them alone.
    quoted = quote(name, safe="").replace(".", "%2E")
    if len(quoted) > _LONGEST_SEGMENT:
        return f"{quoted[: _LONGEST_SEGMENT // 2]}%{hashlib.sha256(name.encode()).hexdigest()}"
    return quoted or "%empty"
