# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

from __future__ import annotations

from typing import Annotated, Any

from pydantic import MISSING, BaseModel, ConfigDict, Field


class Streams(BaseModel):
    """
    Names of the two streams.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    control: Annotated[str, Field(pattern='^\\S+$')] = 'process:control'
    """
    Farm to control plane.
    """
    data: Annotated[str, Field(pattern='^\\S+$')] = 'process:data'
    """
    Control plane to farm.
    """


class Channels(BaseModel):
    """
    Base names of the Pub/Sub channels; a job's channel is <base>:<jobId>.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    progress: Annotated[str, Field(pattern='^\\S+$')] = 'channel:progress'
    """
    Base of the progress channel.
    """
    status: Annotated[str, Field(pattern='^\\S+$')] = 'channel:status'
    """
    Base of the status channel.
    """
    data: Annotated[str, Field(pattern='^\\S+$')] = 'channel:data'
    """
    Base of the data channel.
    """


class Jobs(BaseModel):
    """
    How long a job is remembered.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    ttl: Annotated[int, Field(ge=1)] = 43200
    """
    Lifetime of job:<jobId> in seconds.
    """


class Planning(BaseModel):
    """
    For the planner only; the farm does not read it.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    pipelines: dict[str, Any] | MISSING = MISSING
    """
    The planner's pipelines, PROCESS and FIXED.
    """


class RedisBridge(BaseModel):
    """
    How both planes reach each other through Redis. Every key may be left out.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    url: Annotated[str | MISSING, Field(pattern='^(redis|rediss|unix)://')] = MISSING
    """
    Redis server: redis://, rediss:// or unix://.
    """
    streams: Streams | MISSING = MISSING
    """
    Names of the two streams.
    """
    channels: Channels | MISSING = MISSING
    """
    Base names of the Pub/Sub channels; a job's channel is <base>:<jobId>.
    """
    jobs: Jobs | MISSING = MISSING
    """
    How long a job is remembered.
    """
    planning: Planning | MISSING = MISSING
    """
    For the planner only; the farm does not read it.
    """
