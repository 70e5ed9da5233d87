"""train.lora and train.voice with real storage; the ComfyUI is a fake (``tests.comfy.fake_comfy``)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av", reason="PyAV is not installed (extra: media)")

from myspinbot_worker.actors import train
from myspinbot_worker.comfy.pipelines import comfy_engine_set
from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.engines import EngineSet
from myspinbot_worker.errors import BadInput, EngineUnavailable
from myspinbot_worker.storage import Storage
from myspinbot_worker.task import Task
from tests.comfy import mini_catalogs as catalogs
from tests.comfy.fake_comfy import FakeComfy
from tests.preview.clips import tone, write_wav

from .inline_tasks import inline_task, storage_with


@pytest.fixture
def storage(s3_server: EmbeddedS3) -> Iterator[Storage]:
    with storage_with(s3_server, "training") as made:
        yield made


@pytest.fixture
def task_with(storage: Storage, tmp_path: Path) -> Callable[[EngineSet], Task]:
    return lambda engines: inline_task(storage, tmp_path, engines)


def png(grey: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (32, 32), (grey, grey, grey)).save(data, "PNG")
    return data.getvalue()


def test_a_lora_of_a_picture_and_an_archive(storage: Storage, task_with: Callable[[EngineSet], Task]) -> None:
    storage.upload_bytes(png(10), "input", "training/one.png")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("two.png", png(20))
        archive.writestr("two.txt", "a grey square")
    beside = storage.upload_bytes(packed.getvalue(), "input", "training/more.zip")
    comfy = FakeComfy(catalogs.core())
    output = train.lora(
        task_with(comfy_engine_set(comfy)),
        train.TrainLoraParams(images=["input/training/one.png"], trigger="sks", steps=10),
        train.TrainLoraInput(imageArtifacts=[beside]),
    )
    assert output.pictures == 2
    assert output.loraArtifact.bucket == "output"
    assert storage.stat("output", output.loraArtifact.key).size_bytes == output.loraArtifact.size_bytes
    captions = [
        it["inputs"]["text"] for it in comfy.prompts[0].values() if it["class_type"] == "CLIPTextEncode"
    ]
    assert captions == ["sks", "sks, a grey square"]


def test_an_engine_that_cannot_train_says_so(task_with: Callable[[EngineSet], Task]) -> None:
    task = task_with(EngineSet(None, None, None))  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailable, match="cannot train"):
        train.lora(task, train.TrainLoraParams(images=["input/training/one.png"]), train.TrainLoraInput())


def test_a_voice_that_speech_can_use(
    storage: Storage, task_with: Callable[[EngineSet], Task], tmp_path: Path
) -> None:
    recorded = write_wav(tmp_path / "recorded.wav", np.concatenate([np.zeros(16000), tone(2.0)]))
    storage.upload(recorded, "input", "training/voice.wav")
    task = task_with(comfy_engine_set(FakeComfy(catalogs.core())))
    output = train.voice(
        task,
        train.TrainVoiceParams(audioPath="input/training/voice.wav", refText=" Hello there. "),
        train.TrainVoiceInput(),
    )
    assert output.refText == "Hello there."
    assert output.seconds == pytest.approx(2.1, abs=0.05)
    bucket, key = storage.parse_path(output.audioPath)
    assert storage.stat(bucket, key) == output.voiceArtifact


def test_a_voice_without_its_transcript_is_refused(task_with: Callable[[EngineSet], Task]) -> None:
    task = task_with(comfy_engine_set(FakeComfy(catalogs.core())))
    with pytest.raises(BadInput, match=r"params\.refText is empty"):
        train.voice(
            task,
            train.TrainVoiceParams(audioPath="input/training/voice.wav", refText=" "),
            train.TrainVoiceInput(),
        )
