"""What came of a campaign, for people and as figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from rich.console import Console
from rich.table import Table

from .campaign_checks import Violation
from .campaign_recovery import quantile
from .campaign_run import CHECKS, Campaign, Result

EXAMPLES = 5


def command(campaign: Campaign) -> str:
    """What repeats a campaign."""
    size = campaign.size
    return (
        f"python -m tests.faults.campaign --seed {campaign.seed} --jobs {campaign.jobs}"
        f" --faults {campaign.faults} --at-once {campaign.at_once} --lease {size.lease:g}"
        f" --workers {size.workers} --processes {size.processes} --threads {size.threads}"
        f" {'--deadly' if campaign.deadly else '--no-deadly'}"
    )


def show(result: Result, console: Console) -> None:
    """A compact table, and examples of what went wrong."""
    counts = Counter(violation.check for violation in result.violations)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(result):
        table.add_row(name, value)
    table.add_section()
    for check in CHECKS:
        number = counts[check]
        table.add_row(check, f"[red]{number}[/red]" if number else "[green]0[/green]")
    console.print(table)
    for check, violations in _by_check(result.violations).items():
        console.rule(f"[red]{check}: {len(violations)}")
        for violation in violations[:EXAMPLES]:
            console.print(_example(result, violation), markup=False, highlight=False, soft_wrap=True)
    if result.violations:
        console.print(f"\nAgain: {command(result.campaign)}", style="bold", highlight=False, soft_wrap=True)


def _facts(result: Result) -> list[tuple[str, str]]:
    done = result.faults.total()
    ended = sum(history.final is not None for history in result.histories.values())
    kinds = ", ".join(f"{kind} {count}" for kind, count in result.faults.most_common())
    repeated = result.starts - result.needed_starts
    return [
        ("jobs", f"{ended:,} of {result.campaign.jobs:,}, {result.nodes:,} nodes"),
        (
            "time",
            f"{result.seconds:.1f} s, {result.nodes / max(result.seconds, 1e-9):.1f} nodes a second",
        ),
        ("faults", f"{done} of {result.campaign.faults}: {kinds}"),
        ("restarts", f"{result.restarts} of ingestors and worker commands"),
        ("starts", f"{result.starts:,}, of which {repeated:,} were repeats"),
        ("recovery", f"{_spread(result.waits)} nodes of killed workers"),
        ("", f"{_spread(result.task_waits)} nodes whose own process was killed"),
        ("seed", str(result.campaign.seed)),
    ]


def _spread(waits: list[float]) -> str:
    p50, p99, most = (quantile(waits, part) for part in (0.5, 0.99, 1.0))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {most:.2f} s: {len(waits)}"


def _by_check(violations: list[Violation]) -> dict[str, list[Violation]]:
    found: dict[str, list[Violation]] = defaultdict(list)
    for violation in violations:
        found[violation.check].append(violation)
    return found


def _example(result: Result, violation: Violation) -> str:
    lines = [f"  expected: {violation.expected}", f"  actual:   {violation.actual}"]
    # An object's name begins with its bucket and its job's id.
    for job in (violation.subject, *violation.subject.split("/")[1:2]):
        if job in result.histories:
            visits = [(visit.verdict, *visit.statuses) for visit in result.expected[job].visits]
            nodes = {key: node.status for key, node in sorted(result.expected[job].nodes.items())}
            told = result.histories[job].told().splitlines()
            lines += [f"  foretold: visits {visits}, nodes {nodes}", *(f"  {line}" for line in told)]
    return "\n".join([violation.subject, *lines])


def figures(result: Result) -> dict[str, Any]:
    """For a file."""
    campaign = result.campaign
    return {
        "seed": campaign.seed,
        "jobs": campaign.jobs,
        "nodes": result.nodes,
        "lease_seconds": campaign.size.lease,
        "seconds": round(result.seconds, 3),
        "faults": dict(result.faults),
        "missed_faults": dict(result.missed),
        "restarts": result.restarts,
        "starts": result.starts,
        "repeated_starts": result.starts - result.needed_starts,
        "recovery_seconds": _quantiles(result.waits),
        "task_recovery_seconds": _quantiles(result.task_waits),
        "violations": {check: sum(v.check == check for v in result.violations) for check in CHECKS},
        "examples": [
            {"check": v.check, "subject": v.subject, "expected": v.expected, "actual": v.actual}
            for violations in _by_check(result.violations).values()
            for v in violations[:EXAMPLES]
        ],
        "command": command(campaign),
    }


def _quantiles(waits: list[float]) -> dict[str, float]:
    parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {"nodes": len(waits)} | {name: round(quantile(waits, part), 3) for name, part in parts.items()}
