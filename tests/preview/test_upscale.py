"""Videos come out twice as large and otherwise as they were."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from myspinbot_worker.errors import BadMedia, Cancelled
from myspinbot_worker.media.probe import probe
from myspinbot_worker.preview.super_resolution import SuperResolution
from myspinbot_worker.preview.tiles import cut
from myspinbot_worker.preview.upscale import RealEsrganUpscaler

from .clips import NTSC, Image, decoded, photo, sliding, sound_packets, times, write_clip
from .recorder import Recorder

pytestmark = pytest.mark.preview


def test_the_size_doubles_and_every_frame_keeps_its_time(clip: Path, enlarged: Path) -> None:
    small, large = probe(clip), probe(enlarged)
    assert small.video is not None
    assert large.video is not None
    assert (small.video.width, small.video.height) == (96, 64)
    assert (large.video.width, large.video.height, large.video.codec) == (192, 128, "h264")
    assert large.video.rate == small.video.rate == NTSC
    assert large.video.frames == small.video.frames == 15
    assert times(enlarged) == times(clip) == [number / NTSC for number in range(15)]
    assert abs(large.duration - small.duration) < 0.001


def test_the_sound_is_carried_byte_for_byte(clip: Path, enlarged: Path) -> None:
    assert len(sound_packets(clip)) > 10
    assert sound_packets(enlarged) == sound_packets(clip)


def test_it_is_better_than_larger_pixels(clip: Path, enlarged: Path, originals: list[Image]) -> None:
    def likeness(images: list[Image]) -> float:
        """PSNR of the brightness against the originals, dB."""
        error: NDArray[np.float64] = np.stack(images).mean(axis=3) - np.stack(originals).mean(axis=3)
        return float(10 * np.log10(255**2 / np.mean(np.square(error))))

    nearest = [image.repeat(2, axis=0).repeat(2, axis=1) for image in decoded(clip)]
    assert likeness(decoded(enlarged)) > likeness(nearest) + 0.5
    # And no shift in colour.
    for large, original in zip(decoded(enlarged), originals, strict=True):
        assert np.abs(large.mean(axis=(0, 1)) - original.mean(axis=(0, 1))).max() < 3


def test_a_video_without_sound_stays_without(upscaler: RealEsrganUpscaler, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "s.mp4", sliding(photo("coffee"), 32, 32, 3), sound=None)
    upscaler.upscale(source, tmp_path / "l.mp4", Recorder())
    assert probe(tmp_path / "l.mp4").audio is None
    assert len(decoded(tmp_path / "l.mp4")) == 3


def test_odd_sizes_and_sound_that_mp4_does_not_know(upscaler: RealEsrganUpscaler, tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "s.mkv",
        sliding(photo("coffee"), 45, 33, 5),
        rate=Fraction(25),
        codec="ffv1",
        sound="pcm_s16le",
    )
    upscaler.upscale(source, tmp_path / "l.mp4", Recorder())
    large = probe(tmp_path / "l.mp4")
    assert large.video is not None
    assert large.audio is not None
    assert (large.video.width, large.video.height, large.video.frames) == (90, 66, 5)
    assert large.video.rate == 25
    assert (large.audio.codec, large.audio.rate, large.audio.channels) == ("aac", 44100, 1)
    assert abs(large.duration - 0.5) < 0.05
    assert times(tmp_path / "l.mp4") == times(source)


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [("s.ts", "libx264", "aac"), ("s.avi", "mpeg4", "libmp3lame"), ("s.webm", "libvpx", "libopus")],
)
def test_other_containers(
    name: str, codec: str, sound: str, upscaler: RealEsrganUpscaler, tmp_path: Path
) -> None:
    rate = 48000 if sound == "libopus" else 44100
    source = write_clip(
        tmp_path / name,
        sliding(photo("coffee"), 32, 32, 6),
        rate=Fraction(24),
        codec=codec,
        sound=sound,
        sound_rate=rate,
    )
    upscaler.upscale(source, tmp_path / "l.mp4", Recorder())
    small, large = probe(source), probe(tmp_path / "l.mp4")
    assert large.video is not None
    assert large.audio is not None
    assert small.audio is not None
    assert (large.video.frames, large.video.width) == (6, 64)
    assert large.audio.codec == small.audio.codec
    assert abs(large.duration - small.duration) < 0.1
    assert sum(frame.samples for frame in av.open(str(tmp_path / "l.mp4")).decode(audio=0)) > 0.4 * rate


def test_a_rotation_is_carried(upscaler: RealEsrganUpscaler, tmp_path: Path) -> None:
    frames = sliding(photo("coffee"), 48, 32, 2)
    source = write_clip(tmp_path / "s.mp4", frames, sound=None, rotation=90)
    upscaler.upscale(source, tmp_path / "l.mp4", Recorder())
    with av.open(str(tmp_path / "l.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (96, 64, 90)


def test_files_without_video_are_refused(
    upscaler: RealEsrganUpscaler, garbage: Path, reference: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadMedia, match="source video cannot be decoded"):
        upscaler.upscale(garbage, tmp_path / "l.mp4", Recorder())
    with pytest.raises(BadMedia, match="source video holds no video"):
        upscaler.upscale(reference, tmp_path / "l.mp4", Recorder())
    assert not (tmp_path / "l.mp4").exists()


def test_a_cancelled_upscale_stops_at_the_next_frame(
    upscaler: RealEsrganUpscaler, talking: Path, tmp_path: Path
) -> None:
    steps = Recorder(cancelled_at=2)
    with pytest.raises(Cancelled):
        upscaler.upscale(talking, tmp_path / "l.mp4", steps)
    assert steps.checks == 2
    assert not (tmp_path / "l.mp4").exists()


def test_tiles_cover_a_frame_once() -> None:
    covered = np.zeros((50, 101), int)
    for tile in cut(101, 50, side=32, margin=4):
        left, top, right, bottom = tile.core
        assert max(right - left, bottom - top) <= 32
        assert tile.seen == (max(0, left - 4), max(0, top - 4), min(101, right + 4), min(50, bottom + 4))
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


def test_tiles_leave_no_seams() -> None:
    image = np.ascontiguousarray(photo("coffee")[100:196, 100:228])
    whole = SuperResolution(tile=128).enlarge(image)
    tiled = SuperResolution(tile=50).enlarge(image)
    # The last bit of a float differs, so the last bit of a pixel may.
    assert np.abs(whole.astype(int) - tiled).max() <= 1


# Upscales each file in turn and prints by how many kilobytes the process grew after the first.
_MEASURE = """
import resource, sys
from pathlib import Path
from myspinbot_worker.preview.super_resolution import SuperResolution
from myspinbot_worker.preview.upscale import RealEsrganUpscaler
class Steps:
    def progress(self, fraction): ...
    def check(self): ...
if sys.argv[1] == "pipeline":
    SuperResolution.enlarge = lambda self, image: image.repeat(2, axis=0).repeat(2, axis=1)
engine = RealEsrganUpscaler(threads=2)
peaks = []
for source in sys.argv[2:]:
    engine.upscale(Path(source), Path(source).with_suffix(".out.mp4"), Steps())
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[-1] - peaks[0])
"""


@pytest.mark.parametrize(
    ("part", "width", "height", "frames", "most"),
    [
        # A layer of the network is 3 MB, and the long clip has 36 frames more.
        ("network", 128, 96, 12, 12_000),
        # A frame is 0.2 MB and its enlargement 0.9, and there are 90 more.
        ("pipeline", 320, 240, 30, 25_000),
    ],
)
def test_memory_does_not_grow_with_length(
    part: str, width: int, height: int, frames: int, most: int, tmp_path: Path
) -> None:
    pictures = sliding(photo("coffee"), width, height, frames)
    short = write_clip(tmp_path / "short.mp4", pictures, sound=None)
    long = write_clip(tmp_path / "long.mp4", pictures * 4, sound=None)
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, part, str(short), str(long)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < most, f"grew by {run.stdout} kB"
