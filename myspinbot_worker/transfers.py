"""An object's bytes on their way from and to storage, verified at the end."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from minio import Minio
from minio.datatypes import Object
from urllib3.response import BaseHTTPResponse

from .checksums import (
    CHUNK,
    SHA256_METADATA,
    checksum_promised,
    checksums,
    etag_md5,
    fingerprint,
    stored_sha256,
)
from .errors import ArtifactCorrupt, BadInput, StorageUnavailable

OnProgress = Callable[[float], None]
"""Told the done part of a transfer, 0.0 to 1.0; may raise to abandon the transfer."""

PART_SIZE = 16 << 20
"""Bytes of one part of a multipart upload; what an upload holds in memory, whatever the file's size."""

MAX_PARTS = 10_000
"""S3's limit of parts of one object; parts grow beyond ``PART_SIZE`` only to stay below it."""


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """Most bytes of an object.

    Args:
        most: ``None``: any number.
        name: What to call the limit in errors.
    """

    most: int | None
    name: str = "the limit"

    @classmethod
    def least(cls, asked: int | None, configured: int | None) -> SizeLimit:
        """The lower of what a caller asks for and what the settings allow."""
        if asked is not None and (configured is None or asked <= configured):
            return cls(asked)
        return cls(configured, "farm.max_artifact_bytes")

    def allows(self, size: int) -> bool:
        return self.most is None or size <= self.most


def receive(
    response: BaseHTTPResponse,
    name: str,
    partial: Path,
    expected_size: int | None,
    limit: SizeLimit,
    on_progress: OnProgress | None,
) -> None:
    """Write an answer's body into the new file ``partial`` and verify it.

    Args:
        name: The object, for errors.

    Raises:
        ArtifactCorrupt: Size or checksum differ from what was promised.
        BadInput: The object is larger than ``limit``.
        StorageUnavailable: The body ended too early.
    """
    announced = response.headers.get("content-length")
    total = int(announced) if announced is not None else None
    if total is not None and expected_size is not None and total != expected_size:
        raise ArtifactCorrupt(f"{name} has {total} bytes, {expected_size} were promised")
    algorithm, promised = checksum_promised(response.headers)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = 0
    # Before a byte is taken, and again as they come: not every answer says how many there will be.
    if not limit.allows(total or 0):
        raise BadInput(f"{name} has {total} bytes, {limit.name} is {limit.most}")
    with partial.open("xb") as file:
        # Not decoded: size and checksum are those of the stored bytes.
        for chunk in response.stream(CHUNK, decode_content=False):
            size += len(chunk)
            if not limit.allows(size):
                raise BadInput(f"{name} has more than {limit.most} bytes, {limit.name}")
            digest.update(chunk)
            file.write(chunk)
            if on_progress is not None and total:
                on_progress(min(size / total, 1.0))
    if total is not None and size != total:
        raise StorageUnavailable(f"the download of {name} ended after {size} of {total} bytes")
    if expected_size is not None and size != expected_size:
        raise ArtifactCorrupt(f"{name} has {size} bytes, {expected_size} were promised")
    if promised is not None and digest.hexdigest() != promised:
        raise ArtifactCorrupt(f"the {algorithm} of {name} is not what storage promised")
    if on_progress is not None and not total:
        on_progress(1.0)


class Outgoing:
    """Content to upload, its checksum known before its first byte is sent, and held against what arrived.

    Args:
        file: Open, at its beginning; must not change from now on.
        size: Its length in bytes.
        name: The object, for errors.
        on_progress: Told 0.0 while the content is measured, then the sent part before each part.
        sha256: What somebody who looked at the content before found. A large file is then read once: what is sent is
            held against it on the way.

    Raises:
        ArtifactCorrupt: The content is not the one of ``sha256``.
    """

    def __init__(
        self, file: BinaryIO, size: int, name: str, on_progress: OnProgress | None, sha256: str | None = None
    ) -> None:
        self._file = file
        self._size = size
        self._name = name
        self._on_progress = on_progress
        self._before = fingerprint(file)
        self._md5: str | None = None
        self._measured = sha256 is None or size <= PART_SIZE
        if self._measured:
            # An object of several parts has no MD5 to be held against; each part's own checksum goes with it.
            found, self._md5 = checksums(
                file, lambda: on_progress(0.0) if on_progress else None, with_md5=size <= PART_SIZE
            )
            if sha256 is not None and found != sha256:
                raise self._other_content()
            sha256 = found
        assert sha256 is not None
        self._sha256 = sha256

    def send(self, client: Minio, bucket: str, key: str, content_type: str) -> None:
        """Upload the content.

        Raises:
            ArtifactCorrupt: The file changed meanwhile, or before.
        """
        self._file.seek(0)
        with _Source(self._file, self._size, self._on_progress, self._check_content()) as source:
            try:
                client.put_object(
                    bucket,
                    key,
                    cast(BinaryIO, source),
                    self._size,
                    content_type=content_type,
                    metadata={SHA256_METADATA: self._sha256},
                    part_size=max(PART_SIZE, -(-self._size // MAX_PARTS)),
                    # One part at a time: memory stays at one part, and progress is what was really sent.
                    num_parallel_uploads=1,
                )
            except Exception:
                # The client aborts the multipart upload before it raises; if that fails, it raises that.
                if source.interruption is not None:
                    raise source.interruption from None
                self._check_unchanged()
                raise
        self._check_unchanged()

    def check_arrived(self, found: Object) -> None:
        """Compare the stored object with what was sent.

        Raises:
            ArtifactCorrupt: It is not the same.
        """
        # The client hands over urllib3's header mapping, which ignores case, under the name of metadata.
        headers = cast(Mapping[str, str], found.metadata or {})
        if found.size != self._size:
            raise ArtifactCorrupt(f"{self._name} has {found.size} bytes in storage, {self._size} were sent")
        etag = etag_md5(headers)
        if etag is not None and self._md5 is not None and etag != self._md5:
            raise ArtifactCorrupt(f"the MD5 of {self._name} in storage is not that of what was sent")
        stored = stored_sha256(headers)
        if stored is not None and stored != self._sha256:
            raise ArtifactCorrupt(f"{self._name} was replaced by another writer while it was uploaded")

    def _check_content(self) -> Callable[[str], None] | None:
        """What looks at the checksum of all that was read before the last of it is sent; ``None``: it is known."""
        if self._measured:
            return None

        def check(sha256: str) -> None:
            if sha256 != self._sha256:
                raise self._other_content()

        return check

    def _check_unchanged(self) -> None:
        if fingerprint(self._file) != self._before:
            raise ArtifactCorrupt(f"the file changed while it was uploaded as {self._name}") from None

    def _other_content(self) -> ArtifactCorrupt:
        return ArtifactCorrupt(f"the file changed after it was verified, before its upload as {self._name}")


class _Source(io.RawIOBase):
    """What the client reads an upload through.

    It reads a part when the parts before it have been sent, so what was read before is what was sent.

    Args:
        check: Given the SHA-256 of the content when all of it has been read; what it raises ends the upload before
            its last part is sent.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        on_progress: OnProgress | None,
        check: Callable[[str], None] | None = None,
    ) -> None:
        self._file = file
        self._size = size
        self._sent = 0
        self._on_progress = on_progress
        self._check = check
        self._digest = _BackgroundDigest() if check is not None else None
        self.interruption: Exception | None = None

    def close(self) -> None:
        if self._digest is not None:
            self._digest.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        if self._on_progress is not None and self._size:
            with self._interrupting():
                self._on_progress(min(self._sent / self._size, 1.0))
        data = self._file.read(size)
        self._sent += len(data)
        if self._digest is not None:
            self._digest.update(data)
            if self._sent == self._size and self._check is not None:
                with self._interrupting():
                    self._check(self._digest.hexdigest())
        return data

    @contextmanager
    def _interrupting(self) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            self.interruption = exc
            raise


class _BackgroundDigest:
    """A SHA-256 that is made beside its caller, who sends meanwhile what was added last."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, "upload-checksum")
        self._pending: Future[None] | None = None

    def update(self, data: bytes) -> None:
        """Add ``data``; what was added before is done with by then, so no more than two pieces are held."""
        self._wait()
        self._pending = self._thread.submit(self._digest.update, data)

    def hexdigest(self) -> str:
        self._wait()
        return self._digest.hexdigest()

    def close(self) -> None:
        self._thread.shutdown()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
