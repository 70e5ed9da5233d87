# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Artifact(BaseModel):
    """
    A file in object storage. Closed.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    bucket: str
    """
    Bucket that holds the object.
    """
    key: str
    """
    Key of the object in its bucket.
    """
    size_bytes: Annotated[int, Field(ge=0)]
    """
    Size of the object in bytes.
    """
    created_at: Annotated[
        str,
        Field(
            pattern='^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?$'
        ),
    ]
    """
    When the object was stored: ISO 8601 date-time.
    """
    content_type: str | None
    """
    Media type of the object, null where nobody knows it.
    """
