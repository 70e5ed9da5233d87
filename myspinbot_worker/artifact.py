"""What tasks exchange instead of files: where an object is, and how large."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Artifact(BaseModel):
    """An object in storage, as the planes tell each other about it."""

    model_config = ConfigDict(extra="forbid")

    bucket: str
    key: str
    size_bytes: int = Field(ge=0)
    created_at: str
    content_type: str | None = None

    @field_validator("created_at")
    @classmethod
    def _is_a_moment(cls, value: str) -> str:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("created_at must carry an offset from UTC")
        return value
