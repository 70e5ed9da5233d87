"""What the client library and the network raise while we talk to storage, as errors of ``errors.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError  # nosec B405

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError

from .errors import ArtifactMissing, StorageError, StorageUnavailable

MISSING_CODES = frozenset({"NoSuchKey", "NoSuchVersion"})
EXISTING_BUCKET_CODES = frozenset({"BucketAlreadyExists", "BucketAlreadyOwnedByYou"})
MISSING_BUCKET_CODE = "NoSuchBucket"

_TRANSIENT_CODES = frozenset(
    {
        "InternalError",
        "RequestTimeout",
        "ServerNotInitialized",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "TooManyRequests",
        "XMinioServerNotInitialized",
    }
)


@dataclass(frozen=True)
class Fault:
    """What went wrong, whichever way the client library said it.

    Args:
        code: S3's code, the HTTP status if there was none, or the name of the network's error.
        message: For people.
        transient: Whether the same request may succeed later.
    """

    code: str
    message: str
    transient: bool


def fault(exc: Exception) -> Fault:
    """Read what the client library or the network raised."""
    if isinstance(exc, S3Error):
        return _answered(exc.response.status, exc.code or "", exc.message or "")
    if isinstance(exc, InvalidResponseError):
        # Servers that label their errors text/xml (rclone's) end up here: the code is in the body.
        status = int(getattr(exc, "_code", 0) or 0)
        body = str(getattr(exc, "_body", "") or "")
        return _answered(status, _element(body, "Code"), _element(body, "Message") or body[:200])
    if isinstance(exc, ServerError):
        return _answered(exc.status_code, "", "")
    cause: BaseException = exc
    if isinstance(exc, MaxRetryError) and exc.reason is not None:
        cause = exc.reason
    # A certificate nobody trusts, or plain HTTP where TLS was asked for, stays so however often one asks.
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        why = re.sub(r".*certificate verify failed: ([^(]*?)\.?\s*\(.*", r"\1", str(cause), flags=re.DOTALL)
        told = f"its certificate is not trusted: {why}; set MINIO_CA_FILE to the file of its authority"
        return Fault("untrusted_certificate", told, transient=False)
    return Fault(type(cause).__name__, str(cause), transient="WRONG_VERSION_NUMBER" not in str(cause))


@contextmanager
def talking(action: str, name: str, *, endpoint: str, secret: str) -> Iterator[None]:
    """Turn what talking to storage raises into our errors.

    Args:
        action: What is being done, as in "cannot <action> <name>".
        name: The bucket, or the bucket and the key.
        secret: The secret key, which is kept out of the error.

    Raises:
        ArtifactMissing: There is no such object.
        StorageUnavailable: The same request may succeed later.
        StorageError: It will not.
    """
    try:
        yield
    except (MinioException, HTTPError, ParseError) as exc:
        found = fault(exc)
        kind: type[StorageError] = StorageError
        if found.code in MISSING_CODES:
            kind = ArtifactMissing
        elif found.transient:
            kind = StorageUnavailable
        message = f"cannot {action} {name} at {endpoint}: {found.code}"
        if found.message:
            message += f" ({found.message[:300]})"
        # No server should repeat a secret back to us; none will reach a job's graph if it does.
        if secret:
            message = message.replace(secret, "***")
        raise kind(message, details={"endpoint": endpoint, "object": name, "reason": found.code}) from exc


def _answered(status: int, code: str, message: str) -> Fault:
    transient = code in _TRANSIENT_CODES or status in (408, 429) or (status >= 500 and status != 501)
    return Fault(code or f"HTTP {status}", message, transient)


def _element(xml: str, tag: str) -> str:
    match = re.search(f"<{tag}>([^<]*)</{tag}>", xml)
    return match.group(1) if match else ""
