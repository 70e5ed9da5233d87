"""Artifacts in MinIO, or any other S3: fetched, kept, looked up and removed, each transfer verified.

Tasks exchange files as *artifacts*, a bucket and a key. This module is the only one that talks to object
storage. Whatever the client library or the network does comes out as one of the errors of ``errors.py``, so
that retry policy can be read off the error's class.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.helpers import check_bucket_name
from pydantic import BaseModel, ConfigDict, Field, field_validator
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.response import BaseHTTPResponse

from .errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BadInput,
    BadOutput,
    BucketNotAllowed,
    ConfigError,
    StorageError,
    StorageUnavailable,
)

if TYPE_CHECKING:
    import torch

OnProgress = Callable[[float], None]
"""Told the done part of a transfer, 0.0 to 1.0; may raise to abandon the transfer."""

CHUNK = 1 << 20
"""Bytes read from disk or network at a time."""

PART_SIZE = 16 << 20
"""Bytes of one part of a multipart upload; what an upload holds in memory, whatever the file's size."""

MAX_PARTS = 10_000
"""S3's limit of parts of one object; parts grow beyond ``PART_SIZE`` only to stay below it."""

MAX_KEY_BYTES = 1024
"""S3's limit of a key's length in UTF-8."""

SHA256_METADATA = "sha256"
"""User metadata (``x-amz-meta-sha256``) in which an upload leaves its checksum for later downloads."""

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
_MISSING_CODES = frozenset({"NoSuchKey", "NoSuchVersion"})
_EXISTING_BUCKET_CODES = frozenset({"BucketAlreadyExists", "BucketAlreadyOwnedByYou"})
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")
# What the machine's own tables call these differs from system to system.
_MEDIA_TYPES = {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".safetensors": "application/octet-stream",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class StorageConfig:
    """Where object storage is and who we are there.

    Args:
        endpoint: ``host:port``, without a scheme.
        access_key: Access key id.
        secret_key: Secret access key; never shown by ``repr``.
        use_ssl: Whether to speak HTTPS.
        buckets: The only buckets the farm touches.
        region: The buckets' region; None asks the server for it, once per bucket.
    """

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    use_ssl: bool
    buckets: tuple[str, ...]
    region: str | None = None


class Artifact(BaseModel):
    """An object in storage, as the planes tell each other about it."""

    model_config = ConfigDict(extra="forbid")

    bucket: str
    key: str
    size_bytes: int = Field(ge=0)
    created_at: str
    content_type: str | None = None

    @field_validator("created_at")
    @classmethod
    def _is_a_moment(cls, value: str) -> str:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("created_at must carry an offset from UTC")
        return value


def check_key(key: str, name: str = "key") -> str:
    """Return ``key`` if it is a usable object key.

    Stricter than S3 where MinIO is: an empty segment (``a//b``, a leading or a trailing slash) is refused.

    Args:
        key: The object key.
        name: What to call it in the error.

    Raises:
        BadInput: The key is empty, too long, or holds segments or characters that could lead elsewhere.
    """
    if not key:
        raise BadInput(f"{name} is empty")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise BadInput(f"{name} is not valid Unicode") from None
    if length > MAX_KEY_BYTES:
        raise BadInput(f"{name} is {length} bytes long, the limit is {MAX_KEY_BYTES}")
    if _CONTROL_CHARACTERS.search(key):
        raise BadInput(f"{name} {key!r} holds control characters")
    segments = key.split("/")
    if "" in segments:
        raise BadInput(f"{name} {key!r} starts or ends with a slash, or has two in a row")
    if "." in segments or ".." in segments:
        raise BadInput(f"{name} {key!r} has a '.' or '..' segment")
    return key


def parse_path(path: object, name: str = "path") -> tuple[str, str]:
    """Split ``"bucket/key"`` as it comes in a node's params.

    Args:
        path: The value of the field.
        name: The field's name, for the error.

    Raises:
        BadInput: The value is not a string of a bucket, a slash and a usable key.
    """
    if not isinstance(path, str):
        raise BadInput(f'{name} must be text of the form "bucket/key", not {type(path).__name__}')
    bucket, slash, key = path.partition("/")
    if not bucket:
        raise BadInput(f'{name} {path!r} names no bucket; it must be "bucket/key" without a leading slash')
    if not slash or not key:
        raise BadInput(f'{name} {path!r} names no key; it must be "bucket/key"')
    return bucket, check_key(key, f"the key in {name}")


def guess_content_type(name: str) -> str:
    """Return the media type a file's name suggests, ``application/octet-stream`` if none."""
    known = _MEDIA_TYPES.get(Path(name).suffix.lower())
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"


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
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._retries = retries
        self._lock = threading.Lock()
        self._clients: dict[bool, Minio] = {}
        self._pools: list[urllib3.PoolManager] = []
        self._owner = os.getpid()
        for bucket in config.buckets:
            try:
                check_bucket_name(bucket)
            except ValueError as exc:
                raise ConfigError(f"bucket {bucket!r} is not a valid bucket name: {exc}") from exc
        self._client()

    def __repr__(self) -> str:
        return f"Storage({self.config!r})"

    def close(self) -> None:
        """Close the connections, when no other thread uses them; the next call opens new ones."""
        scheme = "https" if self.config.use_ssl else "http"
        with self._lock:
            if self._owner == os.getpid():
                for pool in self._pools:
                    # Clearing alone leaves sockets open for as long as some traceback refers to them.
                    pool.connection_from_url(f"{scheme}://{self.config.endpoint}").close()
                    pool.clear()

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
    ) -> Path:
        """Fetch an object into a file, which appears under its name only when complete and verified.

        The content is checked against the SHA-256 its upload left in the metadata; where there is none,
        against the ETag if that is the content's MD5.

        Args:
            bucket: A configured bucket.
            key: The object's key.
            destination: The file to write; missing folders are made, an existing file is replaced.
            expected_size: Size in bytes the object must have, as an artifact's ``size_bytes`` promises.
            max_bytes: Refuse an object larger than this.
            on_progress: Told the done part after each chunk; what it raises ends the download.

        Returns:
            ``destination``.

        Raises:
            ArtifactMissing: There is no such object.
            ArtifactCorrupt: Size or checksum differ from what was promised.
            BadInput: The key is unusable, or the object is larger than ``max_bytes``.
            BucketNotAllowed: The bucket is not configured.
            StorageUnavailable: Storage cannot be reached, or the connection broke half-way.
            StorageError: Storage refused.
        """
        self._admit(bucket, key)
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = destination.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with self._talking("download", bucket, key):
                response = self._client().get_object(bucket, key)
                try:
                    self._receive(response, f"{bucket}/{key}", partial, expected_size, max_bytes, on_progress)
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
        on_progress: OnProgress | None = None,
    ) -> Artifact:
        """Keep a file as an object. Memory stays at about one part, whatever the file's size.

        The file is read twice: its checksum has to be known before its first byte is sent.

        Args:
            path: The file; must not change meanwhile.
            bucket: A configured bucket.
            key: The object's key; an existing object is replaced.
            content_type: Media type; None guesses it from the key, then the file's name.
            on_progress: Told the sent part before each part and at the end; 0.0 while the file is hashed.
                What it raises before the last part ends the upload and leaves no object behind.

        Raises:
            ArtifactCorrupt: The file changed meanwhile, or what arrived is not what was sent.
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
            return self._send(file, os.fstat(file.fileno()).st_size, bucket, key, content_type, on_progress)

    def upload_bytes(self, data: bytes, bucket: str, key: str, content_type: str | None = None) -> Artifact:
        """Keep bytes as an object; errors as of ``upload``."""
        self._admit(bucket, key)
        guessed = content_type or guess_content_type(key)
        return self._send(io.BytesIO(data), len(data), bucket, key, guessed, None)

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

    def remove_prefix(self, bucket: str, prefix: str, keep: Collection[str] = ()) -> list[str]:
        """Remove everything in the folder ``prefix``, but for some keys.

        A folder, not a string prefix: ``"job-1"`` leaves ``"job-10/…"`` alone.

        Args:
            bucket: A configured bucket.
            prefix: The folder, with or without the trailing slash; never empty.
            keep: Whole keys to leave.

        Returns:
            The removed keys.

        Raises:
            BadInput: The prefix is unusable.
            StorageError: Storage refused or (``StorageUnavailable``) cannot be reached.
        """
        folder = check_key(prefix.removesuffix("/"), "prefix") + "/"
        doomed = [key for key in self.list_keys(bucket, folder) if key not in keep]
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
                    if _fault(exc).code not in _EXISTING_BUCKET_CODES:
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
        with self._lock:
            if self._owner != os.getpid():
                # Dramatiq forks its workers: two processes must not share one socket's bytes.
                self._clients.clear()
                self._pools.clear()
                self._owner = os.getpid()
            client = self._clients.get(probing)
            if client is None:
                client = self._clients[probing] = self._connect(probing)
            return client

    def _connect(self, probing: bool) -> Minio:
        retry = urllib3.Retry(
            total=0 if probing else self._retries,
            backoff_factor=0.2,
            status_forcelist=(429, 500, 502, 503, 504),
            # The last answer says more than "too many 503 error responses".
            raise_on_status=False,
            # A server may ask for an hour; the node's own retry policy waits, not a blocked thread.
            respect_retry_after_header=False,
        )
        pool = urllib3.PoolManager(
            maxsize=10,
            timeout=urllib3.Timeout(
                connect=min(2.0, self._connect_timeout) if probing else self._connect_timeout,
                read=min(3.0, self._read_timeout) if probing else self._read_timeout,
            ),
            retries=retry,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        self._pools.append(pool)
        try:
            return Minio(
                self.config.endpoint,
                access_key=self.config.access_key,
                secret_key=self.config.secret_key,
                secure=self.config.use_ssl,
                region=self.config.region,
                http_client=pool,
            )
        except ValueError as exc:
            raise ConfigError(f"storage endpoint {self.config.endpoint!r} is not host:port: {exc}") from exc

    def _admit(self, bucket: str, key: str | None = None) -> None:
        if bucket not in self.config.buckets:
            raise BucketNotAllowed(
                f"bucket {bucket!r} is not one of the configured buckets: {', '.join(self.config.buckets)}"
            )
        if key is not None:
            check_key(key)

    def _receive(
        self,
        response: BaseHTTPResponse,
        name: str,
        partial: Path,
        expected_size: int | None,
        max_bytes: int | None,
        on_progress: OnProgress | None,
    ) -> None:
        announced = response.headers.get("content-length")
        total = int(announced) if announced is not None else None
        if total is not None and expected_size is not None and total != expected_size:
            raise ArtifactCorrupt(f"{name} has {total} bytes, {expected_size} were promised")
        algorithm, promised = _checksum_promised(response.headers)
        digest = hashlib.new(algorithm, usedforsecurity=False)
        size = 0
        limit = max_bytes if max_bytes is not None else float("inf")
        if (total or 0) > limit:
            raise BadInput(f"{name} has {total} bytes, the limit is {max_bytes}")
        with partial.open("xb") as file:
            # Not decoded: size and checksum are those of the stored bytes.
            for chunk in response.stream(CHUNK, decode_content=False):
                size += len(chunk)
                if size > limit:
                    raise BadInput(f"{name} has more than {max_bytes} bytes, the limit")
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

    def _send(
        self,
        file: BinaryIO,
        size: int,
        bucket: str,
        key: str,
        content_type: str,
        on_progress: OnProgress | None,
    ) -> Artifact:
        name = f"{bucket}/{key}"
        before = _fingerprint(file)
        sha256, md5 = _checksums(file, on_progress)
        file.seek(0)
        source = _Source(file, size, on_progress)
        part_size = max(PART_SIZE, -(-size // MAX_PARTS))
        with self._talking("upload", bucket, key):
            try:
                self._client().put_object(
                    bucket,
                    key,
                    cast(BinaryIO, source),
                    size,
                    content_type=content_type,
                    metadata={SHA256_METADATA: sha256},
                    part_size=part_size,
                    # One part at a time: memory stays at one part, and progress is what was really sent.
                    num_parallel_uploads=1,
                )
            except Exception:
                # The client aborts the multipart upload before it raises; if that fails, it raises that.
                if source.interruption is not None:
                    raise source.interruption from None
                if _fingerprint(file) != before:
                    raise ArtifactCorrupt(f"the file changed while it was uploaded as {name}") from None
                raise
        if _fingerprint(file) != before:
            raise ArtifactCorrupt(f"the file changed while it was uploaded as {name}")
        found = self._look_up(bucket, key)
        headers = _headers(found)
        if found.size != size:
            raise ArtifactCorrupt(f"{name} has {found.size} bytes in storage, {size} were sent")
        etag = _etag_md5(headers)
        if etag is not None and etag != md5:
            raise ArtifactCorrupt(f"the MD5 of {name} in storage is not that of what was sent")
        stored = headers.get(f"x-amz-meta-{SHA256_METADATA}")
        if stored is not None and stored != sha256:
            raise ArtifactCorrupt(f"{name} was replaced by another writer while it was uploaded")
        if on_progress is not None:
            on_progress(1.0)
        return _artifact(found, bucket, key)

    def _look_up(self, bucket: str, key: str) -> Object:
        with self._talking("look up", bucket, key):
            return self._client().stat_object(bucket, key)

    def _remove(self, bucket: str, key: str) -> None:
        with self._talking("remove", bucket, key):
            try:
                self._client().remove_object(bucket, key)
            except MinioException as exc:
                if _fault(exc).code not in _MISSING_CODES:
                    raise

    def _bucket_exists(self, client: Minio, bucket: str) -> bool:
        try:
            return client.bucket_exists(bucket)
        except MinioException as exc:
            if _fault(exc).code == "NoSuchBucket":
                return False
            raise

    @contextmanager
    def _talking(self, action: str, bucket: str, key: str | None = None) -> Iterator[None]:
        """Turn what the client library raises into our errors."""
        try:
            yield
        except (MinioException, HTTPError, ParseError) as exc:
            name = bucket if key is None else f"{bucket}/{key}"
            raise self._translated(exc, action, name) from exc

    def _translated(self, exc: Exception, action: str, name: str) -> StorageError:
        fault = _fault(exc)
        kind: type[StorageError] = StorageError
        if fault.code in _MISSING_CODES:
            kind = ArtifactMissing
        elif fault.transient:
            kind = StorageUnavailable
        message = f"cannot {action} {name} at {self.config.endpoint}: {fault.code}"
        if fault.message:
            message += f" ({fault.message[:300]})"
        # No server should repeat a secret back to us; none will reach a job's graph if it does.
        if self.config.secret_key:
            message = message.replace(self.config.secret_key, "***")
        details = {"endpoint": self.config.endpoint, "object": name, "reason": fault.code}
        return kind(message, details=details)


class _Source(io.RawIOBase):
    """What the client reads an upload through.

    It reads a part when the parts before it have been sent, so what was read before is what was sent.
    """

    def __init__(self, file: BinaryIO, size: int, on_progress: OnProgress | None) -> None:
        self._file = file
        self._size = size
        self._sent = 0
        self._on_progress = on_progress
        self.interruption: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        if self._on_progress is not None and self._size:
            try:
                self._on_progress(min(self._sent / self._size, 1.0))
            except Exception as exc:
                self.interruption = exc
                raise
        data = self._file.read(size)
        self._sent += len(data)
        return data


@dataclass(frozen=True)
class _Fault:
    """What went wrong, whichever way the client library said it."""

    code: str
    message: str
    transient: bool


def _fault(exc: Exception) -> _Fault:
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
    hopeless = "CERTIFICATE_VERIFY_FAILED" in str(cause) or "WRONG_VERSION_NUMBER" in str(cause)
    return _Fault(type(cause).__name__, str(cause), transient=not hopeless)


def _answered(status: int, code: str, message: str) -> _Fault:
    transient = code in _TRANSIENT_CODES or status in (408, 429) or (status >= 500 and status != 501)
    return _Fault(code or f"HTTP {status}", message, transient)


def _element(xml: str, tag: str) -> str:
    match = re.search(f"<{tag}>([^<]*)</{tag}>", xml)
    return match.group(1) if match else ""


def _headers(found: Object) -> Mapping[str, str]:
    # The client hands over urllib3's header mapping, which ignores case, under the name of metadata.
    return cast(Mapping[str, str], found.metadata or {})


def _etag_md5(headers: Mapping[str, str]) -> str | None:
    """Return the content's MD5, if that is what the ETag is.

    It is not for an object of several parts (``…-3``), nor under encryption with a key of one's own.
    """
    if headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"):
        return None
    if headers.get("x-amz-server-side-encryption-customer-algorithm"):
        return None
    etag = headers.get("etag", "").strip('"').lower()
    return etag if _PLAIN_MD5.fullmatch(etag) else None


def _checksum_promised(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the algorithm and the checksum to hold a download against.

    The uploader's SHA-256 wins: it was taken from the file itself, an ETag is what the server made of it.
    """
    sha256 = headers.get(f"x-amz-meta-{SHA256_METADATA}")
    if sha256 is not None and re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        return "sha256", sha256.lower()
    return "md5", _etag_md5(headers)


def _checksums(file: BinaryIO, on_progress: OnProgress | None) -> tuple[str, str]:
    """Return SHA-256 and MD5 of the rest of a file, in hexadecimal."""
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(CHUNK):
        sha256.update(chunk)
        md5.update(chunk)
        if on_progress is not None:
            on_progress(0.0)
    return sha256.hexdigest(), md5.hexdigest()


def _fingerprint(file: BinaryIO) -> tuple[int, int] | None:
    """Return what changes when a file is written to; None for bytes in memory."""
    if isinstance(file, io.BytesIO):
        return None
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


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
