"""The demo's Real-ESRGAN in a real ComfyUI: a better picture than bicubic, and videos exactly as promised."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from myspinbot_worker.actors.generate import upscale_promise
from myspinbot_worker.comfy.embedded import EmbeddedEngine
from myspinbot_worker.comfy.engine import InputFile
from myspinbot_worker.comfy.upscale import ComfyUpscaler
from myspinbot_worker.demo.upscale_model import NAME, write_checkpoint
from myspinbot_worker.media.gate import verify
from myspinbot_worker.media.probe import probe
from tests.media.films import write_film
from tests.preview.clips import NTSC, photo, sliding, tone
from tests.preview.recorder import Recorder

from .harness import Checkout, Watcher, node

pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def engine(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    folder = tmp_path_factory.mktemp("upscale")
    write_checkpoint(folder / "models" / "upscale_models")
    made = EmbeddedEngine(checkout.settings(models=(folder / "models",)), folder / "scratch", 3.0)
    yield made
    made.close()


def psnr(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(255**2 / np.mean((found.astype(float) - wanted.astype(float)) ** 2)))


def test_a_compressed_photograph_is_better_than_by_bicubic(engine: EmbeddedEngine, tmp_path: Path) -> None:
    """As frames of a video are: the network was made for what compression does, and loses on clean photographs."""
    wanted = photo("coffee")[:400, :400]
    packed = io.BytesIO()
    Image.fromarray(wanted).resize((200, 200), Image.Resampling.BOX).save(packed, "JPEG", quality=50)
    with Image.open(packed) as small:
        bicubic = np.asarray(small.convert("RGB").resize((400, 400), Image.Resampling.BICUBIC))
        small.save(tmp_path / "small.png")
    prompt = {
        "1": node("LoadImage", image=InputFile(tmp_path / "small.png")),
        "2": node("UpscaleModelLoader", model_name=NAME),
        "3": node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": node(
            "ImageScale", image=["3", 0], upscale_method="bicubic", width=400, height=400, crop="disabled"
        ),
        "5": node("SaveImage", images=["4", 0], filename_prefix="large"),
    }
    (file,) = engine.run(prompt, tmp_path, Watcher()).files
    with Image.open(file.path) as made:
        assert psnr(np.asarray(made.convert("RGB")), wanted) > psnr(bicubic, wanted) + 0.2


def test_a_video_at_29_97_with_its_sound(engine: EmbeddedEngine, tmp_path: Path) -> None:
    source, large = tmp_path / "source.mp4", tmp_path / "large.mp4"
    write_film(source, sliding(photo("coffee"), 64, 48, 45), rate=NTSC, sound=tone(1.5))
    upscaler, found = ComfyUpscaler(engine), probe(source)
    assert found.video is not None
    upscaler.upscale(source, large, Recorder())
    size = upscaler.enlarged(found.video.width, found.video.height)
    made = verify(large, upscale_promise(found, size)).probe
    assert made.video is not None
    assert (made.video.width, made.video.height, made.video.frames) == (128, 96, 45)
    assert made.video.rate == Fraction(30000, 1001)
