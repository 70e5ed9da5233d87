"""A film of a sliding window over a photo, a voice-like sound, and files made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.preview.clips import Image, photo, sliding, tone, write_wav


@pytest.fixture(scope="session")
def moving() -> list[Image]:
    """Thirty frames, 96x64."""
    return sliding(photo("astronaut")[40:, 120:], 96, 64, 30)


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    """A second of tone, 16 kHz mono."""
    return write_wav(tmp_path / "voice.wav", tone(1.0))
