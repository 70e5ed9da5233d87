"""Training a LoRA: the pictures that go in, the file that comes out."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from myspinbot_worker.comfy.lora import ComfyLoraTrainer, require_safetensors
from myspinbot_worker.comfy.parameters import LoraSettings
from myspinbot_worker.errors import BadInput, BadOutput
from myspinbot_worker.picture_set import captioned, gathered, unpack
from tests.preview.recorder import Recorder

from . import mini_catalogs as catalogs
from .fake_comfy import FakeComfy
from .kept_here import KeptHere


def archive(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in entries.items():
            target.writestr(name, data)
    return path


class TestPictures:
    def test_an_archive_with_captions_beside_its_pictures(self, tmp_path: Path) -> None:
        packed = archive(
            tmp_path / "set.zip",
            {
                "set/b.PNG": b"2", "set/a.jpg": b"1", "set/a.txt": b" a cat \n", "set/readme.md": b"no",
                "__MACOSX/set/._a.jpg": b"x", "../../evil.png": b"3",
            },
        )  # fmt: skip
        folder = tmp_path / "out"
        folder.mkdir()
        found = gathered([packed], folder)
        assert [(path.read_bytes(), caption) for path, caption in found] == [
            (b"3", ""),
            (b"1", "a cat"),
            (b"2", ""),
        ]
        assert all(path.is_relative_to(folder) for path, _ in found)
        assert not (tmp_path.parent / "evil.png").exists()

    def test_captions_and_a_word_before_them(self) -> None:
        pictures = [(Path("a.png"), "from the archive"), (Path("b.png"), "")]
        assert [text for _, text in captioned(pictures, [], "sks")] == ["sks, from the archive", "sks"]
        assert [text for _, text in captioned(pictures, ["one", "two"], "")] == ["one", "two"]
        with pytest.raises(BadInput, match=r"params\.captions has 1 entries for 2 pictures"):
            captioned(pictures, ["one"], "")

    @pytest.mark.parametrize("entries", [{}, {"readme.txt": b"nothing"}])
    def test_an_archive_without_pictures_is_refused(self, tmp_path: Path, entries: dict[str, bytes]) -> None:
        with pytest.raises(BadInput, match="holds none"):
            unpack(archive(tmp_path / "set.zip", entries), tmp_path)

    def test_a_broken_archive_is_refused(self, tmp_path: Path) -> None:
        whole = archive(tmp_path / "set.zip", {"a.png": bytes(100_000)}).read_bytes()
        (tmp_path / "set.zip").write_bytes(whole.replace(whole[60:70], b"0123456789", 1))
        with pytest.raises(BadInput):
            unpack(tmp_path / "set.zip", tmp_path)

    def test_a_picture_that_unpacks_without_end_is_refused(self, tmp_path: Path) -> None:
        packed = archive(tmp_path / "bomb.zip", {"a.png": bytes((64 << 20) + 1)})
        assert packed.stat().st_size < 100_000
        with pytest.raises(BadInput, match="more than"):
            unpack(packed, tmp_path)

    def test_what_is_no_picture_is_named(self, tmp_path: Path) -> None:
        other = tmp_path / "a.gif"
        other.write_bytes(b"GIF89a")
        with pytest.raises(BadInput, match=r"params\.images\[0\]"):
            gathered([other], tmp_path)
        with pytest.raises(BadInput, match=r"params\.images is empty"):
            gathered([], tmp_path)


@pytest.fixture
def pictures(tmp_path: Path) -> list[tuple[Path, str]]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.new("RGB", (20 + number, 30), (number, 0, 0)).save(path)
    return [(path, f"caption {path.stem}") for path in paths]


@pytest.mark.parametrize("catalog", [catalogs.core(), catalogs.core_2025()], ids=["core", "core_2025"])
def test_a_lora_comes_out(
    tmp_path: Path, pictures: list[tuple[Path, str]], catalog: dict[str, catalogs.Info]
) -> None:
    comfy, steps, result = FakeComfy(catalog), Recorder(), tmp_path / "lora.safetensors"
    ComfyLoraTrainer(comfy).train(pictures, result, steps, settings=LoraSettings(rank=4))
    require_safetensors(result)
    assert comfy.prompts[0]["train"]["inputs"]["rank"] == 4
    assert steps.complete()


def test_a_kept_lora_is_not_trained_again(tmp_path: Path, pictures: list[tuple[Path, str]]) -> None:
    kept = KeptHere(tmp_path / "kept")
    kept.folder_of_attempt = tmp_path
    for settings, runs in ((LoraSettings(), 1), (LoraSettings(), 0), (LoraSettings(rank=4), 1)):
        comfy = FakeComfy(catalogs.core())
        ComfyLoraTrainer(comfy).train(
            pictures, tmp_path / "l.safetensors", Recorder(), settings=settings, kept=kept
        )
        assert len(comfy.prompts) == runs


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100, (2).to_bytes(8, "little") + b"{}"])
def test_what_is_no_lora_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadOutput):
        require_safetensors(path)
