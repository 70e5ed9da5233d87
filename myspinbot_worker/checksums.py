"""What an object's content is held against: the uploader's SHA-256, or an ETag that is an MD5."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping
from typing import BinaryIO

CHUNK = 1 << 20
"""Bytes read from disk or network at a time."""

SHA256_METADATA = "sha256"
"""User metadata (``x-amz-meta-sha256``) in which an upload leaves its checksum for later downloads."""

_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")


def etag_md5(headers: Mapping[str, str]) -> str | None:
    """Return the content's MD5, if that is what the ETag is.

    It is not for an object of several parts (``…-3``), nor under encryption with a key of one's own.
    """
    if headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"):
        return None
    if headers.get("x-amz-server-side-encryption-customer-algorithm"):
        return None
    etag = headers.get("etag", "").strip('"').lower()
    return etag if _PLAIN_MD5.fullmatch(etag) else None


def stored_sha256(headers: Mapping[str, str]) -> str | None:
    """Return what an upload left as the content's SHA-256, in whatever form it is there."""
    return headers.get(f"x-amz-meta-{SHA256_METADATA}")


def checksum_promised(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the algorithm and the checksum to hold a download against.

    The uploader's SHA-256 wins: it was taken from the file itself, an ETag is what the server made of it.
    """
    sha256 = stored_sha256(headers)
    if sha256 is not None and re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        return "sha256", sha256.lower()
    return "md5", etag_md5(headers)


def checksums(
    file: BinaryIO, on_chunk: Callable[[], None], *, with_md5: bool = True
) -> tuple[str, str | None]:
    """Return SHA-256 and MD5 of the rest of a file, in hexadecimal.

    Args:
        with_md5: Whether the MD5 is wanted: for a large file it costs more than the way to storage.
        on_chunk: Called after each chunk; what it raises ends the reading.
    """
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(CHUNK):
        sha256.update(chunk)
        if with_md5:
            md5.update(chunk)
        on_chunk()
    return sha256.hexdigest(), md5.hexdigest() if with_md5 else None


def fingerprint(file: BinaryIO) -> tuple[int, int] | None:
    """Return what changes when a file is written to; None for bytes in memory."""
    if isinstance(file, io.BytesIO):
        return None
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
