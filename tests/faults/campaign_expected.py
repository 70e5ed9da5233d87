"""What must become of a job: worked out beforehand, from the wire contract alone and not by the farm's own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .campaign_jobs import Edge, Job
from .campaign_values import ARTIFACT, digest, output_of

DONE = frozenset({"completed", "failed", "skipped"})


@dataclass(frozen=True, slots=True)
class ExpectedNode:
    """How a node ends.

    Attributes:
        input, output: Canonical; None where absent.
        code: Of its error.
        starts: How often it is started when nothing is killed.
        visit: In which visit (from 0) it runs.
    """

    status: str
    input: Any = None
    output: Any = None
    code: str | None = None
    starts: int = 0
    visit: int = 0

    @property
    def digest(self) -> str:
        """Of what each start is given."""
        return digest(self.input or {})


@dataclass(frozen=True, slots=True)
class ExpectedVisit:
    """How a visit goes: the statuses the farm publishes, its verdict, whether the graph comes back."""

    statuses: tuple[str, ...]
    verdict: str
    handed_back: bool


@dataclass(frozen=True, slots=True)
class Expected:
    """How a job ends."""

    status: str
    nodes: dict[str, ExpectedNode]
    visits: tuple[ExpectedVisit, ...]

    @property
    def last_word(self) -> bool:
        """Whether the farm, not the control plane, says how the job ended."""
        return self.visits[-1].verdict != "hand_back"


@dataclass
class _Play:
    """A job while it is worked out."""

    job: Job
    most_lost: int
    nodes: dict[str, ExpectedNode] = field(default_factory=dict)
    """Those that have ended."""

    def run(self, plane: str, visit: int) -> int:
        """Run all that this plane can; how many."""
        ran = 0
        documents, edges = self.job.nodes, self.job.edges
        for node_id in self.job.order:
            if node_id in self.nodes:
                continue
            open_edges = [edge for edge in edges if edge[1] == node_id and not self._satisfied(edge)]
            document = documents[node_id]
            if any(source in self.nodes for source, _, _ in open_edges):
                if plane == "python":
                    self.nodes[node_id] = ExpectedNode("skipped", document.get("input"))
            elif not open_edges and document["plane"] == plane:
                given = merged_input(document, edges, {k: node.output for k, node in self.nodes.items()})
                self.nodes[node_id] = ended(document, given, visit, self.most_lost)
                ran += 1
        return ran

    def verdict(self) -> str:
        edges = self.job.edges
        for node_id, node in self.nodes.items():
            takers = [edge[1] for edge in edges if edge[0] == node_id and edge[2] == "on_failure"]
            hopeful = [
                t for t in takers if t not in self.nodes or self.nodes[t].status not in ("failed", "skipped")
            ]
            if node.status == "failed" and not hopeful:
                return "failed"
        if len(self.nodes) < len(self.job.order):
            return "hand_back"
        done = all(node.status == "completed" for node in self.nodes.values())
        return "completed" if done else "completed_with_skips"

    def _satisfied(self, edge: Edge) -> bool:
        source = self.nodes.get(edge[0])
        return source is not None and source.status == ("failed" if edge[2] == "on_failure" else "completed")


def expect(job: Job, *, most_lost: int = 3) -> Expected:
    """How a job must end.

    Args:
        most_lost: How many lost attempts fail a node.
    """
    play = _Play(job, most_lost)
    for document in job.document["nodes"]:
        if document["status"] in DONE:
            play.nodes[document["id"]] = ExpectedNode(
                document["status"], document.get("input"), document.get("output")
            )
    visits: list[ExpectedVisit] = []
    while True:
        statuses = ["queued", "running"] if play.run("python", len(visits)) else []
        verdict = play.verdict()
        if verdict != "hand_back":
            statuses.append("failed" if verdict == "failed" else "completed")
        back = verdict in ("hand_back", "completed")
        visits.append(ExpectedVisit(tuple(statuses), verdict, back))
        if verdict != "hand_back":
            return Expected(statuses[-1], play.nodes, tuple(visits))
        if not play.run("node", len(visits) - 1):
            raise ValueError(f"nothing in {job.id} can run any more")
        if play.verdict() == "completed":
            return Expected("completed", play.nodes, tuple(visits))


def merged_input(document: Mapping[str, Any], edges: list[Edge], outputs: Mapping[str, Any]) -> Any:
    """A node's input: its own, then the outputs of its sources in edge order."""
    given = [outputs.get(source) for source, target, _ in edges if target == document["id"]]
    merged: dict[str, Any] = {}
    for value in (document.get("input"), *given):
        merged |= value or {}
    return merged or document.get("input")


def ended(document: Mapping[str, Any], given: Any, visit: int, most_lost: int) -> ExpectedNode:
    """How a started node ends."""
    params, node_id = document["params"], document["id"]
    most = params.get("times", 0)
    match document["service"].removeprefix("campaign."):
        case "raise" if "times" not in params:
            tries = document["retries"]["maxAttempts"] if params["passes"] else 1
            code = "storage_unavailable" if params["passes"] else "internal"
            return ExpectedNode("failed", given, None, code, tries, visit)
        case "die" if params["how"] == "exit":
            return ExpectedNode("failed", given, None, "internal", 1, visit)
        case "die" if "times" not in params:
            return ExpectedNode("failed", given, None, "worker_lost", most_lost, visit)
        case "hang":
            return ExpectedNode("failed", given, None, "timeout", 1, visit)
    output = output_of(node_id, params["salt"], given)
    if document["service"] == "campaign.keep":
        output[ARTIFACT + node_id] = {"bucket": "staged", "size_bytes": params["bytes"]}
    starts = most + 1 if document["plane"] == "python" else 0
    return ExpectedNode("completed", given, output, None, starts, visit)


def advance(document: dict[str, Any]) -> dict[str, Any] | None:
    """The control plane's part: its nodes that can run are run. The graph to send, or None if all is completed."""
    edges: list[Edge] = [(e["from"], e["to"], e.get("kind", "normal")) for e in document["edges"]]
    nodes = {node["id"]: node for node in document["nodes"]}
    todo = True
    while todo:
        todo = False
        for node in document["nodes"]:
            if node["plane"] != "node" or node["status"] in DONE:
                continue
            if all(
                nodes[source]["status"] == ("failed" if kind == "on_failure" else "completed")
                for source, target, kind in edges
                if target == node["id"]
            ):
                given = merged_input(node, edges, {k: item.get("output") for k, item in nodes.items()})
                node |= {
                    "status": "completed",
                    "output": output_of(node["id"], node["params"]["salt"], given),
                }
                if given is not None:
                    node["input"] = given
                todo = True
    if all(node["status"] == "completed" for node in document["nodes"]):
        return None
    document["context"]["visit"] += 1
    return document
