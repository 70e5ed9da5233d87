"""What the farm can do, how it is set, and the ingestor as an operator runs it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

from tests.functional.command_line import PROGRAM, child, run_in
from tests.functional.harness import Farm, graph, node
from tests.functional.processes import PATIENCE, Process


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_capabilities(farm_env: dict[str, str]) -> None:
    def told(*options: str) -> str:
        process = child(farm_env, "capabilities", *options)
        text, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, "")
        return text

    short, full = json.loads(told("--json")), json.loads(told("--schema"))
    ids = [item["id"] for item in short["capabilities"]]
    assert {"dummy.dummy_task", "generate.f5_to_tts", "test.echo"} <= set(ids)
    assert [item["id"] for item in full["capabilities"]] == ids
    assert all(item["io"] == {"input": {}, "output": {}} for item in short["capabilities"])
    assert all(item["io"]["output"] for item in full["capabilities"])
    assert "\ngenerate.f5_to_tts\tgpu\tSpeech from text\t" in told()


def test_config_shows_origins_and_no_secret(farm_env: dict[str, str]) -> None:
    env = {**farm_env, "MINIO_SECRET_KEY": "hunter2", "REDIS_URL": "redis://:hunter3@127.0.0.1:1/0"}
    rows = {row["key"]: row for row in json.loads(run_in(env, "config", "--json").stdout)}
    assert rows["storage.secret_key"]["value"] == "***"
    assert rows["redis.url"]["value"] == "redis://:***@127.0.0.1:1/0"
    assert rows["redis.url"]["origin"] == "env REDIS_URL"
    assert rows["farm.namespace"]["origin"] == "default"
    overridden = run_in(env, "config", "--redis-url", "redis://:hunter4@host/0")
    assert "redis.url\tredis://:***@host/0\tcommand line\n" in overridden.stdout
    meaning = run_in(env, "config", "--meaning").stdout
    assert "farm.namespace\tfarm\tdefault\tPrefix of the farm's own Redis keys.\n" in meaning
    assert "hunter" not in overridden.stdout + meaning + json.dumps(rows)


def ingestor(env: dict[str, str], *options: str) -> Process:
    return Process("ingest", [*PROGRAM, "ingest", *options], env)


def test_ingest_runs_until_told_to_stop(farm: Farm) -> None:
    process = ingestor(farm.env)
    farm.processes.append(process)
    process.wait_for(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z INFO myspinbot_worker\.ingestor: ingestor .* reads"
    )
    job = farm.submit(graph([node("a", "no.such.service")]))
    farm.wait_status(job, "failed")
    process.wait_for("WARNING myspinbot_worker.dispatcher: node a")
    assert process.stop() == 0
    assert not any(farm.env["MINIO_SECRET_KEY"] in line for line in process.lines)


def test_ingest_takes_the_url_of_its_command_line(farm: Farm) -> None:
    elsewhere = {**farm.env, "REDIS_URL": "redis://127.0.0.1:1/0", "FARM_LOG_LEVEL": "DEBUG"}
    process = ingestor(elsewhere, "--redis-url", farm.env["REDIS_URL"], "--json")
    farm.processes.append(process)
    (line,) = process.wait_for("ingestor .* reads")
    assert {"time", "level", "logger", "message"} == set(json.loads(line))
    job = farm.submit(graph([node("a", "no.such.service")]))
    farm.wait_status(job, "failed")
    assert process.stop() == 0
    assert all(json.loads(line) for line in process.lines)


def test_ingest_on_a_taken_port(farm_env: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = child({**farm_env, "FARM_SERVER_PORT": str(port)}, "ingest")
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith(f"Error: cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in errors


def test_logs_hold_no_secret(farm_env: dict[str, str]) -> None:
    code = """
import logging, sys
from myspinbot_worker.cli.logs import set_up_logging
set_up_logging("INFO", ("hunter2-secret",), as_json=sys.argv[1] == "json")
logging.getLogger("a").debug("unseen")
logging.getLogger("a").warning("key %s at redis://u:hunter3@host", "hunter2-secret")
try:
    raise ValueError("hunter2-secret")
except ValueError:
    logging.getLogger("a").exception("failed")
"""
    for form in ("plain", "json"):
        done = subprocess.run([sys.executable, "-c", code, form], capture_output=True, text=True, check=True)
        assert "hunter" not in done.stderr
        assert "***" in done.stderr
        assert "ValueError" in done.stderr
        assert "unseen" not in done.stderr
    assert [record["level"] for record in events(done.stderr)] == ["WARNING", "ERROR"]
