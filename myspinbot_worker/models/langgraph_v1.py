# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import MISSING, BaseModel, ConfigDict, Field


class Edge(BaseModel):
    """
    One dependency. Closed: a key that is not listed here is refused.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    from_: Annotated[str, Field(alias='from')]
    """
    Id of the node that is waited for.
    """
    to: str
    """
    Id of the node that waits.
    """
    kind: Literal['normal', 'on_success', 'on_failure'] = 'normal'
    """
    Which end of the source satisfies the dependency: normal and on_success its completion, on_failure its failure.
    """
    metadata: dict[str, Any] | None | MISSING = MISSING
    """
    Free facts about the dependency.
    """


class NodeError(BaseModel):
    """
    Why a node failed. Open: other keys are carried along.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    message: str | MISSING = MISSING
    """
    One sentence for people.
    """
    code: str | MISSING = MISSING
    """
    Stable name of the kind of error.
    """
    details: Any | MISSING = MISSING
    """
    Facts that help to find the cause; any JSON.
    """


class Retries(BaseModel):
    """
    Attempts at a node. Closed.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    attempt: Annotated[int | MISSING, Field(ge=0)] = MISSING
    """
    Attempts made so far.
    """
    maxAttempts: Annotated[int | MISSING, Field(ge=1)] = MISSING
    """
    Attempts allowed.
    """


class Node(BaseModel):
    """
    One piece of work. Closed: a key that is not listed here is refused.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    id: str
    """
    Name of the node, unique in its graph.
    """
    service: str
    """
    Id of the capability that does the work, such as generate.f5_to_tts.
    """
    plane: Literal['node', 'python']
    """
    Who runs the node: node is the control plane, python is the farm.
    """
    status: Literal['pending', 'ready', 'running', 'completed', 'failed', 'skipped']
    """
    Where the node stands.
    """
    name: str | MISSING = MISSING
    """
    Label for people. Never null: leave it out instead.
    """
    params: dict[str, Any] | None | MISSING = MISSING
    """
    What the planner decided, given to the service.
    """
    input: Any | MISSING = MISSING
    """
    What the service works on; any JSON.
    """
    output: Any | MISSING = MISSING
    """
    What the service made; any JSON.
    """
    error: NodeError | None | MISSING = MISSING
    """
    Why the node failed.
    """
    retries: Retries | None | MISSING = MISSING
    """
    How often the node was tried, and how often it may be.
    """
    tags: list[str] | None | MISSING = MISSING
    """
    Free labels.
    """
    telemetry: dict[str, Any] | None | MISSING = MISSING
    """
    Free facts about the run of the node.
    """
    progressWeight: Annotated[float | MISSING, Field(ge=0.0)] = MISSING
    """
    The node's share of the job's progress, relative to the other nodes'. Never null: leave it out instead.
    """


class LanggraphWorkflow(BaseModel):
    """
    The graph document of one job, as it travels between the control plane and the farm.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    schema_: Annotated[Literal['langgraph.v1'], Field(alias='schema')]
    """
    Name and version of this document.
    """
    workflowId: str
    """
    The job's id; equals the stream entry's jobId.
    """
    nodes: Annotated[list[Node], Field(min_length=1)]
    """
    The work, in the planner's order.
    """
    edges: list[Edge]
    """
    The dependencies; their order decides whose output wins when inputs are merged.
    """
    context: dict[str, Any] | MISSING = MISSING
    """
    Free facts about the job.
    """
    metadata: dict[str, Any] | MISSING = MISSING
    """
    Free facts about the graph. Never null: leave it out instead.
    """
