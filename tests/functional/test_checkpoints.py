"""Kept steps on a real S3 server: kept, found by the next attempt, and never taken for other work."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from myspinbot_worker.artifact_keys import steps_folder
from myspinbot_worker.checkpoints import BUCKET, Checkpoints, work_fingerprint
from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.graph.transitions import Claim
from myspinbot_worker.storage import Storage, StorageConfig
from tests.unit.attempts import claim


@pytest.fixture
def storage(s3_server: EmbeddedS3) -> Storage:
    return Storage(
        StorageConfig(
            endpoint=s3_server.endpoint,
            access_key=s3_server.access_key,
            secret_key=s3_server.secret_key,
            use_ssl=False,
            buckets=("input", "staged", "output"),
        )
    )


class Attempt:
    """One attempt at a node, and what it told."""

    def __init__(self, given: Claim, storage: Storage, scratch: Path) -> None:
        scratch.mkdir(exist_ok=True)
        self.told: list[str] = []
        self.scratch = scratch
        self.steps = Checkpoints(
            given,
            scratch,
            storage,
            uploads=lambda: self.told.append("uploads"),
            kept=lambda: self.told.append("kept"),
        )

    def keep(self, step: str, content: bytes) -> None:
        path = self.scratch / "step.bin"
        path.write_bytes(content)
        assert self.steps.keep(step, path) is not None


def test_the_next_attempt_finds_what_one_kept(storage: Storage, tmp_path: Path) -> None:
    job = str(uuid4())
    first = Attempt(claim(job=job, token=1), storage, tmp_path / "1")
    assert first.steps.fetch("window-1") is None
    first.keep("window-1", b"frames")
    assert first.told == ["uploads", "kept"]
    again = Attempt(claim(job=job, token=2), storage, tmp_path / "2")
    found = again.steps.fetch("window-1")
    assert found is not None
    assert found.read_bytes() == b"frames"
    assert found.suffix == ".bin"
    assert found.parent == again.scratch
    artifact = again.steps.artifact("window-1")
    assert artifact is not None
    assert artifact.size_bytes == 6


def test_a_step_that_is_there_is_no_progress(storage: Storage, tmp_path: Path) -> None:
    job = str(uuid4())
    Attempt(claim(job=job), storage, tmp_path / "1").keep("window-1", b"frames")
    same = Attempt(claim(job=job, token=2), storage, tmp_path / "2")
    same.keep("window-1", b"frames")
    assert same.told == []
    other = Attempt(claim(job=job, token=3), storage, tmp_path / "3")
    other.keep("window-1", b"frames made otherwise")
    assert other.told == ["uploads"]


@pytest.mark.parametrize(
    "change",
    [
        {"params": '{"steps": 7}'},
        {"input": '{"narration": "b"}'},
        {"outputs": ('{"a": 1}',)},
        {"node_id": "b"},
    ],
)
def test_other_work_finds_nothing(storage: Storage, tmp_path: Path, change: dict[str, object]) -> None:
    given: dict[str, object] = {"job": str(uuid4()), "params": '{"steps": 6}', "input": '{"narration": "a"}'}
    Attempt(claim(**given), storage, tmp_path / "1").keep("window-1", b"frames")  # type: ignore[arg-type]
    other = Attempt(claim(**given | change), storage, tmp_path / "2")  # type: ignore[arg-type]
    assert other.steps.fetch("window-1") is None
    assert other.steps.artifact("window-1") is None


@pytest.mark.parametrize("damage", [b"framez", b"frame", b""])
def test_a_step_that_is_not_what_was_kept_is_made_again(
    storage: Storage, tmp_path: Path, damage: bytes
) -> None:
    given = claim(job=str(uuid4()))
    Attempt(given, storage, tmp_path / "1").keep("window-1", b"frames")
    folder = steps_folder(given.ref.job, given.node_id, given.ref.entry)
    (key,) = storage.list_keys(BUCKET, folder)
    storage.upload_bytes(damage, BUCKET, key)
    again = Attempt(given, storage, tmp_path / "2")
    assert again.steps.fetch("window-1") is None
    assert not list(again.scratch.iterdir())
    again.keep("window-1", b"frames of the next")
    found = Attempt(given, storage, tmp_path / "3").steps.fetch("window-1")
    assert found is not None
    assert found.read_bytes() == b"frames of the next"


def test_what_goes_away_meanwhile_is_made_again(storage: Storage, tmp_path: Path) -> None:
    given = claim(job=str(uuid4()))
    first = Attempt(given, storage, tmp_path / "1")
    first.keep("window-1", b"frames")
    storage.remove_prefix(BUCKET, steps_folder(given.ref.job, given.node_id, given.ref.entry))
    assert first.steps.fetch("window-1") is None
    assert first.steps.artifact("window-1") is None


def test_storage_that_is_away_costs_no_work_that_is_done(tmp_path: Path) -> None:
    away = Storage(
        StorageConfig(
            endpoint="127.0.0.1:9", access_key="a", secret_key="b" * 8, use_ssl=False, buckets=("staged",)
        ),
        connect_timeout=0.2,
        retries=0,
    )
    attempt = Attempt(claim(), away, tmp_path / "1")
    path = tmp_path / "step.bin"
    path.write_bytes(b"frames")
    assert attempt.steps.keep("window-1", path) is None
    assert "kept" not in attempt.told


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 101])
def test_a_name_that_is_none_is_refused(tmp_path: Path, storage: Storage, name: str) -> None:
    with pytest.raises(ValueError, match="a step's name"):
        Attempt(claim(), storage, tmp_path / "1").steps.fetch(name)


def test_fingerprints_know_what_belongs_to_what() -> None:
    assert work_fingerprint(claim(params="ab", input="c")) != work_fingerprint(claim(params="a", input="bc"))
    assert work_fingerprint(claim(token=1)) == work_fingerprint(claim(token=2))
