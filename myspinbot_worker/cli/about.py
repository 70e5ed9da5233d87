"""Commands about the farm itself: capabilities, config."""

from __future__ import annotations

import click

from .output import duration, make_console, print_json, print_table
from .setup import Setup, common


@click.command()
@click.option("--schema", is_flag=True, help="With the JSON Schemas of inputs and outputs (implies --json).")
@common
def capabilities(setup: Setup, schema: bool) -> None:
    """List the services this farm offers; as JSON it is the manifest that the control plane reads.

    \b
    Example:
      myspinbot-worker capabilities
      myspinbot-worker capabilities --schema | jq '.capabilities[].io.output'
    """
    registry = setup.load_actors().registry
    if setup.as_json or schema:
        print_json(registry.manifest(with_schema=schema))
        return
    print_table(
        make_console(),
        ("service", "queue", "label", "version", "attempts", "timeout", "params"),
        [
            (
                item.id,
                item.queue,
                item.label,
                item.version,
                str(item.retry.max_attempts),
                duration(item.timeout_seconds) if item.timeout_seconds > 0 else "none",
                ", ".join(item.params.model_fields),
            )
            for item in registry
        ],
    )


@click.command()
@click.option("--meaning", is_flag=True, help="With what each setting means.")
@common
def config(setup: Setup, meaning: bool) -> None:
    """Show every setting with its value and where that came from. Secrets are masked.

    \b
    Example:
      myspinbot-worker config --meaning
    """
    from ..config import describe

    rows = describe(setup.settings)
    if setup.as_json:
        print_json(
            [
                {"key": row.key, "value": row.value, "origin": row.origin, "description": row.description}
                for row in rows
            ]
        )
        return
    columns = ("setting", "value", "origin", *(("meaning",) if meaning else ()))
    print_table(
        make_console(),
        columns,
        [(row.key, row.value, row.origin, row.description)[: len(columns)] for row in rows],
    )
