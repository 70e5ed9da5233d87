# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from .artifact import Artifact


class UploadResult(BaseModel):
    """
    What storing a file came to.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    ok: bool
    """
    Whether the object is in storage.
    """
    meta: Artifact
