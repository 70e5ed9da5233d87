"""A file that is not what its task owes is made again once, on a real farm; one that is carries its digest."""

from __future__ import annotations

from typing import Any

import pytest
from minio import Minio

from .harness import Farm, graph, node

pytest.importorskip("av", reason="PyAV is not installed (extra: media)")

MOST: dict[str, Any] = {"retries": {"attempt": 0, "maxAttempts": 9}}


def made(farm: Farm, job: str) -> int:
    return int(farm.client.get(f"test:sounds:{job}:a") or 0)


def test_a_second_untrue_file_fails_the_node(running: Farm) -> None:
    job = running.submit(graph([node("a", "test.make_sound", params={"times": 99}, **MOST)]))
    running.wait_status(job, "failed")
    error = running.snapshot(job)["nodes"][0]["error"]
    assert error["code"] == "bad_output"
    assert error["message"].startswith("sound.wav is not what was promised: the sound is silent")
    assert error["details"]["attempt"] == made(running, job) == 2
    assert error["details"]["problems"] == [
        "the sound is silent (its peak is -120.0 dBFS), something to hear was promised"
    ]
    assert error["details"]["probe"]["audio"]["rate"] == 16000


def test_a_true_file_at_the_second_try(running: Farm) -> None:
    job = running.submit(graph([node("a", "test.make_sound", params={"times": 1}, **MOST)]))
    output = running.wait_back(job)["nodes"][0]["output"]
    assert made(running, job) == 2
    env, kept = running.env, output["kept"]
    storage = Minio(env["MINIO_ENDPOINT"], env["MINIO_ACCESS_KEY"], env["MINIO_SECRET_KEY"], secure=False)
    headers = storage.stat_object(kept["bucket"], kept["key"]).metadata
    assert headers is not None
    assert headers["x-amz-meta-sha256"] == output["digest"]
