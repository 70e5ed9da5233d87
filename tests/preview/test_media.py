"""Opening files that strangers sent."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.preview.media import probe, require_audio

from .clips import NTSC, photo, sliding, write_clip

pytestmark = pytest.mark.preview


def test_a_video_is_described(clip: Path) -> None:
    info = probe(clip)
    assert (info.width, info.height, info.frame_rate, info.frame_count) == (96, 64, NTSC, 15)
    assert (info.video_codec, info.audio_codec, info.sample_rate, info.channels) == ("h264", "aac", 44100, 1)
    assert 0.5 <= info.duration < 0.55


def test_a_sound_is_described(reference: Path) -> None:
    info = probe(reference)
    assert (info.width, info.frame_rate, info.frame_count, info.video_codec) == (None, None, None, None)
    assert (info.duration, info.audio_codec, info.sample_rate, info.channels) == (1.0, "pcm_s16le", 16000, 1)


def test_frames_are_counted_where_the_header_does_not_tell(tmp_path: Path) -> None:
    frames = sliding(photo("coffee"), 32, 32, 7)
    for name in ("c.mkv", "c.ts", "c.h264"):
        write_clip(tmp_path / name, frames, rate=Fraction(25), sound=None)
        info = probe(tmp_path / name)
        assert info.frame_count == 7
        assert info.frame_rate == 25
        assert info.duration == pytest.approx(7 / 25, abs=0.05)


def test_playlists_are_not_followed(tmp_path: Path, reference: Path) -> None:
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{reference}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile {reference.name}\n"
    for name, text in (("a.m3u8", hls), ("b.ffconcat", concat)):
        path = reference.parent / name
        path.write_text(text)
        with pytest.raises(BadMedia, match="voice reference cannot be decoded"):
            require_audio(path, "voice reference")


def test_a_missing_file_is_not_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "none.mp4")
