"""Media made once for the whole folder: a voice reference, a portrait, a speech, a talking video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from myspinbot_worker.preview.speech import PiperSpeech
from myspinbot_worker.preview.talking_head import LandmarkTalkingHead
from myspinbot_worker.preview.upscale import RealEsrganUpscaler

from .clips import Image as Picture
from .clips import halved, photo, sliding, tone, write_clip, write_wav
from .recorder import Recorder

SENTENCE = "Hello there. This is a preview, and you can see the mouth move!"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("preview")


@pytest.fixture(scope="session")
def garbage(folder: Path) -> Path:
    path = folder / "garbage.bin"
    path.write_bytes(np.random.default_rng(1).bytes(20_000))
    return path


@pytest.fixture(scope="session")
def reference(folder: Path) -> Path:
    return write_wav(folder / "reference.wav", tone(1.0))


@pytest.fixture(scope="session")
def speech_engine() -> PiperSpeech:
    return PiperSpeech()


@pytest.fixture(scope="session")
def upscaler() -> RealEsrganUpscaler:
    return RealEsrganUpscaler()


@pytest.fixture(scope="session")
def speech(folder: Path, speech_engine: PiperSpeech, reference: Path) -> Path:
    path = folder / "speech.wav"
    steps = Recorder()
    speech_engine.speak(SENTENCE, reference, "a tone", path, steps)
    assert steps.complete()
    return path


@pytest.fixture(scope="session")
def portrait(folder: Path) -> Path:
    path = folder / "portrait.png"
    Image.fromarray(photo("astronaut")).save(path)
    return path


@pytest.fixture(scope="session")
def talking(folder: Path, portrait: Path, speech: Path) -> Path:
    path = folder / "talking.mp4"
    steps = Recorder()
    LandmarkTalkingHead().animate(portrait, speech, path, steps)
    assert steps.complete()
    return path


@pytest.fixture(scope="session")
def originals() -> list[Picture]:
    """Fifteen frames, 192x128, of which ``clip`` is the half-size copy."""
    return sliding(photo("astronaut")[40:, 120:], 192, 128, 15)


@pytest.fixture(scope="session")
def clip(folder: Path, originals: list[Picture]) -> Path:
    """A photo clip, 96x64, 29.97 frames per second, with AAC sound."""
    return write_clip(folder / "clip.mp4", [halved(image) for image in originals])


@pytest.fixture(scope="session")
def enlarged(folder: Path, clip: Path, upscaler: RealEsrganUpscaler) -> Path:
    path = folder / "enlarged.mp4"
    steps = Recorder()
    upscaler.upscale(clip, path, steps)
    assert steps.complete()
    return path
