"""The command that runs a process of the farm: ingest."""

from __future__ import annotations

import click

from .setup import Setup, common, fail


@click.command()
@common
def ingest(setup: Setup) -> None:
    """Run an ingestor: take graphs off the data stream, start their nodes, put right what a crash left open.

    Runs until SIGTERM or SIGINT; any number may run side by side. Serves /health, /ready and /metrics on
    server.host and server.port. Logs to stderr from farm.log_level up; with --json one object a line.
    Exits with 1 if the port is taken, with 2 if a setting is wrong.

    \b
    Example:
      myspinbot-worker ingest
    """
    from .logs import set_up_logging

    farm = setup.load_actors()
    set_up_logging(setup.settings.farm.log_level, farm.secrets, as_json=setup.as_json)

    from ..ingest import serve

    server = setup.settings.server
    try:
        serve(farm)
    except OSError as error:
        fail(f"cannot listen on {server.host}:{server.port}: {error.strerror or error}")
