# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import MISSING, BaseModel, ConfigDict, Field, RootModel


class Streams(BaseModel):
    """
    How process:data is read.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    group: Annotated[str, Field(pattern='^\\S+$')] = 'workers'
    """
    Consumer group.
    """
    batch_size: Annotated[int, Field(ge=1, le=1000)] = 16
    """
    Most entries taken at a time.
    """


class Server(BaseModel):
    """
    The HTTP server for health, metrics and the operator's pages.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    host: Annotated[str, Field(pattern='^\\S+$')] = '127.0.0.1'
    """
    Address to listen on.
    """
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """
    Port to listen on; 0: any free one.
    """
    token: Annotated[str, Field(pattern='^([!-~]{16,})?$')] = ''
    """
    What /metrics and the operator's pages ask for; empty: nothing.
    """


class PreviewService(RootModel[str]):
    root: Annotated[str, Field(pattern='^\\S+$')]


class ActorModule(RootModel[str]):
    root: Annotated[str, Field(min_length=1)]


class Farm(BaseModel):
    """
    How the farm behaves.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    namespace: Annotated[str, Field(pattern='^[a-z0-9_-]+$')] = 'farm'
    """
    Prefix of the farm's own Redis keys.
    """
    engine: Literal['preview', 'comfyui'] = 'preview'
    """
    Which engines do the work of the generating tasks: preview (CPU, no models) or comfyui.
    """
    preview_services: Annotated[list[PreviewService], Field(validate_default=True)] = []
    """
    Services that preview engines serve even so; for trying comfyui in part.
    """
    actor_modules: Annotated[list[ActorModule], Field(validate_default=True)] = []
    """
    Python modules with further capabilities, loaded beside the farm's own.
    """
    lease_seconds: Annotated[float, Field(ge=1.0)] = 30.0
    """
    How long a worker owns a node without renewing, in seconds.
    """
    reconcile_seconds: Annotated[float, Field(gt=0.0)] = 2.0
    """
    Time between two looks for what a crash left open, in seconds.
    """
    reclaim_idle_seconds: Annotated[float, Field(gt=0.0)] = 5.0
    """
    How long a stream entry of a silent consumer is left alone, in seconds.
    """
    message_check_seconds: Annotated[float, Field(gt=0.0)] = 5.0
    """
    Time between two looks for lost task messages, in seconds.
    """
    max_lost_attempts: Annotated[int, Field(ge=1)] = 3
    """
    How many workers a node may cost before it fails.
    """
    notice_seconds: Annotated[float, Field(gt=0.0)] = 5.0
    """
    How long a task may take to notice that it should end, in seconds; then it is interrupted.
    """
    interrupt_seconds: Annotated[float, Field(gt=0.0)] = 5.0
    """
    How long an interrupted task may take to end, in seconds; then its process is killed.
    """
    drain_seconds: Annotated[float, Field(gt=0.0)] = 20.0
    """
    How long a stopping worker lets its tasks go on, in seconds; then others get them.
    """
    max_open_runs: Annotated[int, Field(ge=1)] = 1000
    """
    How many jobs may be open at one time; more wait in the data stream.
    """
    keep_going: bool = False
    """
    Whether independent nodes still start after one has failed.
    """
    handoff_completed: bool = True
    """
    Whether a finished graph is handed to the control plane.
    """
    handoff_failed: bool = False
    """
    Whether a failed graph is handed to the control plane.
    """
    scratch_dir: Annotated[str | MISSING, Field(min_length=1)] = MISSING
    """
    Folder for the temporary files of running nodes; default: myspinbot-worker in the system's temporary folder.
    """
    cache_dir: Annotated[str | MISSING, Field(min_length=1)] = MISSING
    """
    Folder of the machine's cache of downloaded artifacts, shared by its workers; default: myspinbot-cache in the system's temporary folder.
    """
    cache_bytes: Annotated[int, Field(ge=0)] = 0
    """
    Most bytes of downloaded artifacts that a machine keeps; 0: none.
    """
    reuse_results: bool = False
    """
    Whether a node may take the result of an earlier one of the same content.
    """
    reuse_seconds: Annotated[int, Field(ge=1)] = 604800
    """
    How long a result may be used again, in seconds.
    """
    reuse_most: Annotated[int, Field(ge=1)] = 10000
    """
    How many results that may be used again are known.
    """
    dead_letters_kept: Annotated[int, Field(ge=0)] = 10000
    """
    How many refused entries are kept.
    """
    history_kept: Annotated[int, Field(ge=0)] = 10000
    """
    How many finished runs are kept for the operator's pages.
    """
    max_nodes: Annotated[int, Field(ge=1)] = 10000
    """
    Largest graph that is taken, in nodes.
    """
    max_entry_bytes: Annotated[int, Field(ge=1)] = 67108864
    """
    Largest stream entry that is taken, in bytes.
    """
    max_artifact_bytes: Annotated[int, Field(ge=1)] = 4294967296
    """
    Largest artifact that a task downloads, in bytes.
    """
    max_image_pixels: Annotated[int, Field(ge=1, le=178000000)] = 64000000
    """
    Largest picture or video frame that is decoded, in pixels.
    """
    max_media_seconds: Annotated[float, Field(gt=0.0)] = 3600.0
    """
    Longest sound or video that is decoded, in seconds.
    """
    heartbeat_seconds: Annotated[float, Field(gt=0.0)] = 20.0
    """
    How long a silent worker process still counts as alive, in seconds.
    """
    gpu_devices: Annotated[str, Field(min_length=1)] = 'auto'
    """
    Devices this machine gives to workers: auto, or a comma-separated list.
    """
    affinity_window: Annotated[int, Field(ge=0, le=1000)] = 32
    """
    How far down the gpu queue a worker looks for work of the service it ran last; 0: not at all.
    """
    gpu_lock_dir: Annotated[str | MISSING, Field(min_length=1)] = MISSING
    """
    Folder of the locks that keep two processes off one device; default: myspinbot-gpu in the system's temporary folder.
    """
    metrics_host: Annotated[str, Field(pattern='^\\S+$')] = '127.0.0.1'
    """
    Address a worker serves its metrics on.
    """
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9191
    """
    Port a worker serves its metrics on; 0: not at all.
    """
    log_level: Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'] = 'INFO'
    """
    Least severity that is logged.
    """


class WorkerConfig(BaseModel):
    """
    The farm's own settings. Every key may be left out.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    streams: Streams | MISSING = MISSING
    """
    How process:data is read.
    """
    server: Server | MISSING = MISSING
    """
    The HTTP server for health, metrics and the operator's pages.
    """
    farm: Farm | MISSING = MISSING
    """
    How the farm behaves.
    """
