"""What must be true of every visit when all is done, whatever was killed on the way."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from .crash_points_ledger import Ledger
from .crash_points_visits import COMPLETED, Visit, World

Problem = tuple[str, str]
"""(kind, what)"""
Nodes = dict[str, dict[str, Any]]
"""A graph's nodes by id."""


def visit_problems(visit: Visit, entries: list[str], ledger: Ledger) -> list[Problem]:
    """What is wrong with how a visit went: its acts, what was heard, its results."""
    story = ledger.stories[visit.job]
    found = [
        ("acknowledged", f"entry {entry} of {visit.job} was acknowledged {ledger.acknowledged[entry]} times")
        for entry in entries
        if ledger.acknowledged[entry] != 1
    ]
    if story.backs != visit.backs:
        found.append(("handed back", f"{visit.job} came back {story.backs} times, not {visit.backs}"))
    if story.statuses != visit.statuses:
        found.append(("statuses", f"{visit.job} was said to be {story.statuses}, not {visit.statuses}"))
    if visit.statuses[-1:] == [COMPLETED] and story.progress[-1:] != [1.0]:
        found.append(("progress", f"{visit.job} was done at {story.progress}"))
    twice = [key for key, count in story.results.items() if count > 1]
    if twice or visit.results not in (None, sum(story.results.values())):
        found.append(("results", f"{visit.job} has {dict(story.results)}, not {visit.results}"))
    return found


def dead_letter_problems(world: World, ledger: Ledger) -> list[Problem]:
    """Each dead letter is there once."""
    wanted = Counter(
        (visit.entries[0].get("jobId", ""), code) for visit in world.visits for code in visit.dead
    )
    return [] if wanted == Counter(ledger.dead) else [("dead letters", f"{ledger.dead}, not {wanted}")]


def final_nodes(text: str | None) -> Nodes:
    """The nodes of ``job:<id>``, without what may differ between two right endings."""
    nodes = {node["id"]: node for node in json.loads(text)["nodes"]} if text else {}
    for node in nodes.values():
        (node.get("error") or {}).pop("details", None)
    return nodes


def graph_problems(visit: Visit, nodes: Nodes, clean: Nodes | None) -> list[Problem]:
    """What is wrong with a final graph.

    Args:
        clean: Its nodes when there was no fault.
    """
    if not nodes:
        return [("graph", f"job:{visit.job} was never written")] if visit.nodes else []
    wrong = []
    for key, status in visit.nodes.items():
        if nodes[key]["status"] not in (status if isinstance(status, set) else {status}):
            wrong.append(f"{key} is {nodes[key]['status']}, not {status}")
    for key, value in visit.inputs.items():
        if nodes[key].get("input") != value:
            wrong.append(f"input of {key} is {nodes[key].get('input')}")
    for key, code in visit.errors.items():
        if (nodes[key].get("error") or {}).get("code") != code:
            wrong.append(f"error of {key} is {nodes[key].get('error')}")
    # Where the moment of the crash, or the order of two entries, decides, the graph may differ.
    decided = visit.results is not None and len({entry.get("graph") for entry in visit.entries}) == 1
    if clean is not None and decided and clean != nodes:
        wrong.append(f"it ended as {nodes}, without a fault as {clean}")
    return [("graph", f"{visit.job}: {what}") for what in wrong]
