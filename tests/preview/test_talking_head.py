"""A portrait speaks: the right length, the right format, and a mouth that follows the sound."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from mediapipe.python.solutions.face_mesh import FaceMesh
from PIL import Image

from myspinbot_worker.errors import BadMedia, Cancelled, NoFaceFound
from myspinbot_worker.media.probe import probe
from myspinbot_worker.preview.articulation import articulate
from myspinbot_worker.preview.talking_head import LandmarkTalkingHead

from .clips import decoded, photo, read_wav, times, tone, write_wav
from .recorder import Recorder

pytestmark = pytest.mark.preview


def test_the_video_is_as_long_as_the_speech(talking: Path, speech: Path) -> None:
    found = probe(talking)
    video, sound = found.video, found.audio
    assert video is not None
    assert sound is not None
    assert (video.width, video.height, video.codec) == (256, 256, "h264")
    assert (sound.codec, sound.rate, sound.channels) == ("aac", 16000, 1)
    assert (video.rate, video.constant) == (Fraction(25), True)
    spoken = len(read_wav(speech)) / 16000
    assert abs(video.frames / 25 - spoken) <= 1 / 25
    assert abs(video.duration - spoken) <= 1 / 25


def test_its_sound_is_the_speech(talking: Path, speech: Path) -> None:
    def levels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return articulate(path, Fraction(25)).opening

    spoken, carried = levels(speech), levels(talking)
    length = min(len(spoken), len(carried))
    assert np.corrcoef(spoken[:length], carried[:length])[0, 1] > 0.95


def test_the_mouth_follows_the_sound(talking: Path, speech: Path) -> None:
    openings = []
    with FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
        for image in decoded(talking)[::2]:
            points = mesh.process(image).multi_face_landmarks[0].landmark
            # Inner lips, in heights of the face.
            openings.append((points[14].y - points[13].y) / (points[152].y - points[10].y))
    sound = read_wav(speech)
    loudness = [float(np.sqrt(np.mean(np.square(part)))) for part in np.array_split(sound, 2 * len(openings))]
    assert np.corrcoef(openings, loudness[::2])[0, 1] > 0.5
    assert max(openings) - min(openings) > 0.04


def test_the_picture_lives_between_words(portrait: Path, tmp_path: Path) -> None:
    # A short sound, then silence in which the mouth rests and the eyes blink once.
    quiet = np.concatenate([tone(0.2), np.zeros(16000 * 2)])
    engine = LandmarkTalkingHead(frame_rate=10, size=128)
    for name in ("once.mp4", "again.mp4"):
        engine.animate(portrait, write_wav(tmp_path / "quiet.wav", quiet), tmp_path / name, Recorder())
    once, again = decoded(tmp_path / "once.mp4"), decoded(tmp_path / "again.mp4")
    assert len(once) == 22
    assert all(np.any(a != b) for a, b in pairwise(once[5:]))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_fractional_frame_rates_are_exact(portrait: Path, tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    engine = LandmarkTalkingHead(frame_rate=rate, size=64)
    engine.animate(portrait, write_wav(tmp_path / "s.wav", tone(0.5)), tmp_path / "v.mp4", Recorder())
    assert times(tmp_path / "v.mp4") == [number / rate for number in range(15)]


@pytest.mark.parametrize("content", ["coffee", "noise"])
def test_a_picture_without_a_face_is_refused(content: str, speech: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (300, 300, 3), np.uint8)
    Image.fromarray(noise if content == "noise" else photo("coffee")).save(tmp_path / "p.png")
    with pytest.raises(NoFaceFound):
        LandmarkTalkingHead().animate(tmp_path / "p.png", speech, tmp_path / "v.mp4", Recorder())
    assert not (tmp_path / "v.mp4").exists()


def test_a_small_face_at_the_border_is_found(portrait: Path, tmp_path: Path) -> None:
    wide = Image.new("RGB", (1600, 900), (90, 120, 90))
    # The head from the hair down, touching the picture's top.
    wide.paste(Image.open(portrait).crop((120, 0, 330, 300)), (1300, 0))
    wide.save(tmp_path / "wide.png")
    write_wav(tmp_path / "s.wav", tone(0.2))
    LandmarkTalkingHead().animate(tmp_path / "wide.png", tmp_path / "s.wav", tmp_path / "v.mp4", Recorder())
    assert len(decoded(tmp_path / "v.mp4")) == 5


def test_bad_files_are_named(portrait: Path, speech: Path, garbage: Path, tmp_path: Path) -> None:
    engine = LandmarkTalkingHead()
    out = tmp_path / "v.mp4"
    with pytest.raises(BadMedia, match="portrait"):
        engine.animate(garbage, speech, out, Recorder())
    with pytest.raises(BadMedia, match="speech"):
        engine.animate(portrait, garbage, out, Recorder())
    with pytest.raises(BadMedia, match="speech is silent"):
        engine.animate(portrait, write_wav(tmp_path / "0.wav", np.zeros(16000)), out, Recorder())
    with pytest.raises(BadMedia, match="speech"):
        engine.animate(portrait, write_wav(tmp_path / "e.wav", np.zeros(0)), out, Recorder())
    assert not out.exists()


def test_a_cancelled_animation_stops_at_the_next_frame(portrait: Path, speech: Path, tmp_path: Path) -> None:
    steps = Recorder(cancelled_at=10)
    with pytest.raises(Cancelled):
        LandmarkTalkingHead().animate(portrait, speech, tmp_path / "v.mp4", steps)
    assert steps.checks == 10
    assert not (tmp_path / "v.mp4").exists()


def test_arguments_out_of_range_are_refused() -> None:
    for arguments in ({"size": 255}, {"size": 32}, {"frame_rate": 0}):
        with pytest.raises(ValueError, match="must be"):
            LandmarkTalkingHead(**arguments)
