"""Every setting of the farm: its type, its default, what it means, and where it may come from.

:mod:`.config` reads the layers and makes a :class:`Settings` of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo

from .config_sources import Source
from .config_values import (
    Buckets,
    ClassNames,
    Endpoint,
    Folder,
    Folders,
    HttpUrl,
    Modules,
    Name,
    Port,
    RedisUrl,
    Seconds,
    Services,
    Token,
    Words,
    masked_url,
)


class Group(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RedisSettings(Group):
    """The one Redis both planes share."""

    url: Annotated[RedisUrl, Source(env="REDIS_URL", bridge="url", secret=True)] = Field(
        "redis://127.0.0.1:6379/0", description="Redis server: redis://, rediss:// or unix://."
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "url", masked_url(self.url)


class StreamSettings(Group):
    """The streams that graphs travel on."""

    data: Annotated[Name, Source(bridge="streams.data")] = Field(
        "process:data", description="Stream from the control plane to the farm."
    )
    control: Annotated[Name, Source(bridge="streams.control")] = Field(
        "process:control", description="Stream from the farm to the control plane."
    )
    group: Annotated[Name, Source(config="streams.group")] = Field(
        "workers", description="Consumer group on the data stream."
    )
    batch_size: Annotated[int, Source(config="streams.batch_size")] = Field(
        16, ge=1, le=1000, description="Most entries taken from the data stream at a time."
    )


class ChannelSettings(Group):
    """Base names of the Pub/Sub channels. The control plane takes the third part of ``<base>:<jobId>``, cut
    at colons, for the job id: a base holds exactly one colon."""

    progress: Annotated[Name, Source(bridge="channels.progress")] = Field(
        "channel:progress", description="Base of the progress channel."
    )
    status: Annotated[Name, Source(bridge="channels.status")] = Field(
        "channel:status", description="Base of the status channel."
    )
    data: Annotated[Name, Source(bridge="channels.data")] = Field(
        "channel:data", description="Base of the data channel."
    )


class JobSettings(Group):
    """What both planes keep of a job."""

    ttl_seconds: Annotated[int, Source(bridge="jobs.ttl")] = Field(
        43200, ge=1, description="Lifetime of job:<jobId>, in seconds."
    )


class ServerSettings(Group):
    """The HTTP server for health, metrics and the operator's pages."""

    host: Annotated[Name, Source(config="server.host")] = Field(
        "127.0.0.1", description="Address the HTTP server listens on."
    )
    port: Annotated[Port, Source(config="server.port")] = Field(
        8000, description="Port the HTTP server listens on; 0: any free one."
    )
    token: Annotated[Token, Source(config="server.token", secret=True)] = Field(
        SecretStr(""),
        description="What /metrics and the operator's pages ask for, of ingestors and workers; empty: nothing.",
    )


class StorageSettings(Group):
    """Object storage for artifacts."""

    endpoint: Annotated[Endpoint, Source(env="MINIO_ENDPOINT", secret=True)] = Field(
        "127.0.0.1:9000",
        description="Object storage, host:port; http:// or https:// in front also decides storage.use_ssl.",
    )
    use_ssl: Annotated[bool, Source(env="MINIO_USE_SSL")] = Field(
        False, description="Whether object storage is reached over TLS."
    )
    buckets: Annotated[Buckets, Source(env="MINIO_BUCKETS")] = Field(
        ("input", "staged", "output"), description="Buckets that tasks may read and write."
    )
    access_key: Annotated[SecretStr, Source(env="MINIO_ACCESS_KEY", secret=True)] = Field(
        SecretStr(""), description="User name for object storage."
    )
    secret_key: Annotated[SecretStr, Source(env="MINIO_SECRET_KEY", secret=True)] = Field(
        SecretStr(""), description="Password for object storage."
    )
    ca_file: Annotated[Folder | None, Source(env="MINIO_CA_FILE")] = Field(
        None,
        description="PEM file of the authorities that vouch for object storage; empty: SSL_CERT_FILE's, or the usual.",
    )


class ComfySettings(Group):
    """The ComfyUI installation, where there is one."""

    root_dir: Annotated[Folder | None, Source(env="COMFYUI_ROOT_DIR")] = Field(
        None, description="Folder of the ComfyUI checkout; empty: none on this machine."
    )
    url: Annotated[HttpUrl | None, Source(env="COMFYUI_URL", secret=True)] = Field(
        None,
        description="A ComfyUI server to use instead of running ComfyUI in the worker; http(s)://host:port.",
    )
    python: Annotated[Folder | None, Source(env="COMFYUI_PYTHON")] = Field(
        None, description="Python that has ComfyUI's packages; empty: the worker's own."
    )
    arguments: Annotated[Words, Source(env="COMFYUI_ARGUMENTS")] = Field(
        (), description="ComfyUI's own arguments, as in a shell (--lowvram); --cpu is added without a GPU."
    )
    model_dirs: Annotated[Folders, Source(env="COMFYUI_MODEL_DIRS")] = Field(
        (),
        description="Further folders that hold model folders (upscale_models, loras, ...), comma-separated.",
    )
    custom_node_dirs: Annotated[Folders, Source(env="COMFYUI_CUSTOM_NODE_DIRS")] = Field(
        (), description="Further folders of custom node packs, comma-separated."
    )
    boot_seconds: Annotated[Seconds, Source(env="COMFYUI_BOOT_SECONDS")] = Field(
        300.0, description="Longest start of ComfyUI in a worker, in seconds."
    )
    interrupt_seconds: Annotated[Seconds, Source(env="COMFYUI_INTERRUPT_SECONDS")] = Field(
        3.0,
        description="How long an interrupted prompt may take to end, in seconds; then ComfyUI's process is killed.",
    )
    idle_free_seconds: Annotated[float, Source(env="COMFYUI_IDLE_FREE_SECONDS")] = Field(
        600.0,
        ge=0,
        allow_inf_nan=False,
        description="After so long without work ComfyUI lets go of its models, in seconds; 0: never.",
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, masked_url(value) if name == "url" and value else value

    workflows_dir: Annotated[Folder | None, Source(env="COMFYUI_WORKFLOWS_DIR")] = Field(
        None,
        description="Folder of workflows (X.workflow.json with X.capability.yaml), each a service; empty: none.",
    )
    render_classes: Annotated[ClassNames, Source(env="COMFYUI_RENDER_CLASSES")] = Field(
        (),
        description="Node classes render.video may run, * for any text, core for ComfyUI's own; empty: core.",
    )
    max_workflow_bytes: Annotated[int, Source(env="COMFYUI_MAX_WORKFLOW_BYTES")] = Field(
        8 * 1024 * 1024, ge=1, description="Largest workflow file that is read, in bytes."
    )
    max_workflow_nodes: Annotated[int, Source(env="COMFYUI_MAX_WORKFLOW_NODES")] = Field(
        2000, ge=1, description="Largest workflow that is run, in nodes."
    )


class FarmSettings(Group):
    """How the farm itself behaves: ``farm`` in ``config.json``, ``FARM_<NAME>`` in the environment."""

    namespace: str = Field(
        "farm", pattern=r"^[a-z0-9_-]+$", description="Prefix of the farm's own Redis keys."
    )
    engine: Literal["preview", "comfyui"] = Field(
        "preview",
        description="Which engines do the work of the generating tasks: preview (CPU, no models) or comfyui.",
    )
    preview_services: Services = Field(
        (),
        description="Services that preview engines serve even so, comma-separated; for trying comfyui in part.",
    )
    actor_modules: Modules = Field(
        (), description="Python modules with further capabilities, loaded beside the farm's own."
    )
    lease_seconds: Seconds = Field(
        30.0, ge=1, description="How long a worker owns a node without renewing, in seconds."
    )
    reconcile_seconds: Seconds = Field(
        2.0, description="Time between two looks for what a crash left open, in seconds."
    )
    reclaim_idle_seconds: Seconds = Field(
        5.0, description="How long a silent consumer's stream entry is left alone, in seconds."
    )
    message_check_seconds: Seconds = Field(
        5.0, description="Time between two looks for lost task messages, in seconds."
    )
    max_lost_attempts: int = Field(3, ge=1, description="How many workers a node may cost before it fails.")
    notice_seconds: Seconds = Field(
        5.0,
        description="How long a task may take to notice that it should end, in seconds; then it is interrupted.",
    )
    interrupt_seconds: Seconds = Field(
        5.0,
        description="How long an interrupted task may take to end, in seconds; then its process is killed.",
    )
    drain_seconds: Seconds = Field(
        20.0,
        description="How long a stopping worker lets its tasks go on, in seconds; then others get them.",
    )
    max_open_runs: int = Field(
        1000, ge=1, description="How many jobs may be open at one time; more wait in the data stream."
    )
    keep_going: bool = Field(False, description="Whether independent nodes still start after one has failed.")
    handoff_completed: bool = Field(
        True, description="Whether a finished graph is handed to the control plane."
    )
    handoff_failed: bool = Field(False, description="Whether a failed graph is handed to the control plane.")
    scratch_dir: Folder = Field(
        default_factory=lambda: Path(tempfile.gettempdir(), "myspinbot-worker"),
        description="Folder for the temporary files of running nodes.",
    )
    cache_dir: Folder = Field(
        default_factory=lambda: Path(tempfile.gettempdir(), "myspinbot-cache"),
        description="Folder of the machine's cache of downloaded artifacts, shared by its workers.",
    )
    cache_bytes: int = Field(
        0, ge=0, description="Most bytes of downloaded artifacts that a machine keeps; 0: none."
    )
    reuse_results: bool = Field(
        False, description="Whether a node may take the result of an earlier one of the same content."
    )
    reuse_seconds: int = Field(604_800, ge=1, description="How long a result may be used again, in seconds.")
    reuse_most: int = Field(10_000, ge=1, description="How many results that may be used again are known.")
    dead_letters_kept: int = Field(10_000, ge=0, description="How many refused entries are kept.")
    history_kept: int = Field(
        10_000, ge=0, description="How many finished runs are kept for the operator's pages."
    )
    max_nodes: int = Field(10_000, ge=1, description="Largest graph that is taken, in nodes.")
    max_entry_bytes: int = Field(
        64 * 1024 * 1024, ge=1, description="Largest stream entry that is taken, in bytes."
    )
    max_artifact_bytes: int = Field(
        4 * 1024 * 1024 * 1024, ge=1, description="Largest artifact that a task downloads, in bytes."
    )
    max_image_pixels: int = Field(
        64_000_000,
        ge=1,
        le=178_000_000,  # beyond it Pillow refuses to open a picture
        description="Largest picture or video frame that is decoded, in pixels.",
    )
    max_media_seconds: Seconds = Field(
        3600.0, description="Longest sound or video that is decoded, in seconds."
    )
    heartbeat_seconds: Seconds = Field(
        20.0, description="How long a silent worker process still counts as alive, in seconds."
    )
    gpu_devices: str = Field(
        "auto",
        min_length=1,
        description="Devices this machine gives to workers: auto, or a comma list.",
    )
    affinity_window: int = Field(
        32,
        ge=0,
        le=1000,
        description="How far down the gpu queue a worker looks for work of the service it ran last; 0: not at all.",
    )
    gpu_lock_dir: Folder = Field(
        default_factory=lambda: Path(tempfile.gettempdir(), "myspinbot-gpu"),
        description="Folder of the locks that keep two processes off one device.",
    )
    metrics_host: Name = Field("127.0.0.1", description="Address a worker serves its metrics on.")
    metrics_port: Port = Field(9191, description="Port a worker serves its metrics on; 0: not at all.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Least severity that is logged."
    )


class Settings(Group):
    """Every setting of the farm. Its repr and str show no secret; ``model_dump`` holds the Redis password."""

    worker_home: Annotated[Folder, Source(env="WORKER_HOME")] = Field(
        default_factory=Path.cwd, description="Folder whose config/ holds the two files."
    )
    redis: RedisSettings = Field(default_factory=RedisSettings)
    streams: StreamSettings = Field(default_factory=StreamSettings)
    channels: ChannelSettings = Field(default_factory=ChannelSettings)
    jobs: JobSettings = Field(default_factory=JobSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    comfyui: ComfySettings = Field(default_factory=ComfySettings)
    farm: FarmSettings = Field(default_factory=FarmSettings)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def origins(self) -> Mapping[str, str]:
        """Dotted key → where its value came from: ``default``, ``env REDIS_URL``, ``redis.bridge.json``,
        ``config.json`` or ``command line``."""
        return {key: self._origins.get(key, "default") for key in declared()}


class Declared(NamedTuple):
    """A setting as its type declares it."""

    info: FieldInfo
    source: Source
    adapter: TypeAdapter[Any]


@cache
def declared() -> dict[str, Declared]:
    """Every setting by its dotted key, in the order of the classes above."""
    return dict(_walk(Settings, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Declared]]:
    for name, info in model.model_fields.items():
        key, annotation = prefix + name, info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Group):
            yield from _walk(annotation, f"{key}.")
            continue
        marks = [mark for mark in info.metadata if isinstance(mark, Source)]
        source = marks[0] if marks else Source(config=key if prefix == "farm." else None)
        checked: Any = Annotated[annotation, source, *info.metadata]
        yield key, Declared(info, source, TypeAdapter(checked))
