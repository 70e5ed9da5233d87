"""What a worker and its runner processes say to each other over a lane, one pickled object a message.

A lane is two socket pairs: over one, attempts go to the runner and all that the runner says comes back; over the other,
the worker speaks to an attempt that is running. So the thread that runs attempts waits for them itself.

What is said for every attempt is pickled as its parts, which takes half the time.
"""

from __future__ import annotations

import pickle  # nosec B403: both ends are ours, and no one else has the sockets
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from .artifact_cache import CachedFetch
from .attempt import Outcome
from .graph.transitions import AttemptId, Claim
from .keys import NodeRef
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

    def __reduce__(self) -> tuple[Any, ...]:
        ref, *claim = self.claim.__dict__.values()
        own = (str(self.scratch), self.device, self.worker, self.known)
        return _start, (ref.entry, ref.index, ref.job, *own, *claim)


def _start(
    entry: str, index: int, job: str, scratch: str, device: str, worker: str, known: Known, *claim: Any
) -> Start:
    return Start(Claim(NodeRef(entry, index, job), *claim), Path(scratch), device, worker, known)


@dataclass(frozen=True, slots=True)
class Stop:
    """An attempt has become pointless: ``task.check()`` raises from now on."""

    attempt: AttemptId
    reason: StopReason


@dataclass(frozen=True, slots=True)
class KnownResult:
    """The answer to :class:`Asks`: the memo's text, ``None`` if there is none."""

    digest: str
    memo: str | None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """It did not listen: raise in its thread, wherever it is."""

    attempt: AttemptId


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

    def __reduce__(self) -> tuple[Any, ...]:
        return _finished, tuple(self.outcome.__dict__.values())


def _finished(*outcome: Any) -> Finished:
    return Finished(Outcome(*outcome))


ToAttempt = Stop | Interrupt | KnownResult
FromWorker = Start | ToAttempt
FromRunner = (
    Ready | Progress | Data | Uploads | Kept | Moved | LookedUp | Asks | UsesDevice | NodeTimes | Finished
)


def send(connection: Connection[Any, Any], message: FromWorker | FromRunner) -> None:
    """Say it; :meth:`multiprocessing.connection.Connection.recv` hears it.

    Connections can send objects themselves, but make a new pickler of their own for each.
    """
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
