# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ProgressUpdate(BaseModel):
    """
    A message on channel:progress:<jobId>.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    jobId: str
    """
    The job's id.
    """
    progress: Annotated[float, Field(ge=0.0, le=1.001)]
    """
    The done part of the job, 0 to 1. A thousandth more is tolerated for rounding.
    """
    created: Annotated[
        str,
        Field(
            pattern='^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$'
        ),
    ]
    """
    When the message was made: ISO 8601 date-time with offset.
    """
