"""Artifact names and paths: a bucket of the list and a key that stays in it, or a refusal."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path, PurePosixPath
from random import Random

from pydantic import ValidationError

from myspinbot_worker.artifact_keys import attempt_folder
from myspinbot_worker.capability import Registry
from myspinbot_worker.errors import BadInput, BucketNotAllowed
from myspinbot_worker.object_names import MAX_KEY_BYTES, check_key, guess_content_type, parse_path
from myspinbot_worker.storage import Artifact, Storage, StorageConfig
from myspinbot_worker.task import Task
from tests.unit.attempts import claim
from tests.unit.inline_lanes import InlineLane

from .bounds import in_memory, in_time
from .mutations import damaged_text, lines, randoms

NAMES = 3_000
KNOWN = lines("names.txt")
BUCKETS = ("input", "staged", "output")
ARTIFACT = {"bucket": "input", "key": "a/b.wav", "size_bytes": 1, "created_at": "2026-01-02T03:04:05Z"}


class Recording(Storage):
    """Storage that notes where downloads and uploads would go, and does neither."""

    def __init__(self) -> None:
        super().__init__(StorageConfig("127.0.0.1:1", "access", "secret", False, BUCKETS))
        self.written: list[Path] = []
        self.keys: list[tuple[str, str]] = []

    def download(self, bucket: str, key: str, destination: Path, **options: object) -> Path:
        self._admit(bucket, key)
        self.written.append(destination)
        destination.write_bytes(b"")
        return destination

    def upload(self, path: Path, bucket: str, key: str, **options: object) -> Artifact:
        self._admit(bucket, key)
        self.keys.append((bucket, key))
        return Artifact(**{**ARTIFACT, "bucket": bucket, "key": key})


def task_of(job: str, node: str, storage: Storage, scratch: Path) -> Task:
    given = claim(job=job, node_id=node)
    lane = InlineLane(Registry(), storage)
    return Task(given, scratch, storage, lane, engines=lambda: None)  # type: ignore[arg-type,return-value]


def test_damaged_paths() -> None:
    storage = Recording()
    taken = 0
    with in_memory():
        for random in randoms("names", NAMES):
            path = damaged_text(random, KNOWN)
            with in_time(1):
                guess_content_type(path)
                try:
                    bucket, key = storage.parse_path(path, "audioPath")
                except (BadInput, BucketNotAllowed) as refused:
                    # It ends in a graph's JSON text, where half a character may stand escaped.
                    json.dumps(refused.message)
                    continue
            taken += 1
            assert bucket in BUCKETS
            assert f"{bucket}/{key}" == path
            assert len(key.encode()) <= MAX_KEY_BYTES
            assert not {"", ".", ".."} & set(key.split("/"))
            assert all(character.isprintable() or ord(character) > 0x9F for character in key)
            inside = PurePosixPath("/buckets", bucket, key)
            assert inside.is_relative_to(f"/buckets/{bucket}")
            assert check_key(key) == key
    assert NAMES / 20 < taken < NAMES * 0.9


def test_values_that_are_no_paths() -> None:
    for value in (None, 1, 1.5, True, [], {}, ["input/a"], {"bucket": "input"}, b"input/a"):
        try:
            parse_path(value)
        except BadInput:
            continue
        raise AssertionError(value)


def test_files_stay_in_their_folder_and_objects_below_their_node(tmp_path: Path) -> None:
    """Whatever job, node and file are called."""
    storage = Recording()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for random in randoms("keys", NAMES // 4):
        job, node, path = (damaged_text(random, KNOWN).encode("utf-8", "replace").decode() for _ in range(3))
        job = job.replace(":", "")[:200] or "job"
        with in_time(1):
            task = task_of(job, node, storage, scratch)
            with contextlib.suppress(BadInput, BucketNotAllowed):
                task.fetch(path)
            with contextlib.suppress(BadInput):
                task.fetch(Artifact(**{**ARTIFACT, "key": path}))
            # A capability may name its file after what it was given.
            with contextlib.suppress(BadInput):
                task.keep(scratch / "f", bucket="staged", name=path)
            assert task.object_prefix.count("/") == 2
            assert check_key(attempt_folder(job, node, "1-1", 1) + "file.mp4")
    assert len(storage.written) > NAMES / 20
    assert {path.parent for path in storage.written} == {scratch}
    assert {path.resolve().parent for path in storage.written} == {scratch.resolve()}
    assert {path.parent for path in scratch.parent.rglob("*") if path.is_file()} <= {scratch}
    for _, key in storage.keys:
        assert not {"", ".", ".."} & set(key.split("/"))
        assert key.split("/")[2:4] == ["1-1", "1"]


def test_two_names_never_make_one_key() -> None:
    storage = Recording()
    prefixes: dict[str, tuple[str, str]] = {}
    for random in randoms("keys", NAMES // 4):
        names = _names(random)
        prefix = task_of(*names, storage, Path("/nowhere")).object_prefix
        assert prefixes.setdefault(prefix, names) == names


def _names(random: Random) -> tuple[str, str]:
    job, node = (damaged_text(random, KNOWN).encode("utf-8", "replace").decode() for _ in range(2))
    return job, node


def test_damaged_artifacts() -> None:
    for random in randoms("artifacts", NAMES // 3):
        value = {**ARTIFACT, random.choice(list(ARTIFACT)): _value(random)}
        if random.random() < 0.3:
            value[damaged_text(random, ["bucket", "etag", "content_type"])] = _value(random)
        with in_time(1):
            try:
                artifact = Artifact.model_validate_json(json.dumps(value))
            except ValidationError:
                continue
        assert artifact.size_bytes >= 0
        artifact.model_dump_json()


def _value(random: Random) -> object:
    return random.choice(
        (
            None,
            True,
            -1,
            10**30,
            1.5,
            "1",
            "",
            [],
            {},
            "now",
            "2026-01-02",
            "2026-99-01T00:00:00Z",
            damaged_text(random, KNOWN),
        )
    )
