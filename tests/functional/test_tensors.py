"""Pictures and sounds become tensors of the promised shape, or the error says why not."""

from __future__ import annotations

import importlib
import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from myspinbot_worker import tensors
from myspinbot_worker.embedded import EmbeddedS3
from myspinbot_worker.errors import ArtifactMissing, BadMedia, EngineUnavailable
from myspinbot_worker.media_limits import MediaLimits, limited_to
from myspinbot_worker.storage import Storage, StorageConfig

torch = pytest.importorskip("torch", reason="torch is not installed (extra: gpu)")
np = pytest.importorskip("numpy", reason="numpy is not installed (extra: preview)")
av = pytest.importorskip("av", reason="PyAV is not installed (extra: preview)")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra: preview)")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3") / "data", buckets=("input",)) as server:
        config = StorageConfig(server.endpoint, server.access_key, server.secret_key, False, ("input",))
        made = Storage(config)
        yield made
        made.close()


def picture(storage: Storage, image: Any, format: str = "PNG", **options: Any) -> Any:
    data = io.BytesIO()
    image.save(data, format, **options)
    storage.upload_bytes(data.getvalue(), "input", "picture")
    return storage.fetch_torch_image("input", "picture")


def wav(samples: Any, rate: int = 16000) -> bytes:
    """Return PCM 16 bit of ``samples`` of shape ``[n, channels]``."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return data.getvalue()


def test_a_picture_is_rgb_from_0_to_1(storage: Storage) -> None:
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[0, 2] = (255, 0, 51)
    tensor = picture(storage, Image.fromarray(pixels))
    assert tensor.shape == (1, 2, 3, 3)
    assert tensor.dtype == torch.float32
    assert torch.allclose(tensor[0, 0, 2], torch.tensor([1.0, 0.0, 0.2]))
    assert tensor[0, 1].max() == 0


def test_a_picture_is_turned_as_its_exif_says(storage: Storage) -> None:
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # The top of the scene is at the right: turn by 90 degrees clockwise.
    tensor = picture(storage, image, "JPEG", exif=exif, quality=95)
    assert tensor.shape == (1, 32, 16, 3)
    assert tensor[0, :12].mean() > 0.95
    assert tensor[0, 20:].mean() < 0.05


def test_transparency_is_laid_over_white(storage: Storage) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    tensor = picture(storage, image)
    assert tensor[0, 0].tolist() == [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_pictures_of_all_kinds(storage: Storage, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 5), 32768, dtype=np.uint16))
        expected = 0.5
    else:
        image = Image.new("RGB", (5, 4), "white").convert(mode)
        expected = 1.0
    tensor = picture(storage, image, "TIFF" if mode == "CMYK" else "PNG")
    assert tensor.shape == (1, 4, 5, 3)
    assert abs(float(tensor.mean()) - expected) < 0.01


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"\x89PNG\r\n\x1a\n" + bytes(50),
    ],
)
def test_what_is_no_picture(storage: Storage, data: bytes) -> None:
    storage.upload_bytes(data, "input", "broken.png")
    with pytest.raises(BadMedia, match=r"input/broken\.png"):
        storage.fetch_torch_image("input", "broken.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_cut_off_picture(storage: Storage, format: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, format)
    storage.upload_bytes(data.getvalue()[: len(data.getvalue()) // 2], "input", "cut")
    with pytest.raises(BadMedia, match="input/cut"):
        storage.fetch_torch_image("input", "cut")


def test_a_picture_that_claims_an_enormous_canvas(storage: Storage) -> None:
    with pytest.raises(BadMedia, match=r"9000x9000 pixels, more than the 64000000 of farm\.max_image_pixels"):
        picture(storage, Image.new("1", (9000, 9000)))


def test_a_sound_is_channels_by_samples(storage: Storage) -> None:
    samples = np.stack([np.arange(5000), -np.arange(5000)], axis=1)
    storage.upload_bytes(wav(samples, 22050), "input", "voice.wav")
    tensor, rate = storage.fetch_torch_audio("input", "voice.wav")
    assert rate == 22050
    assert tensor.shape == (2, 5000)
    assert tensor.dtype == torch.float32
    assert torch.allclose(tensor, torch.from_numpy(samples.T.astype(np.float32)) / 32768, atol=1e-6)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("flac", "flac"), ("mkv", "pcm_s16le")])
def test_sounds_of_other_kinds(storage: Storage, tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / f"sound.{container}"
    tone = (np.sin(np.arange(16000) * 0.1) * 16000).astype(np.int16)[None, :]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    storage.upload(path, "input", path.name)
    tensor, rate = storage.fetch_torch_audio("input", path.name)
    assert rate == 16000
    assert tensor.shape[0] == 1
    assert abs(tensor.shape[1] - 16000) <= 2048
    assert 0.3 < float(tensor.abs().max()) < 0.8


@pytest.mark.parametrize("data", [b"", b"no sound", b"RIFF\x00\x00\x00\x00WAVE", bytes(1000)])
def test_what_is_no_sound(storage: Storage, data: bytes) -> None:
    storage.upload_bytes(data, "input", "broken.wav")
    with pytest.raises(BadMedia, match=r"input/broken\.wav"):
        storage.fetch_torch_audio("input", "broken.wav")


def test_a_sound_without_samples_and_a_picture_as_sound(storage: Storage) -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    for content in (wav(np.zeros((0, 1))), data.getvalue()):
        storage.upload_bytes(content, "input", "empty")
        with pytest.raises(BadMedia, match="input/empty"):
            storage.fetch_torch_audio("input", "empty")


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{path}'\n",
    ],
)
def test_a_playlist_cannot_name_other_files(storage: Storage, tmp_path: Path, playlist: str) -> None:
    (tmp_path / "private.wav").write_bytes(wav(np.ones((16000, 1))))
    storage.upload_bytes(playlist.format(path=tmp_path / "private.wav").encode(), "input", "list")
    with pytest.raises(BadMedia, match="input/list"):
        storage.fetch_torch_audio("input", "list")


@pytest.mark.parametrize("claimed", [True, False])
def test_a_sound_that_never_ends(storage: Storage, claimed: bool) -> None:
    sound = wav(np.zeros((16000, 1)))
    # A stream written to a pipe: its header does not tell the length.
    storage.upload_bytes(sound if claimed else sound.replace(sound[40:44], b"\xff" * 4), "input", "long.wav")
    with (
        limited_to(MediaLimits(media_seconds=0.5)),
        pytest.raises(BadMedia, match=r"than the 0\.5 seconds of farm"),
    ):
        storage.fetch_torch_audio("input", "long.wav")


def test_a_sound_that_takes_too_much_memory(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "MAX_SOUND_BYTES", 40_000)
    storage.upload_bytes(wav(np.zeros((16000, 1))), "input", "wide.wav")
    with pytest.raises(BadMedia, match="when decoded"):
        storage.fetch_torch_audio("input", "wide.wav")


def test_missing_objects(storage: Storage) -> None:
    with pytest.raises(ArtifactMissing):
        storage.fetch_torch_image("input", "nothing")
    with pytest.raises(ArtifactMissing):
        storage.fetch_torch_audio("input", "nothing")


@pytest.mark.parametrize(
    ("module", "extra"), [("torch", "gpu"), ("av", "preview"), ("numpy", "preview"), ("PIL", "preview")]
)
def test_a_missing_extra_is_named(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name == module:
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    fetch = storage.fetch_torch_image if module == "PIL" else storage.fetch_torch_audio
    with pytest.raises(EngineUnavailable, match=rf"{module} cannot .*myspinbot-worker\[{extra}\]"):
        fetch("input", "anything")
