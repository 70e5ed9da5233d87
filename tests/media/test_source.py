"""Opening files that strangers sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media.source import require_audio

pytestmark = pytest.mark.preview


def test_playlists_are_not_followed(voice: Path) -> None:
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{voice}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile {voice.name}\n"
    for name, text in (("a.m3u8", hls), ("b.ffconcat", concat)):
        path = voice.parent / name
        path.write_text(text)
        with pytest.raises(BadMedia, match="voice reference cannot be decoded"):
            require_audio(path, "voice reference")


def test_a_missing_file_is_not_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "none.mp4")
