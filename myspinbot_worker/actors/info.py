"""What the farm can do, told to the planner."""

from __future__ import annotations

import json

from pydantic import Field

from ..capability import Payload, capability, registry
from ..task import Task


class CapabilitiesParams(Payload):
    includeSchema: bool = Field(True, description="Whether input and output schemas are included.")


class Nothing(Payload):
    """No input is needed."""


class CapabilitiesOutput(Payload):
    workerCaps: str = Field(description="The capability manifest as JSON text.")


@capability(
    "info.get_capabilities",
    kind="cpu",
    label="Capabilities of the farm",
    timeout_seconds=60,
    emits_progress=False,
)
def get_capabilities(task: Task, params: CapabilitiesParams, given: Nothing) -> CapabilitiesOutput:
    """List the services that this farm can run now, with their parameters, schemas and runtimes."""
    manifest = registry.manifest(with_schema=params.includeSchema, without=task.withheld)
    return CapabilitiesOutput(workerCaps=json.dumps(manifest))
