"""Portraits come in every shape that phones and editors write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.preview.portrait import load_portrait

pytestmark = pytest.mark.preview


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGB", "png"),
        ("L", "png"),
        ("1", "png"),
        ("P", "gif"),
        ("RGBA", "webp"),
        ("LA", "png"),
        ("CMYK", "jpg"),
    ],
)
def test_every_mode_becomes_rgb(mode: str, suffix: str, portrait: Path, tmp_path: Path) -> None:
    Image.open(portrait).convert(mode).save(tmp_path / f"p.{suffix}")
    image = load_portrait(tmp_path / f"p.{suffix}")
    assert image.shape == (512, 512, 3)
    assert image.dtype == np.uint8
    assert 80 < image.mean() < 160


def test_16_bit_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "p.png")
    image = load_portrait(tmp_path / "p.png")
    assert np.abs(image[..., 0].ravel().astype(int) - np.arange(256)).max() <= 1


def test_transparency_shows_grey(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "p.png")
    assert (load_portrait(tmp_path / "p.png") == 127).all()


def test_a_picture_is_turned_as_its_exif_data_says(portrait: Path, tmp_path: Path) -> None:
    upright = Image.open(portrait).crop((0, 0, 512, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    # Orientation 6: the camera was held a quarter turn to the left.
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "p.jpg", exif=exif, quality=95)
    image = load_portrait(tmp_path / "p.jpg")
    assert image.shape == (300, 512, 3)
    assert np.abs(image.astype(int) - np.asarray(upright, int)).mean() < 5


def test_a_picture_that_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path) -> None:
    for side in (8200, 14000):
        Image.new("1", (side, side)).save(tmp_path / "bomb.png")
        with pytest.raises(BadMedia, match="portrait"):
            load_portrait(tmp_path / "bomb.png")


def test_a_cut_off_picture_is_refused(portrait: Path, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(portrait.read_bytes()[:50_000])
    with pytest.raises(BadMedia, match="portrait cannot be decoded"):
        load_portrait(tmp_path / "p.png")


def test_formats_that_run_programs_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "p.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(BadMedia, match="portrait"):
        load_portrait(tmp_path / "p.eps")


def test_a_missing_file_is_not_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_portrait(tmp_path / "none.png")
