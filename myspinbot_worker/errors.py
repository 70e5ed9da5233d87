"""Every error a user of the farm can meet, each with a stable code.

``code`` is what ends up in a node's ``error.code`` and in a dead letter; ``retryable`` says whether the
same work may succeed later (network, storage, memory) or never will (bad params, unknown service).
"""

from __future__ import annotations

from typing import Any


class FarmError(Exception):
    """Base of all errors the farm raises on purpose.

    Args:
        message: One sentence for a human; names the field at fault; holds no secrets.
        details: JSON-serialisable facts that help to find the cause.
    """

    code = "internal"
    retryable = False
    interrupts = False
    """Whether what failed is not the work but what it ran on; then kept steps are worth another start."""

    def __init__(self, message: str, *, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}


class ConfigError(FarmError):
    """A configuration file, variable or option is unknown or malformed."""

    code = "bad_config"


class RejectedEntry(FarmError):
    """A ``process:data`` entry that cannot be understood."""

    code = "bad_entry"

    def __init__(self, message: str, *, details: dict[str, Any] | None = None) -> None:
        # The reason quotes the entry, and an entry may hold half a character, which no one could write down.
        super().__init__(message[:2000].encode("utf-8", "backslashreplace").decode(), details=details)


class BadParams(FarmError):
    """A node's ``params`` do not fit what its service declares."""

    code = "bad_params"


class BadInput(FarmError):
    """A node's ``input`` (or the content of an artifact in it) cannot be worked on."""

    code = "bad_input"


class BadOutput(FarmError):
    """A task returned something its service does not declare, or that is not JSON."""

    code = "bad_output"


class UntrueOutput(BadOutput):
    """A file that a task made is not what was promised; tried again once, if it is the node's first failure."""

    retryable = True


class UnknownService(FarmError):
    """No capability of this farm has the service's id."""

    code = "unknown_service"


class EngineUnavailable(FarmError):
    """The configured engine cannot serve this task on this machine."""

    code = "engine_unavailable"


class NoFaceFound(BadInput):
    """The portrait shows no face."""

    code = "no_face"


class BadMedia(BadInput):
    """A media file cannot be decoded, or holds no usable stream."""

    code = "bad_media"


class StorageError(FarmError):
    """Object storage refused a request; trying again will not help."""

    code = "storage_refused"


class StorageUnavailable(StorageError):
    """Object storage cannot be reached or is overloaded; trying again may help."""

    code = "storage_unavailable"
    retryable = True


class ArtifactMissing(StorageError):
    """The named object does not exist."""

    code = "artifact_missing"


class ArtifactCorrupt(StorageError):
    """An object's size or checksum differs from what was sent or promised."""

    code = "artifact_corrupt"
    retryable = True


class BucketNotAllowed(StorageError):
    """The bucket is not one of the configured buckets."""

    code = "bucket_not_allowed"


class Cancelled(FarmError):
    """The job was cancelled while the task ran."""

    code = "cancelled"


class OutOfMemory(FarmError):
    """The task did not fit into the host's or the device's memory, also not after the caches were freed."""

    code = "out_of_memory"
    retryable = True


class TimedOut(FarmError):
    """The attempt ran for longer than its capability's ``timeout_seconds``."""

    code = "timeout"


class WorkerLost(FarmError):
    """Several workers in turn died or froze while they ran the node."""

    code = "worker_lost"


class JobUnknown(FarmError):
    """Nothing is known of the job an operator named."""

    code = "unknown_job"


class RetryRefused(FarmError):
    """A job cannot be retried as asked: it is open, nothing of it failed, or an edit does not fit."""

    code = "retry_refused"


class LeaseLost(FarmError):
    """The node's lease passed to another worker; this attempt's result will not be recorded."""

    code = "lease_lost"
