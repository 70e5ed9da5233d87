"""Real servers and real processes for the functional tests."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3

from .harness import Farm

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    config = ("--databases", "512")
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), aof=True, config=config) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3"), buckets=("input", "staged", "output")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """A database of its own for each test."""
    return f"redis://127.0.0.1:{redis_server.port}/{next(_databases)}"


@pytest.fixture
def text_client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def farm_environment(redis_url: str, s3: EmbeddedS3, folder: Path) -> dict[str, str]:
    """A farm with short times, so that what should happen after a lease happens within a test."""
    return {
        "REDIS_URL": redis_url,
        "MINIO_ENDPOINT": s3.endpoint,
        "MINIO_ACCESS_KEY": s3.access_key,
        "MINIO_SECRET_KEY": s3.secret_key,
        "MINIO_BUCKETS": "input,staged,output",
        "MINIO_USE_SSL": "false",
        "WORKER_HOME": str(folder),
        "FARM_SCRATCH_DIR": str(folder / "scratch"),
        "FARM_GPU_LOCK_DIR": str(folder / "gpu"),
        "FARM_GPU_DEVICES": "none",
        "FARM_SERVER_PORT": "0",
        "FARM_METRICS_PORT": "0",
        "FARM_ACTOR_MODULES": "tests.functional.extra_capabilities",
        "FARM_LEASE_SECONDS": "2",
        "FARM_RECONCILE_SECONDS": "0.2",
        "FARM_RECLAIM_IDLE_SECONDS": "1",
        "FARM_MESSAGE_CHECK_SECONDS": "1",
        "FARM_HEARTBEAT_SECONDS": "5",
    }


@pytest.fixture
def farm_env(redis_url: str, s3_server: EmbeddedS3, tmp_path: Path) -> dict[str, str]:
    return farm_environment(redis_url, s3_server, tmp_path)


@pytest.fixture
def farm(farm_env: dict[str, str]) -> Iterator[Farm]:
    """A farm of a test's own: the test starts its processes; leaks are checked at the end."""
    with Farm(farm_env) as farm:
        yield farm


@pytest.fixture(scope="session")
def shared_farm(
    redis_server: EmbeddedRedis, s3_server: EmbeddedS3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    """One ingestor and two workers for all tests that kill nothing."""
    url = f"redis://127.0.0.1:{redis_server.port}/0"
    with Farm(farm_environment(url, s3_server, tmp_path_factory.mktemp("shared"))) as farm:
        farm.start_ingestor()
        farm.start_worker(count=2)
        yield farm


@pytest.fixture
def running(shared_farm: Farm) -> Iterator[Farm]:
    """The shared farm; every run a test started must have ended with it, and progress never fell."""
    yield shared_farm
    shared_farm.wait_idle()
    shared_farm.check_progress()


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [
        t for t in threading.enumerate() if t not in before and t.is_alive() and not _belongs_to_session(t)
    ]
    assert not left, f"threads left behind: {left}"


def _belongs_to_session(thread: threading.Thread) -> bool:
    return thread.name.startswith(("log-", "listener", "control-plane"))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[..., EmbeddedRedis]]:
    """Servers of a test's own, to stop, kill and restart."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            EmbeddedRedis(tmp_path / "own-redis", aof=True, **options)
        )
