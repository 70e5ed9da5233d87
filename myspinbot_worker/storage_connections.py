"""Connections to object storage: opened when first used, shared by threads, never by processes."""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path

import certifi
import urllib3
from minio import Minio
from minio.helpers import check_bucket_name

from .errors import ConfigError


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
        ca_file: PEM file of the authorities that may vouch for the server; None: ``SSL_CERT_FILE``'s, or certifi's.
        max_bytes: Largest object that is downloaded; None: any.
    """

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    use_ssl: bool
    buckets: tuple[str, ...]
    region: str | None = None
    ca_file: Path | None = None
    max_bytes: int | None = None


class Connections:
    """The client library's objects for one storage; arguments as of :class:`.storage.Storage`.

    Raises:
        ConfigError: The endpoint or a bucket's name is malformed, or the file of authorities cannot be used.
    """

    def __init__(
        self, config: StorageConfig, *, connect_timeout: float, read_timeout: float, retries: int
    ) -> None:
        self._config = config
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
        if config.ca_file is not None:
            _check_authorities(config.ca_file)
        self.client()

    def client(self, probing: bool = False) -> Minio:
        """Return this process' client; one for ``probing`` gives up quickly."""
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

    def close(self) -> None:
        """Close the connections, when no other thread uses them; the next use opens new ones."""
        scheme = "https" if self._config.use_ssl else "http"
        with self._lock:
            if self._owner == os.getpid():
                for pool in self._pools:
                    # Clearing alone leaves sockets open for as long as some traceback refers to them.
                    pool.connection_from_url(f"{scheme}://{self._config.endpoint}").close()
                    pool.clear()

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
            ca_certs=str(self._config.ca_file or os.environ.get("SSL_CERT_FILE") or certifi.where()),
        )
        self._pools.append(pool)
        try:
            return Minio(
                self._config.endpoint,
                access_key=self._config.access_key,
                secret_key=self._config.secret_key,
                secure=self._config.use_ssl,
                region=self._config.region,
                http_client=pool,
            )
        except ValueError as exc:
            raise ConfigError(f"storage endpoint {self._config.endpoint!r} is not host:port: {exc}") from exc


def _check_authorities(path: Path) -> None:
    """Refuse a file of authorities that cannot be read or holds none, before the first connection fails by it."""
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"storage.ca_file {path} cannot be used: {getattr(exc, 'strerror', None) or exc}"
        ) from exc
