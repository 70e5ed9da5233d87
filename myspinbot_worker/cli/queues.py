"""The commands that stop and start the flow: pause and resume."""

from __future__ import annotations

import click

from ..keys import QUEUES
from .output import print_json
from .setup import Setup, common

queue_argument = click.argument("queue", type=click.Choice([*QUEUES, "all"]))


@click.command()
@queue_argument
@common
def pause(setup: Setup, queue: str) -> None:
    """Let no worker take a node from QUEUE until it is resumed.

    What runs goes on, jobs are still admitted, and their nodes wait in the queue. Holds for all workers, those
    started later included; takes effect within a second.

    \b
    Example:
      myspinbot-worker pause gpu
    """
    _set(setup, queue, paused=True)


@click.command()
@queue_argument
@common
def resume(setup: Setup, queue: str) -> None:
    """Let workers take nodes from QUEUE again.

    \b
    Example:
      myspinbot-worker resume all
    """
    _set(setup, queue, paused=False)


def _set(setup: Setup, queue: str, *, paused: bool) -> None:
    names = QUEUES if queue == "all" else (queue,)
    key = setup.store.keys.paused
    if paused:
        setup.store.client.sadd(key, *names)
    else:
        setup.store.client.srem(key, *names)
    left = sorted(setup.store.client.smembers(key))
    if setup.as_json:
        print_json({"paused": left})
    else:
        click.echo(f"paused: {', '.join(left) or 'no queue'}")
