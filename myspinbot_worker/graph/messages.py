"""What the farm publishes on Pub/Sub, byte for byte as the wire contract has it (section 4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


def utc_now() -> str:
    """The current time, ISO 8601 with offset."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class Messages:
    """Channel names and message texts.

    Attributes:
        progress, status, data: Channel bases; a job's channel is ``<base>:<jobId>``.
        now: The clock for ``created``.
    """

    progress: str = "channel:progress"
    status: str = "channel:status"
    data: str = "channel:data"
    now: Callable[[], str] = utc_now

    def progress_channel(self, job: str) -> str:
        return f"{self.progress}:{job}"

    def status_channel(self, job: str) -> str:
        return f"{self.status}:{job}"

    def data_channel(self, job: str) -> str:
        return f"{self.data}:{job}"

    def progress_parts(self, job: str) -> tuple[str, str]:
        """A progress message before and after its number, which only the scripts know."""
        return f'{{"jobId":{json.dumps(job)},"progress":', f',"created":"{self.now()}"}}'

    def progress_message(self, job: str, fraction: float) -> str:
        return f"{fraction:.6f}".join(self.progress_parts(job))

    def status_message(self, job: str, status: str) -> str:
        return json.dumps({"jobId": job, "status": status, "created": self.now()})

    def status_parts(self, status: str) -> tuple[str, str]:
        """A status message before and after the job id's JSON text, where only a script knows the job."""
        return '{"jobId":', f',"status":"{status}","created":"{self.now()}"}}'

    def data_message(self, job: str, data: Any) -> str:
        """``data`` as the string the contract wants: text as it is, anything else as JSON text.

        Raises:
            ValueError, TypeError: ``data`` is not JSON (``NaN`` and infinities are not).
        """
        text = data if isinstance(data, str) else json.dumps(data, allow_nan=False)
        return json.dumps({"jobId": job, "data": text, "created": self.now()})
