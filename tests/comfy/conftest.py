"""Engines to test, and media to feed them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from myspinbot_worker.comfy.embedded import EmbeddedEngine
from myspinbot_worker.comfy.remote import RemoteEngine

from .harness import INTERRUPT_SECONDS, Checkout, Running, Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("COMFYUI_ROOT_DIR"):
        return
    skip = pytest.mark.skip(reason="needs a ComfyUI checkout: set COMFYUI_ROOT_DIR (and COMFYUI_PYTHON)")
    for item in items:
        if item.get_closest_marker("comfyui"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def checkout() -> Checkout:
    return Checkout.from_environment()


@pytest.fixture(scope="module")
def embedded(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests of a module: a real one takes half a minute to boot."""
    folder = tmp_path_factory.mktemp("embedded")
    engine = EmbeddedEngine(checkout.settings(), folder / "scratch", INTERRUPT_SECONDS)
    yield Running("embedded", engine, checkout, folder)
    engine.close()
    assert list((folder / "scratch").iterdir()) == []


@pytest.fixture(scope="module")
def remote(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("remote")
    server = Server(checkout, folder / "server")
    engine = RemoteEngine(server.url)
    yield Running("remote", engine, checkout, folder, server.start_again)
    engine.close()
    server.close()


@pytest.fixture(params=["embedded", "remote"], scope="module")
def comfy(request: pytest.FixtureRequest) -> Running:
    """Either engine: what holds for one holds for the other."""
    found: Running = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """40 by 30, red."""
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Half a second at 440 Hz, 16 kHz mono WAV."""
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000)
        stream.layout = "mono"
        for frame in _tone():
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """12 frames of 64 by 48 at 24 a second, with a tone."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        heard = container.add_stream("aac", rate=16_000)
        heard.layout = "mono"
        for number in range(12):
            pixels = np.full((48, 64, 3), number * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
        for frame in _tone():
            container.mux(heard.encode(frame))
        container.mux(heard.encode(None))
    return path


def _tone() -> Iterator[av.AudioFrame]:
    samples = (np.sin(np.arange(8_000) * 2 * np.pi * 440 / 16_000) * 20_000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = 16_000
    frame.pts = 0
    yield frame
