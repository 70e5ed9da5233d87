"""Sets the demo up and takes it down: servers, processes, settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from ..config import environment, load_settings
from ..embedded import EmbeddedRedis, EmbeddedS3
from ..farm import Farm
from ..settings import Settings
from .processes import ingestor, worker

WORKERS = 2


@dataclass(frozen=True)
class Stage:
    """A running farm."""

    farm: Farm
    folder: Path


@contextmanager
def set_up(
    folder: Path,
    *,
    redis_url: str | None,
    s3_endpoint: str | None,
    engine: Mapping[str, str],
    say: Callable[[str], None],
) -> Iterator[Stage]:
    """A farm of one ingestor and two workers; everything that was started ends with the block.

    Args:
        folder: For data and logs.
        redis_url: A Redis to use instead of an embedded one; the demo then uses streams and keys of its
            own name there, so that a farm that works on it is not disturbed, and removes them at the end.
        s3_endpoint: Object storage to use instead; its keys come from the environment.
        engine: Settings that say which engines work (:mod:`.engine`).
        say: Told what is being started.
    """
    with ExitStack() as stack:
        settings = _settings(stack, folder, redis_url, s3_endpoint, engine, say)
        farm = Farm(settings)
        farm.storage.ensure_buckets()
        if redis_url is not None:
            stack.callback(_forget, farm)
        env = environment(settings)
        boot_seconds = settings.comfyui.boot_seconds if settings.farm.engine == "comfyui" else 0.0
        say("starting the ingestor and two workers")
        for process in (
            ingestor(folder, env),
            *(worker(folder, env, number + 1, boot_seconds) for number in range(WORKERS)),
        ):
            stack.enter_context(process)
        yield Stage(farm, folder)


def _settings(
    stack: ExitStack,
    folder: Path,
    redis_url: str | None,
    s3_endpoint: str | None,
    engine: Mapping[str, str],
    say: Callable[[str], None],
) -> Settings:
    given = dict(os.environ)
    given.setdefault("WORKER_HOME", str(folder))
    if redis_url is None:
        say("starting Redis")
        given["REDIS_URL"] = stack.enter_context(EmbeddedRedis(folder / "redis", aof=True)).url
    else:
        name = f"demo-{uuid4().hex[:8]}"
        given |= {
            "REDIS_URL": redis_url,
            "FARM_NAMESPACE": name,
            "FARM_STREAMS_DATA": f"{name}:process:data",
            "FARM_STREAMS_CONTROL": f"{name}:process:control",
        }
    if s3_endpoint is None:
        say("starting object storage")
        server = EmbeddedS3(folder / "s3", buckets=("input", "staged", "output"))
        stack.enter_context(server)
        given |= {
            "MINIO_ENDPOINT": server.endpoint,
            "MINIO_USE_SSL": "false",
            "MINIO_BUCKETS": "input,staged,output",
            "MINIO_ACCESS_KEY": server.access_key,
            "MINIO_SECRET_KEY": server.secret_key,
        }
    else:
        given["MINIO_ENDPOINT"] = s3_endpoint
    given |= {
        **engine,
        "FARM_GPU_DEVICES": "none",
        "FARM_SCRATCH_DIR": str(folder / "scratch"),
        "FARM_GPU_LOCK_DIR": str(folder / "gpu"),
        "FARM_SERVER_HOST": "127.0.0.1",
        "FARM_METRICS_HOST": "127.0.0.1",
    }
    return load_settings(given)


def _forget(farm: Farm) -> None:
    """Remove the demo's own keys from a Redis that was there before."""
    streams, namespace = farm.store.streams, farm.settings.farm.namespace
    farm.client.delete(streams.data, streams.control)
    for key in farm.client.scan_iter(f"{namespace}:*", count=1000):
        farm.client.delete(key)
