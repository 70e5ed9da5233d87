"""Artifacts in MinIO, or any other S3: fetched, kept, looked up and removed, each transfer verified.

Tasks exchange files as *artifacts*, a bucket and a key. This module is the only door to object storage; what
it is made of lies in :mod:`.storage_connections`, :mod:`.transfers`, :mod:`.checksums`, :mod:`.object_names`
and :mod:`.storage_faults`. Whatever the client library or the network does comes out as one of the errors of
``errors.py``, so that retry policy can be read off the error's class.
"""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from minio import Minio
from minio.commonconfig import CopySource
from minio.datatypes import Object
from minio.error import MinioException

from .artifact import Artifact
from .checksums import CHUNK, SHA256_METADATA
from .errors import ArtifactCorrupt, BadOutput, BucketNotAllowed, StorageError
from .object_names import MAX_KEY_BYTES, check_key, guess_content_type, parse_path
from .object_versions import Version, version_of
from .storage_connections import Connections, StorageConfig
from .storage_faults import EXISTING_BUCKET_CODES, MISSING_BUCKET_CODE, MISSING_CODES, fault, talking
from .transfers import MAX_PARTS, PART_SIZE, OnProgress, Outgoing, SizeLimit, receive

if TYPE_CHECKING:
    import torch

__all__ = [
    "CHUNK",
    "MAX_KEY_BYTES",
    "MAX_PARTS",
    "PART_SIZE",
    "SHA256_METADATA",
    "Artifact",
    "OnProgress",
    "Storage",
    "StorageConfig",
    "check_key",
    "guess_content_type",
    "parse_path",
]


class Storage:
    """A thread-safe client of the configured buckets; connects when first used.

    Requests that failed before an answer came, or met an overloaded server, are repeated a few times within
    seconds by urllib3; a transfer that broke half-way is not resumed but raised as ``StorageUnavailable``.

    Args:
        config: Where, who, which buckets.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next bytes of an answer.
        retries: How often a request is repeated.

    Raises:
        ConfigError: The endpoint or a bucket's name is malformed.
    """

    def __init__(
        self,
        config: StorageConfig,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 60.0,
        retries: int = 3,
    ) -> None:
        self.config = config
        self._connections = Connections(
            config, connect_timeout=connect_timeout, read_timeout=read_timeout, retries=retries
        )

    def __repr__(self) -> str:
        return f"Storage({self.config!r})"

    def close(self) -> None:
        """Close the connections, when no other thread uses them; the next call opens new ones."""
        self._connections.close()

    # -- objects ---------------------------------------------------------------------------------------

    def download(
        self,
        bucket: str,
        key: str,
        destination: Path,
        *,
        expected_size: int | None = None,
        max_bytes: int | None = None,
        on_progress: OnProgress | None = None,
        on_version: Callable[[Version], None] | None = None,
    ) -> Path:
        """Fetch an object into a file, which appears under its name only when complete and verified.

        The content is checked against the SHA-256 its upload left in the metadata; where there is none,
        against the ETag if that is the content's MD5.

        Args:
            bucket: A configured bucket.
            key: The object's key.
            destination: The file to write; missing folders are made, an existing file is replaced.
            expected_size: Size in bytes the object must have, as an artifact's ``size_bytes`` promises.
            max_bytes: Refuse an object larger than this; ``farm.max_artifact_bytes`` holds besides.
            on_progress: Told the done part after each chunk; what it raises ends the download.
            on_version: Told which version is fetched, before its first byte; what it raises ends the download.

        Returns:
            ``destination``.

        Raises:
            ArtifactMissing: There is no such object.
            ArtifactCorrupt: Size or checksum differ from what was promised.
            BadInput: The key is unusable, or the object is larger than a limit, which the message names.
            BucketNotAllowed: The bucket is not configured.
            StorageUnavailable: Storage cannot be reached, or the connection broke half-way.
            StorageError: Storage refused.
        """
        self._admit(bucket, key)
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = destination.with_name(f".{secrets.token_hex(8)}.part")
        limit = SizeLimit.least(max_bytes, self.config.max_bytes)
        try:
            with self._talking("download", bucket, key):
                response = self._client().get_object(bucket, key)
                try:
                    if on_version is not None:
                        on_version(version_of(response.headers))
                    receive(response, f"{bucket}/{key}", partial, expected_size, limit, on_progress)
                finally:
                    # Closing comes first: a connection with unread bytes must not go back into the pool.
                    response.close()
                    response.release_conn()
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
        return destination

    def upload(
        self,
        path: Path,
        bucket: str,
        key: str,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Artifact:
        """Keep a file as an object. Memory stays at about one part, whatever the file's size.

        Its checksum has to be known before its first byte is sent: without ``sha256`` the file is read twice.

        Args:
            path: The file; must not change meanwhile.
            bucket: A configured bucket.
            key: The object's key; an existing object is replaced.
            content_type: Media type; None guesses it from the key, then the file's name.
            sha256: What the file's SHA-256 must be (hexadecimal), where somebody has looked at it before. If it is
                another, the upload ends before its last part and leaves no object behind.
            on_progress: Told the sent part before each part and at the end; 0.0 while the file is hashed.
                What it raises before the last part ends the upload and leaves no object behind.

        Raises:
            ArtifactCorrupt: The file changed meanwhile, is not the one of ``sha256``, or what arrived is not what
                was sent.
            BadOutput: ``path`` is not a file.
            BadInput: The key is unusable.
            BucketNotAllowed: The bucket is not configured.
            StorageUnavailable: Storage cannot be reached.
            StorageError: Storage refused.
        """
        self._admit(bucket, key)
        if not path.is_file():
            raise BadOutput(f"there is no file {path.name!r} to keep as {bucket}/{key}")
        if content_type is None:
            content_type = guess_content_type(key)
            if content_type == "application/octet-stream":
                content_type = guess_content_type(path.name)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            outgoing = Outgoing(file, size, f"{bucket}/{key}", on_progress, sha256)
            return self._send(outgoing, bucket, key, content_type, on_progress)

    def upload_bytes(self, data: bytes, bucket: str, key: str, content_type: str | None = None) -> Artifact:
        """Keep bytes as an object; errors as of ``upload``."""
        self._admit(bucket, key)
        outgoing = Outgoing(io.BytesIO(data), len(data), f"{bucket}/{key}", None)
        return self._send(outgoing, bucket, key, content_type or guess_content_type(key), None)

    def download_to_local_path(self, path: str, directory: Path) -> Path:
        """Fetch the object ``"bucket/key"`` into a new file of ``directory``; errors as of ``download``.

        Returns:
            The file: a fresh name with the key's suffix, so that no key chooses where it is written.
        """
        bucket, key = self.parse_path(path)
        suffix = re.sub(r"[^A-Za-z0-9.]", "", Path(key).suffix)[:16]
        return self.download(bucket, key, directory / f"{secrets.token_hex(8)}{suffix}")

    def stat(self, bucket: str, key: str) -> Artifact:
        """Look an object up.

        Raises:
            ArtifactMissing: There is no such object.
            StorageError: As of ``download``.
        """
        self._admit(bucket, key)
        return _artifact(self._look_up(bucket, key), bucket, key)

    def version(self, bucket: str, key: str) -> Version:
        """Look up which content an object has.

        Raises:
            ArtifactMissing: There is no such object.
            StorageError: As of ``download``.
        """
        self._admit(bucket, key)
        # The client hands over urllib3's header mapping, which ignores case, under the name of metadata.
        return version_of(cast(Mapping[str, str], self._look_up(bucket, key).metadata or {}))

    def copy(self, bucket: str, key: str, version: Version, to: str) -> Artifact:
        """Copy an object inside its bucket; its bytes do not leave storage.

        Args:
            version: What it must be, and what the copy then is.
            to: The copy's key.

        Raises:
            ArtifactMissing: There is no such object.
            ArtifactCorrupt: It has another version, or the copy has.
            StorageError: As of ``download``.
        """
        self._admit(bucket, to)
        if not self.version(bucket, key).is_also(version):
            raise ArtifactCorrupt(f"{bucket}/{key} was replaced")
        with self._talking("copy", bucket, key):
            source = CopySource(bucket, key, match_etag=version.etag or None)
            self._client().copy_object(bucket, to, source)
        found = self._look_up(bucket, to)
        made = version_of(cast(Mapping[str, str], found.metadata or {}))
        # The ETag of a large object may be another one after the copy.
        if made.size != version.size or (version.checksum, version.algorithm) != (
            made.checksum,
            made.algorithm,
        ):
            self._remove(bucket, to)
            raise ArtifactCorrupt(f"the copy of {bucket}/{key} is not what was copied")
        return _artifact(found, bucket, to)

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object; one that does not exist is as good as removed.

        Raises:
            StorageError: Storage refused or (``StorageUnavailable``) cannot be reached.
        """
        self._admit(bucket, key)
        self._remove(bucket, key)

    def list_keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys that start with ``prefix``, in order, those in folders below included.

        Raises:
            StorageError: Storage refused or (``StorageUnavailable``) cannot be reached.
        """
        self._admit(bucket)
        with self._talking("list", bucket, prefix):
            listed = self._client().list_objects(bucket, prefix=prefix, recursive=True)
            return [entry.object_name for entry in listed if entry.object_name is not None]

    def remove_prefix(self, bucket: str, prefix: str, keep: str = "") -> list[str]:
        """Remove everything in the folder ``prefix``, but for a folder in it.

        A folder, not a string prefix: ``"job-1"`` leaves ``"job-10/…"`` alone.

        Args:
            bucket: A configured bucket.
            prefix: The folder, with or without the trailing slash; never empty.
            keep: The folder to leave, with its trailing slash; empty for none.

        Returns:
            The removed keys.

        Raises:
            BadInput: The prefix is unusable.
            StorageError: Storage refused or (``StorageUnavailable``) cannot be reached.
        """
        folder = check_key(prefix.removesuffix("/"), "prefix") + "/"
        doomed = [key for key in self.list_keys(bucket, folder) if not (keep and key.startswith(keep))]
        for key in doomed:
            # Not ``remove``: a listed key exists, so it may be removed even if we would not have made it.
            self._remove(bucket, key)
        return doomed

    # -- buckets ---------------------------------------------------------------------------------------

    def ensure_buckets(self) -> None:
        """Make the configured buckets that do not exist; safe to run in several processes at once.

        Raises:
            StorageError: Storage refused or (``StorageUnavailable``) cannot be reached.
        """
        for bucket in self.config.buckets:
            with self._talking("make bucket", bucket):
                if self._bucket_exists(self._client(), bucket):
                    continue
                try:
                    self._client().make_bucket(bucket, self.config.region)
                except MinioException as exc:
                    if fault(exc).code not in EXISTING_BUCKET_CODES:
                        raise

    def check(self) -> None:
        """Return if storage answers and every configured bucket exists; quick, for readiness probes.

        Raises:
            StorageUnavailable: Storage does not answer within a few seconds.
            StorageError: Storage refuses us, or buckets are missing.
        """
        client = self._client(probing=True)
        missing = []
        for bucket in self.config.buckets:
            with self._talking("check bucket", bucket):
                if not self._bucket_exists(client, bucket):
                    missing.append(bucket)
        if missing:
            raise StorageError(
                f"object storage at {self.config.endpoint} has no bucket {', '.join(missing)}",
                details={"endpoint": self.config.endpoint, "buckets": missing},
            )

    def parse_path(self, path: object, name: str = "path") -> tuple[str, str]:
        """Split ``"bucket/key"`` and check that the bucket is configured.

        Args:
            path: The value of the field.
            name: The field's name, for the error.

        Raises:
            BadInput: Not of that form.
            BucketNotAllowed: The bucket is not configured.
        """
        bucket, key = parse_path(path, name)
        self._admit(bucket)
        return bucket, key

    # -- tensors ---------------------------------------------------------------------------------------

    def fetch_torch_image(self, bucket: str, key: str) -> torch.Tensor:
        """Fetch a picture as a tensor; see ``tensors.fetch_torch_image``."""
        from . import tensors

        return tensors.fetch_torch_image(self, bucket, key)

    def fetch_torch_audio(self, bucket: str, key: str) -> tuple[torch.Tensor, int]:
        """Fetch a sound as a tensor and its sample rate; see ``tensors.fetch_torch_audio``."""
        from . import tensors

        return tensors.fetch_torch_audio(self, bucket, key)

    # -- inside ----------------------------------------------------------------------------------------

    def _client(self, probing: bool = False) -> Minio:
        return self._connections.client(probing)

    def _admit(self, bucket: str, key: str | None = None) -> None:
        if bucket not in self.config.buckets:
            raise BucketNotAllowed(
                f"bucket {bucket!r} is not one of the configured buckets: {', '.join(self.config.buckets)}"
            )
        if key is not None:
            check_key(key)

    def _send(
        self, outgoing: Outgoing, bucket: str, key: str, content_type: str, on_progress: OnProgress | None
    ) -> Artifact:
        with self._talking("upload", bucket, key):
            outgoing.send(self._client(), bucket, key, content_type)
        found = self._look_up(bucket, key)
        outgoing.check_arrived(found)
        if on_progress is not None:
            on_progress(1.0)
        return _artifact(found, bucket, key)

    def _talking(self, action: str, bucket: str, key: str | None = None) -> AbstractContextManager[None]:
        name = bucket if key is None else f"{bucket}/{key}"
        return talking(action, name, endpoint=self.config.endpoint, secret=self.config.secret_key)

    def _look_up(self, bucket: str, key: str) -> Object:
        with self._talking("look up", bucket, key):
            return self._client().stat_object(bucket, key)

    def _remove(self, bucket: str, key: str) -> None:
        with self._talking("remove", bucket, key):
            try:
                self._client().remove_object(bucket, key)
            except MinioException as exc:
                if fault(exc).code not in MISSING_CODES:
                    raise

    def _bucket_exists(self, client: Minio, bucket: str) -> bool:
        try:
            return client.bucket_exists(bucket)
        except MinioException as exc:
            if fault(exc).code == MISSING_BUCKET_CODE:
                return False
            raise


def _artifact(found: Object, bucket: str, key: str) -> Artifact:
    # A server that keeps no date cannot be asked again; now is the time closest to the truth.
    moment = found.last_modified or datetime.now(UTC)
    return Artifact(
        bucket=bucket,
        key=key,
        size_bytes=found.size or 0,
        created_at=moment.isoformat(),
        content_type=found.content_type,
    )
