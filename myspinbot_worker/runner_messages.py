"""What a worker and its runner processes say to each other over a lane (a socket pair), one object a message.

What is said for every attempt has no slots: those are pickled by code in Python, a ``__dict__`` is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .artifact_cache import CachedFetch
from .attempt import Outcome
from .graph.transitions import Claim
from .task import DeviceUse, StopReason

# From the worker.


@dataclass(frozen=True, slots=True)
class Known:
    """What the farm knows and a runner, which has no Redis, cannot ask.

    Attributes:
        withheld: Services that no worker can run → why.
        node_times: How long ComfyUI's node classes took in earlier runs (s), if the capability runs any.
    """

    withheld: Mapping[str, str] = field(default_factory=dict)
    node_times: Mapping[str, float] = field(default_factory=dict)


NOTHING_KNOWN = Known()


@dataclass(frozen=True)
class Start:
    """Run an attempt.

    Attributes:
        scratch: An empty folder of the attempt's own.
        device: What the worker owns: ``cpu`` or ``cuda``.
        worker: The worker's name, for errors.
    """

    claim: Claim
    scratch: Path
    device: str
    worker: str
    known: Known = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class Stop:
    """The attempt has become pointless: ``task.check()`` raises from now on."""

    reason: StopReason


@dataclass(frozen=True, slots=True)
class KnownResult:
    """The answer to :class:`Asks`: the memo's text, ``None`` if there is none."""

    digest: str
    memo: str | None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """It did not listen: raise in its thread, wherever it is."""


# From the runner.


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything is imported; sent once, on the first lane.

    Attributes:
        missing: Service → why it cannot run here.
    """

    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    fraction: float


@dataclass(frozen=True, slots=True)
class Data:
    text: str


@dataclass(frozen=True, slots=True)
class Uploads:
    """An upload begins."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A step that was not there before is in storage."""


@dataclass(frozen=True, slots=True)
class Moved:
    direction: Literal["in", "out"]
    size: int


@dataclass(frozen=True, slots=True)
class LookedUp:
    fetched: CachedFetch


@dataclass(frozen=True, slots=True)
class Asks:
    """Is there an earlier result of this fingerprint?"""

    digest: str


@dataclass(frozen=True, slots=True)
class UsesDevice:
    use: DeviceUse


@dataclass(frozen=True, slots=True)
class NodeTimes:
    """How long ComfyUI's node classes took in this attempt (s)."""

    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Finished:
    outcome: Outcome


FromWorker = Start | Stop | Interrupt | KnownResult
FromRunner = (
    Ready | Progress | Data | Uploads | Kept | Moved | LookedUp | Asks | UsesDevice | NodeTimes | Finished
)
