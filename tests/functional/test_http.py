"""Health, readiness and metrics of real processes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from myspinbot_worker.embedded import EmbeddedRedis, EmbeddedS3

from .conftest import farm_environment
from .harness import Farm, graph, node, wait_until
from .processes import Process


def address(ingestor: Process) -> str:
    return ingestor.wait_for(r"listening on http")[0].split("listening on ")[1].strip()


def samples(url: str) -> dict[str, float]:
    """Sample name with its labels, as on the page, to its value."""
    text = httpx.get(f"{url}/metrics").text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "le")
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_metrics_of_ingestor_and_worker(farm: Farm) -> None:
    url = address(farm.start_ingestor())
    port = free_port()
    farm.start_worker(FARM_METRICS_PORT=str(port))
    job = farm.submit(graph([node("a", "test.artifact"), node("b", "test.fail")]))
    farm.wait_status(job, "failed")
    farm.client.xadd("process:data", {"jobId": "garbage", "graph": "{"})
    farm.wait_status("garbage", "failed")
    farm.wait_idle()
    worker = samples(f"http://127.0.0.1:{port}")
    assert worker["worker_jobs_total{type=test.artifact}"] == 1
    assert worker["worker_job_duration_seconds_count{type=test.artifact}"] == 1
    assert worker["worker_results_total{result=failed,type=test.fail}"] == 1
    assert worker["worker_queue_wait_seconds_count{type=test.fail}"] == 1
    assert worker["worker_active_tasks"] == 0
    assert worker["worker_artifact_bytes_total{direction=out}"] == len("attempt 1")
    assert worker["worker_artifact_bytes_total{direction=in}"] == len("attempt 1")
    ingestor = samples(url)
    assert ingestor["worker_loop_iterations_total"] > 0
    assert ingestor["farm_entries_total{outcome=ok}"] == 1
    assert ingestor["farm_entries_total{outcome=rejected}"] == 1
    assert ingestor["farm_dead_letters"] == 1
    assert ingestor["farm_queue_depth{queue=cpu}"] == 0
    assert ingestor["farm_runs_open"] == 0
    assert ingestor["farm_redeliveries_total"] == 0
    assert ingestor["farm_fenced_results_total"] == 0
    assert ingestor["farm_redis_up"] == 1


def test_redis_away_and_back(
    own_redis: Callable[..., EmbeddedRedis], s3_server: EmbeddedS3, tmp_path: Path
) -> None:
    """Alive all the time, ready only while Redis is there; a scrape still answers, and says so."""
    server = own_redis()
    with Farm(farm_environment(server.url, s3_server, tmp_path)) as farm:
        url = address(farm.start_ingestor())
        assert httpx.get(f"{url}/ready").status_code == 200
        server.kill()
        answer = httpx.get(f"{url}/ready", timeout=20)
        assert answer.status_code == 503
        assert answer.json()["checks"]["redis"] != "ok"
        assert httpx.get(f"{url}/health").status_code == 200
        assert samples(url)["farm_redis_up"] == 0
        server.start()
        wait_until(lambda: httpx.get(f"{url}/ready", timeout=20).status_code == 200, "ready again")


def test_storage_away(
    own_redis: Callable[..., EmbeddedRedis], farm_env: dict[str, str], tmp_path: Path
) -> None:
    with EmbeddedS3(tmp_path / "own-s3", buckets=("input", "staged")) as storage:
        env = farm_environment(farm_env["REDIS_URL"], storage, tmp_path)
        with Farm(env) as farm:
            url = address(farm.start_ingestor())
            answer = httpx.get(f"{url}/ready", timeout=20)
            assert answer.status_code == 503, "the bucket output is missing"
            assert "output" in answer.json()["checks"]["storage"]
            storage.kill()
            answer = httpx.get(f"{url}/ready", timeout=20)
            assert answer.status_code == 503
            assert storage.secret_key not in answer.text
            assert httpx.get(f"{url}/health").status_code == 200


def test_a_taken_port_is_a_clear_error(farm: Farm) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = Process(
            "ingestor", farm.start_command("ingest"), {**farm.env, "FARM_SERVER_PORT": str(port)}
        )
        wait_until(lambda: process.returncode is not None, "it ended")
        assert process.stop() == 1
        assert any(str(port) in line for line in process.lines), process.lines
        assert not any("Traceback" in line for line in process.lines), process.lines


TOKEN = "a-token-of-twenty-and-more"


def test_metrics_ask_for_the_token(farm: Farm) -> None:
    """Of ingestors and workers alike; health is for everybody, and nobody is told the token."""
    ingestor = farm.start_ingestor(FARM_SERVER_TOKEN=TOKEN)
    url, port = address(ingestor), free_port()
    worker = farm.start_worker(FARM_SERVER_TOKEN=TOKEN, FARM_METRICS_PORT=str(port))
    pages = [
        f"{url}/metrics",
        f"{url}/openapi.json",
        f"http://127.0.0.1:{port}/metrics",
        f"http://127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}/health",
    ]
    for page in pages:
        for wrong in (None, "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}"):
            refused = httpx.get(page, headers={"Authorization": wrong} if wrong else {})
            assert refused.status_code == 401, page
            assert "server.token" in refused.json()["error"]
            assert TOKEN not in refused.text
            assert "worker_" not in refused.text
        assert httpx.get(page, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200, page
    for page in (f"{url}/health", f"{url}/ready"):
        assert httpx.get(page).status_code == 200
    for process in (ingestor, worker):
        assert not any(TOKEN in line or "FARM_SERVER_TOKEN" in line for line in process.lines)


def test_an_open_address_without_a_token_is_warned_of(farm: Farm) -> None:
    ingestor = farm.start_ingestor(FARM_SERVER_HOST="0.0.0.0")
    assert "WARNING" in ingestor.wait_for("set FARM_SERVER_TOKEN")[0]
    worker = farm.start_worker(FARM_METRICS_HOST="0.0.0.0", FARM_METRICS_PORT=str(free_port()))
    worker.wait_for("set FARM_SERVER_TOKEN")
