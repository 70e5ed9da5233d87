"""Chunks hold every frame of the source once, unchanged, at an exact rate."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.media.cut import Chunk, chunk_rate, cut
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media_limits import MediaLimits, limited_to
from tests.preview.clips import NTSC, Image, decoded, tone, write_clip

from .films import write_film

pytestmark = pytest.mark.preview


def planes(path: Path) -> list[bytes]:
    """The frames as they are stored, without any conversion."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(24000, 1001), Fraction(12)])
def test_every_frame_is_there_once_and_unchanged(rate: Fraction, moving: list[Image], tmp_path: Path) -> None:
    source = write_film(tmp_path / "s.mp4", moving, rate=rate, sound=tone(1.0))
    chunks = list(cut(source, tmp_path, 8, rate))
    assert [(chunk.number, chunk.first, chunk.frames) for chunk in chunks] == [
        (0, 0, 8),
        (1, 8, 8),
        (2, 16, 8),
        (3, 24, 6),
    ]
    assert [frame for chunk in chunks for frame in planes(chunk.path)] == planes(source)
    for chunk in chunks:
        found = probe(chunk.path)
        assert found.video is not None
        assert (found.video.rate, found.video.constant, found.video.frames) == (rate, True, chunk.frames)
        assert found.audio is None
        with av.open(str(chunk.path)) as container:
            assert container.streams.video[0].average_rate == rate


def test_it_goes_on_at_any_chunk_and_makes_the_same(moving: list[Image], tmp_path: Path) -> None:
    source = write_film(tmp_path / "s.mp4", moving)
    first, again = tmp_path / "first", tmp_path / "again"
    first.mkdir()
    again.mkdir()
    whole = list(cut(source, first, 7, Fraction(25)))
    rest = list(cut(source, again, 7, Fraction(25), start=2))
    assert rest == [
        Chunk(chunk.number, again / chunk.path.name, chunk.first, chunk.frames) for chunk in whole[2:]
    ]
    for chunk in rest:
        assert chunk.path.read_bytes() == (first / chunk.path.name).read_bytes()
    assert list(cut(source, again, 7, Fraction(25), start=5)) == []


def test_a_chunk_is_made_when_it_is_asked_for_and_only_whole(moving: list[Image], tmp_path: Path) -> None:
    source = write_film(tmp_path / "s.mp4", moving)
    folder = tmp_path / "chunks"
    folder.mkdir()
    chunks = cut(source, folder, 10, Fraction(25))
    assert list(folder.iterdir()) == []
    assert next(chunks).path.name == "chunk-00000.mp4"
    assert [path.name for path in folder.iterdir()] == ["chunk-00000.mp4"]
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadMedia, match="source video cannot be decoded"):
        list(cut(source, folder, 10, Fraction(25)))
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "kept"),
    [
        ("yuv420p", "ffv1", "yuv420p"),
        ("yuv422p", "ffv1", "yuv422p"),
        ("yuv444p", "ffv1", "yuv444p"),
        ("gray", "ffv1", "yuvj420p"),
        ("yuv420p10le", "ffv1", "yuv420p10le"),
        ("bgr0", "ffv1", "yuv444p"),
        ("yuv420p", "libx264", "yuv420p"),
    ],
)
def test_pixel_formats(pix_fmt: str, codec: str, kept: str, moving: list[Image], tmp_path: Path) -> None:
    source = write_clip(tmp_path / "s.mkv", moving[:3], codec=codec, pix_fmt=pix_fmt, sound=None)
    (chunk,) = cut(source, tmp_path, 9, NTSC)
    with av.open(str(chunk.path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == kept
    with av.open(str(chunk.path)) as container:
        # Small pictures without a label are taken for BT.601; an engine that enlarges them must not guess again.
        assert next(container.decode(video=0)).colorspace == (2 if kept == "yuvj420p" else 6)
    if kept == pix_fmt:
        assert planes(chunk.path) == planes(source)
    for wanted, found in zip(decoded(source), decoded(chunk.path), strict=True):
        assert np.abs(wanted.astype(int) - found).mean() < 1.5


def test_odd_sizes(moving: list[Image], tmp_path: Path) -> None:
    odd = [np.ascontiguousarray(image[:61, :93]) for image in moving[:4]]
    source = write_clip(tmp_path / "s.mkv", odd, codec="ffv1", sound=None)
    (chunk,) = cut(source, tmp_path, 9, NTSC)
    found = decoded(chunk.path)
    assert found[0].shape == (61, 93, 3)
    for wanted, got in zip(decoded(source), found, strict=True):
        assert np.abs(wanted.astype(int) - got).mean() < 3


def test_full_range_stays_full(moving: list[Image], tmp_path: Path) -> None:
    source = write_clip(tmp_path / "s.avi", moving[:3], codec="mjpeg", pix_fmt="yuvj420p", sound=None)
    (chunk,) = cut(source, tmp_path, 9, NTSC)
    for wanted, found in zip(decoded(source), decoded(chunk.path), strict=True):
        assert np.abs(wanted.astype(int) - found).max() <= 2


def test_a_rotation_is_not_applied(moving: list[Image], tmp_path: Path) -> None:
    source = write_clip(tmp_path / "s.mp4", moving[:3], sound=None, rotation=90)
    (chunk,) = cut(source, tmp_path, 9, NTSC)
    with av.open(str(chunk.path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (96, 64, 0)


def test_a_rate_that_varies_becomes_the_mean_in_the_chunks(moving: list[Image], tmp_path: Path) -> None:
    times = [0, 0.04, 0.1, 0.3, 0.35, 0.5]
    source = write_film(tmp_path / "s.mp4", moving[:6], times=times)
    facts = probe(source).video
    assert facts is not None
    (chunk,) = cut(source, tmp_path, 9, facts.rate)
    found = probe(chunk.path).video
    assert found is not None
    assert (found.constant, found.frames, found.rate) == (True, 6, Fraction(10))


def test_unwieldy_rates() -> None:
    assert chunk_rate(NTSC) == NTSC
    assert chunk_rate(Fraction(1_000_000_000, 33_366_667)) == NTSC


def test_what_cannot_be_cut(voice: Path, moving: list[Image], tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match="source video holds no video"):
        list(cut(voice, tmp_path, 8, Fraction(25)))
    source = write_clip(tmp_path / "s.h264", moving, rate=Fraction(25), sound=None)
    with limited_to(MediaLimits(media_seconds=0.5)), pytest.raises(BadMedia, match=r"max_media_seconds"):
        list(cut(source, tmp_path, 40, Fraction(25)))
    for length, start in ((0, 0), (1, -1)):
        with pytest.raises(ValueError, match="length must be at least 1"):
            list(cut(source, tmp_path, length, Fraction(25), start=start))
