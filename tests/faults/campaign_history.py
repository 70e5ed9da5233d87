"""What was seen of each job while a campaign ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a node, as its task recorded it.

    Attributes:
        entry: The stream entry of the visit.
        attempt: The start's number in the visit.
        digest: Of the input it was given.
        at: Seconds since the epoch.
        pid: The process it ran in.
        id: Tells two starts apart.
    """

    job: str
    node: str
    entry: str
    attempt: int
    digest: str
    at: float
    pid: int
    id: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A message on a channel; ``mark`` is our own, published when a visit was seen to have ended.

    Attributes:
        value: The status, the progress, the data, or the number of the visit.
    """

    kind: str
    value: Any


@dataclass(slots=True)
class History:
    """What was seen of one job.

    Attributes:
        sent: Entry ids to the number of their visit; a doubled entry has two.
        backs: Number of the visit of every graph that was handed back.
        conclusions: Entry and verdict of every terminal act of the farm.
        heard: Messages in the order in which they came.
        deaf: Whether nobody could hear for a moment while the job was open.
        final: The graph in the end.
    """

    sent: dict[str, int] = field(default_factory=dict)
    backs: list[int] = field(default_factory=list)
    conclusions: list[tuple[str, str]] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    deaf: bool = False
    final: dict[str, Any] | None = None

    def told(self) -> str:
        """The history in a few lines, for people."""
        heard = " ".join(f"{item.kind}:{item.value}" for item in self.heard)
        starts = " ".join(
            f"{start.node}#{start.attempt}@{start.at % 1000:.2f}({start.pid})" for start in self.starts
        )
        final = self.final or {"nodes": []}
        nodes = " ".join(
            f"{node['id']}:{node['status']}{_code(node)}"
            for node in sorted(final["nodes"], key=lambda n: n["id"])
        )
        return "\n".join(
            (
                f"sent {self.sent}, handed back {self.backs}, concluded {self.conclusions}",
                f"heard{' (deaf for a moment)' if self.deaf else ''} {heard}",
                f"started {starts}",
                f"final {nodes}",
            )
        )


def _code(node: dict[str, Any]) -> str:
    error = node.get("error")
    return f" ({error.get('code')}: {error.get('message')})" if error else ""
