"""A click group that imports a command's module when the command is called, and not for ``--help``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Lazy(NamedTuple):
    """Where a command is, and the one line the group's help has on it."""

    target: str
    """``module:attribute``, the module below the group's package; absolute where it holds a dot."""
    summary: str


class LazyGroup(click.Group):
    """See the module.

    Args:
        commands_in: The package whose modules hold the commands.
        lazy: Command name to where it is. Commands added with ``add_command`` work too, and come last.
    """

    def __init__(self, *args: Any, commands_in: str, lazy: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package = commands_in
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].target.partition(":")
        name = module if "." in module else f"{self._package}.{module}"
        command: click.Command = getattr(importlib.import_module(name), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, entry.summary) for name, entry in self._lazy.items()]
        rows += [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
