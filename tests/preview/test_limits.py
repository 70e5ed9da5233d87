"""Files that claim or hold too much are refused before they take memory, with the limit's name."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media.source import require_audio
from myspinbot_worker.media_limits import MediaLimits, limited_to
from myspinbot_worker.preview.articulation import articulate
from myspinbot_worker.preview.portrait import load_portrait
from myspinbot_worker.preview.upscale import RealEsrganUpscaler

from .clips import photo, sliding, tone, write_clip, write_wav
from .recorder import Recorder

pytestmark = pytest.mark.preview


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that is ``side`` pixels wide and high."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(side // 8 + 1)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def film_of(picture: bytes, path: Path, claimed: int) -> Path:
    """A QuickTime file whose one frame is a PNG, and whose header claims ``claimed`` pixels a side."""
    with av.open(str(path), "w", format="mov") as output:
        stream = output.add_stream("png", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "gray"
        packet = av.Packet(picture)
        packet.stream, packet.pts, packet.dts, packet.duration = stream, 0, 0, 1
        packet.time_base = Fraction(1, 25)
        packet.is_keyframe = True
        output.mux(packet)
    data = bytearray(path.read_bytes())
    # The sample entry: 4 bytes of name, 24 of preamble, then width and height.
    struct.pack_into(">HH", data, data.index(b"png ", data.index(b"stsd")) + 28, claimed, claimed)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("side", [9_000, 20_000])
def test_a_png_that_unpacks_to_too_much(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side))
    assert path.stat().st_size < 100_000
    with pytest.raises(BadMedia, match=r"more .* of farm\.max_image_pixels"):
        load_portrait(path)


def test_a_wav_header_that_claims_hours(tmp_path: Path) -> None:
    """Claimed alone, hours are not believed; where they are there, nobody listens to them."""
    path = write_wav(tmp_path / "long.wav", tone(1.0))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 40, 260_000_000)  # two hours and a quarter of 16 kHz mono
    path.write_bytes(data)
    assert articulate(path, Fraction(25)).duration == 1.0
    with path.open("r+b") as file:
        file.truncate(260_000_044)  # silence that takes no room on disk
    for check in (require_audio, probe):
        with pytest.raises(BadMedia, match=r"longer than the 3600 seconds of farm\.max_media_seconds"):
            check(path, "voice reference")


def test_a_flac_header_that_claims_hours(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    data[22:26] = struct.pack(">I", 16000 * 7200)  # the lower 32 bits of the number of samples
    path.write_bytes(data)
    with pytest.raises(BadMedia, match=r"farm\.max_media_seconds"):
        require_audio(path, "voice reference")


def test_a_sound_whose_header_does_not_tell_its_length(tmp_path: Path) -> None:
    """Raw AAC, as it comes from a stream: only decoding tells how long it is."""
    path = tmp_path / "speech.aac"
    with av.open(str(path), "w", format="adts") as output:
        stream = output.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.round(tone(3.0) * 32767).astype(np.int16)[np.newaxis, :], format="s16", layout="mono"
        )
        frame.sample_rate = 16000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with (
        limited_to(MediaLimits(media_seconds=2.0)),
        pytest.raises(BadMedia, match=r"farm\.max_media_seconds"),
    ):
        articulate(path, Fraction(25))
    assert articulate(path, Fraction(25)).duration == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("claimed", [65_000, 16])
def test_a_video_of_huge_pictures(tmp_path: Path, claimed: int) -> None:
    """The header may claim them or hide them: decoders hold to the limit too."""
    path = film_of(bomb(20_000), tmp_path / "huge.mov", claimed)
    with pytest.raises(BadMedia, match=r"source video .*(farm\.max_image_pixels|cannot be decoded)"):
        RealEsrganUpscaler().upscale(path, tmp_path / "out.mp4", Recorder())


def test_an_h264_video_of_too_many_pixels(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "large.mp4", sliding(photo("coffee"), 400, 300, 3), sound=None)
    with (
        limited_to(MediaLimits(image_pixels=300 * 300)),
        pytest.raises(
            BadMedia, match=r"video is 400x300 pixels, more than the 90000 of farm\.max_image_pixels"
        ),
    ):
        probe(path, "video")


def test_a_video_whose_header_does_not_tell_its_length(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "stream.h264", sliding(photo("coffee"), 32, 32, 30), sound=None, rate=Fraction(25)
    )
    with (
        limited_to(MediaLimits(media_seconds=0.5)),
        pytest.raises(BadMedia, match=r"farm\.max_media_seconds"),
    ):
        RealEsrganUpscaler(threads=1).upscale(path, tmp_path / "out.mp4", Recorder())


@pytest.mark.parametrize("name", ["bomb.png", "claimed.mov", "hidden.mov"])
def test_refusing_takes_little_memory(tmp_path: Path, name: str) -> None:
    """In a process that may not take more than 200 MB beyond what importing the libraries takes."""
    path = tmp_path / name
    if name == "bomb.png":
        path.write_bytes(bomb(16_000))
    else:
        film_of(bomb(20_000), path, 65_000 if name == "claimed.mov" else 16)
    code = """
import pathlib, resource, sys
import av, numpy
from PIL import Image
from myspinbot_worker.errors import BadMedia
from myspinbot_worker.media.source import open_media
from myspinbot_worker.preview.portrait import load_portrait
path = pathlib.Path(sys.argv[1])
used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, used + 200_000_000))
try:
    if path.suffix == ".png":
        load_portrait(path)
    else:
        with open_media(path, "video") as container:
            list(container.decode(video=0))
except BadMedia as error:
    print("refused:", error.message)
"""
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert ran.stdout.startswith("refused:"), ran.stderr


def test_limits_hold_only_for_their_block() -> None:
    with limited_to(MediaLimits(image_pixels=1)), pytest.raises(BadMedia):
        MediaLimits(image_pixels=1).check_size("picture", 2, 1)
    MediaLimits().check_size("picture", 8000, 8000)
    with pytest.raises(BadMedia, match="picture is 8000x8001 pixels"):
        MediaLimits().check_size("picture", 8000, 8001)
    with pytest.raises(BadMedia, match="longer than the 3600 seconds"):
        MediaLimits().check_length("sound", 3600.1)
