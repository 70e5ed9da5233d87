"""Keys, paths, content types, and the artifact as a value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from myspinbot_worker import storage as storage_module
from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.errors import BadInput
from myspinbot_worker.storage import Artifact, Storage, guess_content_type, parse_path
from tests.functional.storage_servers import config as config
from tests.functional.storage_servers import server as server
from tests.functional.storage_servers import storage as storage

ESCAPES = [
    "/etc/passwd",
    "../output/x",
    "a/../../x",
    "a/..",
    ".",
    "./a",
    "a//b",
    "a/",
    "",
    "nul\0x",
    "line\nbreak",
    "del\x7f",
    "\ud800",
    "x" * 1025,
    "é" * 513,
]


@pytest.mark.parametrize("key", ESCAPES)
def test_keys_that_could_lead_elsewhere(
    storage: Storage, server: EmbeddedS3, tmp_path: Path, key: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: storage.stat("input", key),
        lambda: storage.download("input", key, tmp_path / "f"),
        lambda: storage.upload(Path(__file__), "input", key),
        lambda: storage.upload_bytes(b"x", "input", key),
        lambda: storage.remove("input", key),
        lambda: storage.parse_path(f"input/{key}", "imagePath"),
    ]
    for call in calls:
        with pytest.raises(BadInput):
            call()
    assert sorted(path.name for path in server.directory.iterdir() if path.is_file()) == []


def test_the_longest_key_is_taken() -> None:
    assert parse_path("input/" + "é" * 512) == ("input", "é" * 512)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/input/a", "imagePath '/input/a' names no bucket"),
        ("input", "imagePath 'input' names no key"),
        ("input/", "imagePath 'input/' names no key"),
        ("", "imagePath '' names no bucket"),
        ("input//a", "the key in imagePath '/a' starts or ends with a slash"),
        (None, "imagePath must be text"),
        ({"bucket": "input"}, "imagePath must be text .* not dict"),
    ],
)
def test_a_path_that_is_none_names_its_field(path: object, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        parse_path(path, "imagePath")


def test_a_path_is_split(storage: Storage) -> None:
    assert storage.parse_path("input/a/b c.png") == ("input", "a/b c.png")


def test_content_types_do_not_depend_on_the_machine() -> None:
    assert guess_content_type("a/b.WAV") == "audio/wav"
    assert guess_content_type("b.mp4") == "video/mp4"
    assert guess_content_type("b.png") == "image/png"
    assert guess_content_type("b") == "application/octet-stream"


def test_a_content_type_is_taken_from_the_file_where_the_key_tells_none(
    storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "f.png").write_bytes(b"x")
    assert storage.upload(tmp_path / "f.png", "output", "k").content_type == "image/png"
    assert storage.upload(tmp_path / "f.png", "output", "k", content_type="a/b").content_type == "a/b"


def test_parts_grow_only_with_enormous_files() -> None:
    assert storage_module.PART_SIZE * storage_module.MAX_PARTS > 100 << 30


def test_an_artifact_is_closed_and_dated() -> None:
    good = {"bucket": "b", "key": "k", "size_bytes": 0, "created_at": "2026-01-02T03:04:05Z"}
    artifact = Artifact.model_validate(good)
    assert list(artifact.model_dump()) == ["bucket", "key", "size_bytes", "created_at", "content_type"]
    assert artifact.content_type is None
    for bad in (
        {"etag": "x"},
        {"size_bytes": -1},
        {"created_at": "2026-01-02T03:04:05"},
        {"created_at": "now"},
        {"bucket": None},
    ):
        with pytest.raises(ValidationError):
            Artifact.model_validate({**good, **bad})
