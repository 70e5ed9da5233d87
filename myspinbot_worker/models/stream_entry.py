# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class StreamEntry(BaseModel):
    """
    One entry of process:data or process:control: a job's graph on its way to the other plane. Redis carries every field as a string.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    jobId: Annotated[str, Field(min_length=1, pattern='^[^:]+$')]
    """
    The job's id. Never empty, and without a colon: the control plane cuts channel names at colons.
    """
    created: Annotated[str, Field(pattern='^[0-9]+$')]
    """
    When the entry was written: milliseconds since the epoch, decimal digits.
    """
    graph: Annotated[
        str, Field(json_schema_extra={'contentMediaType': 'application/json'})
    ]
    """
    The whole graph document (langgraph.v1) as JSON text.
    """
