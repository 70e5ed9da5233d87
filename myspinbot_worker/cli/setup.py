"""What every command has in common: its options, its settings, and how errors reach the operator."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec

import click

from ..errors import ConfigError, FarmError, JobUnknown

if TYPE_CHECKING:
    import redis

    from ..farm import Farm
    from ..graph.messages import Messages
    from ..graph.store import RunStore
    from ..graph.transitions import Limits
    from ..inspection import Inspector
    from ..repair.desk import Desk
    from ..repair.retrying import JobRetry
    from ..settings import Settings

P = ParamSpec("P")

FAILED, WRONG, UNKNOWN_JOB, TIMED_OUT, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes; the group's help says what they mean."""


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the command with one line on stderr."""
    click.echo(f"Error: {message}", err=True)
    raise click.exceptions.Exit(code)


class Setup:
    """One call of a command: its settings, and connections made when they are first used.

    Args:
        redis_url: Overrides the setting.
        as_json: The output is for programs.
    """

    def __init__(self, redis_url: str | None = None, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._redis_url = redis_url

    @cached_property
    def settings(self) -> Settings:
        from ..config import load_settings

        return load_settings(overrides={"redis.url": self._redis_url})

    @cached_property
    def client(self) -> redis.Redis:
        """Redis, replies as bytes: much of what is read others wrote."""
        from ..redis_clients import connect

        return connect(self.settings.redis.url, text=False)

    @cached_property
    def inspector(self) -> Inspector:
        from ..graph.transitions import StreamNames
        from ..inspection import Inspector
        from ..keys import Keys

        streams = self.settings.streams
        return Inspector(
            self.client,
            Keys(self.settings.farm.namespace),
            StreamNames(streams.data, streams.control, streams.group),
        )

    @cached_property
    def messages(self) -> Messages:
        from ..graph.messages import Messages

        channels = self.settings.channels
        return Messages(channels.progress, channels.status, channels.data)

    @cached_property
    def store(self) -> RunStore:
        """The run store, for the transitions an operator may ask for."""
        from ..graph.store import RunStore
        from ..redis_clients import connect

        return RunStore(
            connect(self.settings.redis.url, text=True),
            self.inspector.keys,
            self.inspector.streams,
            self.messages,
        )

    @cached_property
    def limits(self) -> Limits:
        """How long and how many records are kept, as the settings have it."""
        from ..graph.transitions import Limits

        farm = self.settings.farm
        return Limits(
            job_ttl_seconds=self.settings.jobs.ttl_seconds,
            dead_letters_kept=farm.dead_letters_kept,
            history_kept=farm.history_kept,
        )

    @cached_property
    def job_retry(self) -> JobRetry:
        from ..repair.retrying import JobRetry

        farm = self.settings.farm
        return JobRetry(
            self.client,
            self.inspector,
            self.limits,
            max_bytes=farm.max_entry_bytes,
            max_nodes=farm.max_nodes,
        )

    @cached_property
    def desk(self) -> Desk:
        """Everything that waits for an operator."""
        from ..repair.desk import Desk
        from ..repair.failures import FailedNodes
        from ..repair.letters import DeadLetters

        farm, inspector = self.settings.farm, self.inspector
        letters = DeadLetters(
            self.client,
            inspector.keys,
            inspector.streams,
            self.limits,
            max_bytes=farm.max_entry_bytes,
            max_nodes=farm.max_nodes,
        )
        failures = FailedNodes(self.client, inspector)
        return Desk(self.client, inspector.keys, letters, failures, self.job_retry)

    def load_actors(self) -> Farm:
        """The farm with every capability loaded.

        Raises:
            ConfigError: A module of ``farm.actor_modules`` cannot be imported.
        """
        from ..config import environment

        # The package builds itself from the environment; what the command line said goes there.
        os.environ["REDIS_URL"] = environment(self.settings)["REDIS_URL"]
        modules = self.settings.farm.actor_modules
        if modules and str(Path.cwd()) not in sys.path:
            # As `dramatiq` does: modules beside the operator's own files are found.
            sys.path.append(str(Path.cwd()))
        try:
            from ..actors import farm
        except ImportError as error:
            if not modules:
                raise
            raise ConfigError(f"farm.actor_modules: {error}") from error
        return farm


def common(command: Callable[Concatenate[Setup, P], None]) -> Callable[..., None]:
    """Gives a command ``--json``, ``--redis-url``, a :class:`Setup` as first argument, and plain errors."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
    @click.option("--redis-url", metavar="URL", help="Redis server, whatever the settings say.")
    @functools.wraps(command)
    def run(*args: Any, redis_url: str | None, as_json: bool, **kwargs: Any) -> None:
        setup = Setup(redis_url, as_json=as_json)
        try:
            command(setup, *args, **kwargs)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:  # noqa: BLE001 - what has no plain words is raised again
            _explain(error, setup)

    return run


def _explain(error: Exception, setup: Setup) -> NoReturn:
    """End with the error as one line for the operator; one that nobody foresaw keeps its traceback."""
    if isinstance(error, ConfigError):
        fail(error.message, WRONG)
    if isinstance(error, FarmError):
        from .output import clean

        fail(clean(error.message), UNKNOWN_JOB if isinstance(error, JobUnknown) else FAILED)
    if "redis" in sys.modules:
        import redis

        from ..config_values import masked_url

        if isinstance(error, redis.RedisError):
            where = f"Redis at {masked_url(setup.settings.redis.url)}"
            fail(redis_trouble(error, where))
    raise error


def redis_trouble(error: redis.RedisError, where: str) -> str:
    """What went wrong with Redis, in one line."""
    import redis

    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, redis.AuthenticationError):
        return f"{where} refuses the user name or password: {reason}"
    if "certificate verify failed" in reason:
        why = reason.partition("certificate verify failed: ")[2].partition(" (_ssl")[0].rstrip(".)") or reason
        return f"{where}: its certificate is not trusted: {why}; add ?ssl_ca_certs=<its authority's file> to the URL"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return f"cannot reach {where}: {reason}"
    return f"{where} answered: {reason}"
