# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import MISSING, BaseModel, ConfigDict, Field


class Runtime(BaseModel):
    """
    What the service needs to run.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    kind: Literal['cpu', 'gpu']
    """
    Which device it computes on.
    """
    concurrency: float
    """
    How many calls one worker runs at a time.
    """
    timeoutSeconds: float
    """
    Longest run of one call in seconds; -1: no limit.
    """


class Handler(BaseModel):
    """
    Where the code is. Closed.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    module: str
    """
    Dotted name of the module.
    """
    method: str
    """
    Name of the callable in it.
    """


class Io(BaseModel):
    """
    What goes in and what comes out, as JSON Schema fragments. Closed.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    input: dict[str, Any]
    """
    JSON Schema of a node's input.
    """
    output: dict[str, Any]
    """
    JSON Schema of a node's output.
    """


class Parameter(BaseModel):
    """
    One param of a service.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    name: str
    """
    Its key in params.
    """
    type: str
    """
    Its JSON type.
    """
    description: str | MISSING = MISSING
    """
    What it means.
    """
    required: bool | MISSING = MISSING
    """
    Whether a call without it is refused.
    """
    default: Any | MISSING = MISSING
    """
    What is taken when it is absent; any JSON.
    """


class Telemetry(BaseModel):
    """
    What the service reports while it runs.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    emitsProgressEvents: bool | MISSING = MISSING
    """
    Whether it publishes progress.
    """
    metrics: list[str] | MISSING = MISSING
    """
    Names of the metrics it feeds.
    """


class Security(BaseModel):
    """
    What the service must be trusted with.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    requiresSecrets: bool | MISSING = MISSING
    """
    Whether it needs credentials of its own.
    """


class Contracts(BaseModel):
    """
    What a caller may rely on.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    idempotent: bool | MISSING = MISSING
    """
    Whether calling it twice equals calling it once.
    """
    sideEffects: bool | MISSING = MISSING
    """
    Whether it changes anything beyond its output.
    """


class Capability(BaseModel):
    """
    One service the farm offers. Closed.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    id: str
    """
    Name of the service, as a node's service field gives it.
    """
    label: str
    """
    Short name for people.
    """
    description: str
    """
    What the service does.
    """
    version: str
    """
    Version of the service.
    """
    plane: Literal['node', 'python']
    """
    Who runs the service: python is the farm.
    """
    runtime: Runtime
    handler: Handler
    io: Io
    parameters: list[Parameter] | MISSING = MISSING
    """
    The service's params, one by one.
    """
    examples: list[Any] | MISSING = MISSING
    """
    Calls that work; any JSON.
    """
    telemetry: Telemetry | MISSING = MISSING
    security: Security | MISSING = MISSING
    contracts: Contracts | MISSING = MISSING


class CapabilityManifest(BaseModel):
    """
    What the farm can do, as info.get_capabilities answers. Closed.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    generatedAt: Annotated[
        str,
        Field(
            pattern='^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$'
        ),
    ]
    """
    When the manifest was made: ISO 8601 date-time with offset.
    """
    capabilities: list[Capability]
    """
    Every service the farm offers.
    """
