"""The three generating tasks with engines that end without an error and leave the wrong file."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed (extra: media)")

from myspinbot_worker.actors import generate
from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.engines import EngineSet, Steps
from myspinbot_worker.errors import UntrueOutput
from myspinbot_worker.storage import Artifact, Storage
from myspinbot_worker.task import Task
from tests.media.films import write_film
from tests.preview.clips import photo, sliding, tone, write_wav

from .inline_tasks import inline_task, storage_with


class Leaves:
    """A stand-in for every engine: leaves a file that the test made, whatever it was asked for."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def enlarged(self, width: int, height: int, settings: Any = None) -> tuple[int, int]:
        return 2 * width, 2 * height

    def speak(
        self, text: str, reference: Path, reference_text: str, destination: Path, steps: Steps, **_: Any
    ) -> None:
        shutil.copy(self._file, destination)

    def animate(self, portrait: Path, speech: Path, destination: Path, steps: Steps, **_: Any) -> None:
        shutil.copy(self._file, destination)

    def upscale(self, source: Path, destination: Path, steps: Steps, **_: Any) -> None:
        shutil.copy(self._file, destination)


@pytest.fixture
def storage(s3_server: EmbeddedS3) -> Iterator[Storage]:
    with storage_with(s3_server, "lies") as made:
        yield made


@pytest.fixture
def task_with(storage: Storage, tmp_path: Path) -> Callable[[Path], Task]:
    def make(file: Path) -> Task:
        engine = Leaves(file)
        return inline_task(storage, tmp_path, EngineSet(engine, engine, engine))

    return make


def film(path: Path, size: int, frames: int, seconds: float | None) -> Path:
    pictures = sliding(photo("coffee"), size, size, frames)
    return write_film(path, pictures, sound=tone(seconds) if seconds else None)


def speech(storage: Storage, folder: Path) -> Artifact:
    return storage.upload(write_wav(folder / "speech.wav", tone(1.2)), "staged", "lies/speech.wav")


def test_speech(
    storage: Storage, task_with: Callable[[Path], Task], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    storage.upload(write_wav(tmp_path / "voice.wav", tone(1.0)), "input", "lies/voice.wav")
    task = task_with(write_wav(tmp_path / "silence.wav", np.zeros(16000)))
    params = generate.SpeechParams(audioPath="input/lies/voice.wav", refText="")
    given = generate.SpeechInput(narration="Hello.", currentProgress=None)
    with pytest.raises(UntrueOutput, match=r"speech\.wav is not what was promised: the sound is silent"):
        generate.f5_to_tts(task, params, given)
    assert storage.list_keys("staged", "job-1") == []
    write_wav(tmp_path / "silence.wav", tone(0.5))
    assert generate.f5_to_tts(task, params, given).audioArtifact.size_bytes == 16_044
    digest = hashlib.sha256((tmp_path / "silence.wav").read_bytes()).hexdigest()
    assert f"node a of job job-1: speech.wav is as promised, sha256 {digest}" in caplog.text


def test_a_talk(storage: Storage, task_with: Callable[[Path], Task], tmp_path: Path) -> None:
    storage.upload_bytes(b"never looked at", "input", "lies/face.png")
    task = task_with(film(tmp_path / "lie.mp4", 64, 15, 0.6))
    params = generate.TalkParams(imagePath="input/lies/face.png", positive_prompt="", negative_prompt="")
    given = generate.TalkInput(audioArtifact=speech(storage, tmp_path), currentProgress=None)
    with pytest.raises(UntrueOutput) as caught:
        generate.infinite_talk(task, params, given)
    assert caught.value.details["problems"] == [
        "the pictures last 0.600 s, 1.200 s to 2 frames were promised",
        "the sound lasts 0.640 s, at least 0.950 s were promised",
    ]
    assert storage.list_keys("staged", "job-1") == []
    film(tmp_path / "lie.mp4", 64, 30, 1.2)
    assert generate.infinite_talk(task, params, given).videoArtifact.key.endswith("talk.mp4")


def test_an_upscaled_video(storage: Storage, task_with: Callable[[Path], Task], tmp_path: Path) -> None:
    source = storage.upload(film(tmp_path / "s.mp4", 64, 10, 0.4), "staged", "lies/s.mp4")
    task = task_with(film(tmp_path / "lie.mp4", 64, 9, None))
    given = generate.UpscaleInput(videoArtifact=source, currentProgress=None)
    with pytest.raises(UntrueOutput) as caught:
        generate.upscale_video(task, generate.UpscaleParams(), given)
    assert caught.value.details["problems"] == [
        "the picture is 64 pixels wide, 128 were promised",
        "the picture is 64 pixels high, 128 were promised",
        "the video has 9 frames, 10 were promised",
        "the file has no sound, one was promised",
    ]
    assert storage.list_keys("output", "job-1") == []
    film(tmp_path / "lie.mp4", 128, 10, 0.4)
    assert generate.upscale_video(task, generate.UpscaleParams(), given).videoArtifact.bucket == "output"
