"""The farm's settings: typed, documented, and frozen once loaded.

Layers, later ones win: defaults, ``redis.bridge.json`` and ``config.json`` in ``$WORKER_HOME/config``, the
environment, the command line. Every setting has an environment variable; the two files hold what the
platform already puts there. What a file or variable says wrongly is reported, all of it at once.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from .config_sources import (
    BRIDGE_FILE,
    CONFIG_FILE,
    Given,
    Source,
    from_environment,
    from_file,
    from_overrides,
    read_file,
)
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
from .errors import ConfigError
from .redaction import redact


class _Group(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RedisSettings(_Group):
    """The one Redis both planes share."""

    url: Annotated[RedisUrl, Source(env="REDIS_URL", bridge="url", secret=True)] = Field(
        "redis://127.0.0.1:6379/0", description="Redis server: redis://, rediss:// or unix://."
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "url", masked_url(self.url)


class StreamSettings(_Group):
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


class ChannelSettings(_Group):
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


class JobSettings(_Group):
    """What both planes keep of a job."""

    ttl_seconds: Annotated[int, Source(bridge="jobs.ttl")] = Field(
        43200, ge=1, description="Lifetime of job:<jobId>, in seconds."
    )


class ServerSettings(_Group):
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


class StorageSettings(_Group):
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


class ComfySettings(_Group):
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


class FarmSettings(_Group):
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


class Settings(_Group):
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
        return {key: self._origins.get(key, "default") for key in _declared()}


class _Declared(NamedTuple):
    """A setting as its type declares it."""

    info: FieldInfo
    source: Source
    adapter: TypeAdapter[Any]


@cache
def _declared() -> dict[str, _Declared]:
    """Every setting by its dotted key, in the order of the classes above."""
    return dict(_walk(Settings, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, _Declared]]:
    for name, info in model.model_fields.items():
        key, annotation = prefix + name, info.annotation
        if isinstance(annotation, type) and issubclass(annotation, _Group):
            yield from _walk(annotation, f"{key}.")
            continue
        marks = [mark for mark in info.metadata if isinstance(mark, Source)]
        source = marks[0] if marks else Source(config=key if prefix == "farm." else None)
        checked: Any = Annotated[annotation, source, *info.metadata]
        yield key, _Declared(info, source, TypeAdapter(checked))


def load_settings(
    environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read all layers.

    Args:
        environ: The environment; default: this process's.
        overrides: Values from the command line by dotted key (``farm.lease_seconds``); None: not given.

    Raises:
        ConfigError: Something is unknown or malformed. ``details["problems"]`` lists every problem, each
            with its key, its origin and what was expected, and without secrets.
    """
    problems: list[str] = []
    declared = _declared()
    variables = {entry.source.env_name(key): key for key, entry in declared.items()}
    given = from_environment(os.environ if environ is None else environ, variables, problems)
    given |= from_overrides(overrides or {}, declared, problems)
    # worker_home first: it says where the files are.
    values = _checked({key: value for key, value in given.items() if key == "worker_home"}, problems)
    given = _from_files(values.get("worker_home", Path.cwd()) / "config", problems) | given
    _settle_tls(given, problems)
    values |= _checked({key: value for key, value in given.items() if key != "worker_home"}, problems)
    if not problems:
        settings = Settings.model_validate(_nested(values))
        settings._origins.update({key: value.origin for key, value in given.items()})
        if settings.streams.data != settings.streams.control:
            return settings
        problems.append("streams.data and streams.control: expected two different streams")
    count = f"{len(problems)} problems in the configuration:\n- " if len(problems) > 1 else ""
    raise ConfigError(count + "\n- ".join(problems), details={"problems": problems})


def _from_files(folder: Path, problems: list[str]) -> dict[str, Given]:
    bridge_keys = {entry.source.bridge: key for key, entry in _declared().items() if entry.source.bridge}
    config_keys = {entry.source.config: key for key, entry in _declared().items() if entry.source.config}
    bridge = read_file(folder / BRIDGE_FILE, problems)
    # The planner's own section: the farm only sees to it that the file is not garbled there.
    planning = bridge.pop("planning", {})
    pipelines = planning.get("pipelines", {}) if isinstance(planning, dict) else {}
    for name, value in (("planning", planning), ("planning.pipelines", pipelines)):
        if not isinstance(value, dict):
            problems.append(f"{folder / BRIDGE_FILE}: {name}: expected an object")
    config = read_file(folder / CONFIG_FILE, problems)
    in_bridge = dict.fromkeys(bridge_keys, BRIDGE_FILE)
    in_config = dict.fromkeys(config_keys, CONFIG_FILE)
    return from_file(bridge, folder / BRIDGE_FILE, bridge_keys, in_config, problems) | from_file(
        config, folder / CONFIG_FILE, config_keys, in_bridge, problems
    )


def _settle_tls(given: dict[str, Given], problems: list[str]) -> None:
    """Take the scheme off the endpoint; it decides ``use_ssl`` unless that is given too."""
    endpoint = given.get("storage.endpoint")
    if endpoint is None or not isinstance(endpoint.raw, str):
        return
    scheme, separator, rest = endpoint.raw.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return
    given["storage.endpoint"] = endpoint._replace(raw=rest.removesuffix("/"))
    tls = scheme.lower() == "https"
    said = given.setdefault("storage.use_ssl", endpoint._replace(raw=tls))
    # A malformed use_ssl is reported with all other values.
    if _checked({"storage.use_ssl": said}, []).get("storage.use_ssl", tls) != tls:
        problems.append(f"storage.use_ssl ({said.place}) contradicts {scheme}:// in {endpoint.place}")


def _checked(given: Mapping[str, Given], problems: list[str]) -> dict[str, Any]:
    """Typed values; what does not fit goes to ``problems``."""
    values: dict[str, Any] = {}
    for key, value in given.items():
        _, source, adapter = _declared()[key]
        raw = value.raw
        try:
            if isinstance(raw, str) and not _is_text(raw):
                problems.append(f"{key} ({value.place}): expected UTF-8")
            elif value.typed:
                values[key] = adapter.validate_json(json.dumps(_flat(raw)), strict=True)
            else:
                values[key] = adapter.validate_python(raw)
        except ValidationError as error:
            expected = dict.fromkeys(_plain(item["msg"]) for item in error.errors(include_url=False))
            # A secret may stand in the wrong place.
            got = "" if source.secret else f", got {reprlib.repr(redact(raw))}"
            problems.append(f"{key} ({value.place}): {'; '.join(expected)}{got}")
    return values


def _is_text(value: str) -> bool:
    """Whether it can be written down: bytes of the environment that are no UTF-8 arrive as half characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flat(raw: Any) -> Any:
    """``raw`` with nothing nested in it: no setting is deeper than a list, and what is would exhaust the encoder."""
    if isinstance(raw, list) and not any(isinstance(item, dict | list) for item in raw):
        return raw
    return {} if isinstance(raw, dict | list) else raw


def _plain(message: str) -> str:
    """Pydantic's message as ``expected …``."""
    message = message.removeprefix("Value error, ").replace("Input should be ", "expected ")
    message = re.sub(r"^expected (greater|less)", r"expected a number \1", message)
    message = message.replace("String should match pattern", "expected text that matches")
    message = message.replace("String should have", "expected text of")
    return message.partition(", unable to ")[0]


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        group, separator, name = key.partition(".")
        if separator:
            nested.setdefault(group, {})[name] = value
        else:
            nested[group] = value
    return nested


class Row(NamedTuple):
    """One setting for an operator to read."""

    key: str
    value: str
    """As an environment variable would hold it, secrets as ``***``."""
    origin: str
    description: str


def describe(settings: Settings) -> list[Row]:
    """Every setting with its value, its origin and its meaning, secrets masked."""
    rows = []
    for key, (info, _, _) in _declared().items():
        value = _value(settings, key)
        text = ("***" if value else "") if isinstance(value, SecretStr) else _text(key, value)
        if key.endswith(".url"):
            text = masked_url(text)
        rows.append(Row(key, text, settings.origins[key], info.description or ""))
    return rows


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process these settings, whatever its files say.

    Holds the secrets in plain text. A setting without a value is the empty string, which counts as not set.
    """
    return {
        entry.source.env_name(key): _text(key, _value(settings, key)) for key, entry in _declared().items()
    }


def _value(settings: Settings, key: str) -> Any:
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _text(key: str, value: Any) -> str:
    """``value`` as an environment variable holds it."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return shlex.join(value) if key == "comfyui.arguments" else ",".join(map(str, value))
    return str(value)
