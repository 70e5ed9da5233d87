"""The command that checks everything the farm needs: doctor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from .finding import Check, Finding
from .machine_checks import machine_checks
from .output import make_console, print_json
from .redis_checks import redis_checks
from .setup import FAILED, Setup, common

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


@click.command()
@common
def doctor(setup: Setup) -> None:
    """Check Redis, object storage, engines, devices and folders, and say what to do about each trouble.

    ✓ is well; ! works, or is not needed for every kind of process; ✗ will not work. Changes nothing. Exits
    with 1 if anything is ✗.

    \b
    Example:
      myspinbot-worker doctor --json | jq '.findings[] | select(.level != "ok")'
    """
    settings, inspector = setup.settings, setup.inspector
    in_redis = redis_checks(
        setup.client, settings.redis.url, inspector.keys, inspector.streams, settings.farm.heartbeat_seconds
    )
    console = make_console()
    findings = []
    for finding in examine(in_redis, machine_checks(settings)):
        findings.append(finding)
        if not setup.as_json:
            print_finding(console, finding)
    healthy = all(finding.level != "error" for finding in findings)
    if setup.as_json:
        print_json({"healthy": healthy, "findings": [_record(finding) for finding in findings]})
    if not healthy:
        raise click.exceptions.Exit(FAILED)


def examine(in_redis: list[Check], on_machine: Iterable[Check]) -> Iterator[Finding]:
    """Run the checks; those of Redis after the first only if the first went well."""
    first, *others = in_redis
    reachable = first()
    yield reachable
    if reachable.level != "error":
        for check in others:
            yield check()
    for check in on_machine:
        yield check()


def print_finding(console: Console, finding: Finding) -> None:
    mark, colour = _MARKS[finding.level]
    arrow = "→"
    try:
        (mark + arrow).encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        mark, arrow = {"ok": "ok", "warning": "!", "error": "x"}[finding.level], "->"
    line = Text.assemble((mark, colour), " ", (f"{finding.name:<18}", "bold"), " ", finding.text)
    console.print(line, soft_wrap=True)
    if finding.advice:
        console.print(Text(f"    {arrow} {finding.advice}"), soft_wrap=True)


def _record(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "level": finding.level,
        "text": finding.text,
        "advice": finding.advice,
    }
