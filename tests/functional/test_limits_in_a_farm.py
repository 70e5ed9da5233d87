"""Limits and names, seen from a job: the settings reach the worker, and the error says which one it was."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.errors import BadInput, StorageError
from myspinbot_worker.storage import Storage, StorageConfig

from .harness import Farm, graph, node

pytest.importorskip("av", reason="PyAV is not installed (extra: preview)")

BUCKETS = ("input", "staged", "output")


def second_of_silence() -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(32_000))
    return data.getvalue()


@pytest.fixture
def storage(s3_server: EmbeddedS3) -> Iterator[Storage]:
    config = StorageConfig(s3_server.endpoint, s3_server.access_key, s3_server.secret_key, False, BUCKETS)
    made = Storage(config)
    yield made
    for bucket in BUCKETS:
        made.remove_prefix(bucket, "limits")
    made.close()


def test_what_a_job_is_told(farm: Farm, storage: Storage, s3_server: EmbeddedS3) -> None:
    (s3_server.directory / "private").mkdir(exist_ok=True)
    (s3_server.directory / "private" / "voice.wav").write_bytes(second_of_silence())
    storage.upload_bytes(second_of_silence(), "input", "limits/voice.wav")
    storage.upload_bytes(bytes(40_000), "input", "limits/large.wav")
    storage.upload_bytes(b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "input", "limits/list.m3u8")
    expected = {
        "input/limits/voice.wav": ("bad_media", "farm.max_media_seconds"),
        "input/limits/large.wav": ("bad_input", "farm.max_artifact_bytes is 35000"),
        "input/limits/list.m3u8": ("bad_media", "cannot be decoded"),
        "private/voice.wav": ("bucket_not_allowed", "input, staged, output"),
        "input/../private/voice.wav": ("bad_input", "'..' segment"),
        "../private/voice.wav": ("bucket_not_allowed", "'..'"),
        "/private/voice.wav": ("bad_input", "names no bucket"),
    }
    farm.start_ingestor()
    farm.start_worker(FARM_MAX_MEDIA_SECONDS="0.5", FARM_MAX_ARTIFACT_BYTES="35000")
    jobs = {}
    for path in expected:
        params: dict[str, Any] = {"audioPath": path, "refText": ""}
        speak = node("a", "generate.f5_to_tts", params=params, input={"narration": "Hello."})
        jobs[path] = farm.submit(graph([speak]))
    for path, (code, said) in expected.items():
        farm.wait_status(jobs[path], "failed")
        error = farm.snapshot(jobs[path])["nodes"][0]["error"]
        assert (error["code"], said in error["message"]) == (code, True), error


def test_the_lower_limit_counts(storage: Storage, s3_server: EmbeddedS3, tmp_path: Any) -> None:
    storage.upload_bytes(bytes(10), "input", "limits/ten")
    config = StorageConfig(
        s3_server.endpoint, s3_server.access_key, s3_server.secret_key, False, BUCKETS, max_bytes=9
    )
    limited = Storage(config)
    with pytest.raises(BadInput, match=r"has 10 bytes, farm\.max_artifact_bytes is 9"):
        limited.download("input", "limits/ten", tmp_path / "f")
    with pytest.raises(BadInput, match=r"has 10 bytes, farm\.max_artifact_bytes is 9"):
        limited.download("input", "limits/ten", tmp_path / "f", max_bytes=10)
    with pytest.raises(BadInput, match=r"has 10 bytes, the limit is 8"):
        limited.download("input", "limits/ten", tmp_path / "f", max_bytes=8)
    assert not list(tmp_path.iterdir())
    limited.close()


def test_a_list_of_keys_stays_in_its_bucket(storage: Storage) -> None:
    storage.upload_bytes(b"x", "output", "limits/other")
    for prefix in ("../", "../output/", "/", "..", "limits/../../output/", "\0", "%2e%2e/"):
        found: list[str] = []
        with suppress(StorageError):
            found = storage.list_keys("input", prefix)
        # Whatever else is in that bucket, nothing of another is told.
        assert set(found) <= set(storage.list_keys("input"))
