"""How fast a large artifact goes to storage and comes back, beside a plain HTTP client on the same server."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import urllib3
from minio import Minio

from myspinbot_worker.checksums import checksums
from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.storage import Storage, StorageConfig

from .figures import Figure
from .stage import BenchmarkError, Stage

BUCKET = "staged"
_BLOCK = 1 << 20


def transfers(stage: Stage) -> Iterator[Figure]:
    """MB/s of one upload and one download, each in a process of its own, verified by checksum; and their memory."""
    size, rounds = stage.effort.transfer_bytes, stage.effort.transfers
    source = stage.folder / "artifact.bin"
    block = os.urandom(_BLOCK)
    with source.open("wb") as file:
        for number in range(size // _BLOCK):
            file.write(number.to_bytes(8, "big") + block[8:])
    rates: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    with EmbeddedS3(stage.folder / "s3", buckets=(BUCKET,)) as server:
        for number in range(rounds):
            # Side by side, round by round: what else runs on the machine meets both.
            for what in ("plain_upload", "upload", "verified_upload", "plain_download", "download"):
                stage.say(f"{what.replace('_', ' ')} of {size >> 20} MiB: round {number + 1} of {rounds}")
                seconds, grown = _measure(what, server, source, stage.folder / "back.bin")
                rates.setdefault(what, []).append(size / 1e6 / seconds)
                memory.setdefault(what, []).append(grown / 1e6)
    source.unlink()
    for way in ("upload", "download"):
        name = f"{way} of {size >> 20} MiB, plain HTTP client"
        yield Figure("transfers", f"plain_{way}", name, "MB/s", tuple(rates[f"plain_{way}"]), "unverified")
    for what, name, note in (
        ("upload", "upload of {} MiB", "checksums made and verified"),
        (
            "verified_upload",
            "upload of {} MiB that the truth gate has seen",
            "its checksum held against the gate's",
        ),
        ("download", "download of {} MiB", "checksum verified"),
    ):
        name = name.format(size >> 20)
        yield Figure("transfers", what, name, "MB/s", tuple(rates[what]), note)
        plain = rates["plain_download" if what == "download" else "plain_upload"]
        share = tuple(100 * ours / theirs for ours, theirs in zip(rates[what], plain, strict=True))
        yield Figure("transfers", f"{what}_share", f"{name}, of the plain client's rate", "%", share)
        yield Figure("transfers", f"{what}_memory", f"{name}, memory it takes", "MB", tuple(memory[what]))


def _measure(what: str, server: EmbeddedS3, source: Path, target: Path) -> tuple[float, int]:
    target.unlink(missing_ok=True)
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.transfers", what, server.endpoint, server.access_key,
         server.secret_key, str(source), str(target)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if said.returncode:
        raise BenchmarkError(f"{what} failed:\n{said.stderr[-2000:]}")
    seconds, grown = json.loads(said.stdout)
    return float(seconds), int(grown)


def _transfer(what: str, endpoint: str, access: str, secret: str, source: Path, target: Path) -> None:
    key = "artifact.bin"
    storage = Storage(StorageConfig(endpoint, access, secret, False, (BUCKET,)))
    client = Minio(endpoint, access, secret, secure=False)
    pool = urllib3.PoolManager()

    def plain_upload() -> None:
        url = client.presigned_put_object(BUCKET, "plain.bin", timedelta(hours=1))
        with source.open("rb") as file:
            length = {"Content-Length": str(source.stat().st_size)}
            answer = pool.request("PUT", url, body=file, headers=length)
        if answer.status != 200:
            raise RuntimeError(answer.data)

    def plain_download() -> None:
        url = client.presigned_get_object(BUCKET, "plain.bin", timedelta(hours=1))
        answer = pool.request("GET", url, preload_content=False)
        with target.open("xb") as file:
            while chunk := answer.read(_BLOCK):
                file.write(chunk)

    acts: dict[str, Callable[[], object]] = {
        "plain_upload": plain_upload,
        "plain_download": plain_download,
        "upload": lambda: storage.upload(source, BUCKET, key),
        "verified_upload": lambda: storage.upload(source, BUCKET, key, sha256=digest),
        "download": lambda: storage.download(BUCKET, key, target),
    }
    # What the gate did when it looked at the file.
    with source.open("rb") as file:
        digest, _ = checksums(file, lambda: None, with_md5=False)
    storage.list_keys(BUCKET, "warming up")
    before, start = _peak(), time.perf_counter()
    acts[what]()
    print(json.dumps([time.perf_counter() - start, _peak() - before]))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    _transfer(*sys.argv[1:5], *map(Path, sys.argv[5:]))  # type: ignore[arg-type]
