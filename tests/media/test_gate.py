"""Real files that are not what was promised are stopped; good ones pass, whatever looks odd about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from myspinbot_worker.actors.generate import talk_promise, upscale_promise
from myspinbot_worker.errors import BadMedia, Cancelled, UntrueOutput
from myspinbot_worker.media.facts import Probe
from myspinbot_worker.media.gate import verify
from myspinbot_worker.media.probe import probe
from myspinbot_worker.media.promise import AudioPromise, ImagePromise, Promise, VideoPromise
from myspinbot_worker.media_limits import MediaLimits, limited_to
from tests.preview.clips import NTSC, Image, photo, sliding, tone, write_wav

from .films import write_film

pytestmark = pytest.mark.preview

SPEECH = AudioPromise(frozenset({"pcm_s16le"}), rate=16000, channels=1, shortest=0.5)
TALK = VideoPromise(
    codecs=frozenset({"h264"}),
    width=96,
    height=64,
    fps=Fraction(25),
    constant=True,
    frames=30,
    duration=1.2,
    moving=True,
    sound=AudioPromise(frozenset({"aac"}), shortest=1.0, longest=1.4),
)


def _owed(source: Probe, scale: int) -> VideoPromise:
    assert source.video is not None
    return upscale_promise(source, (scale * source.video.width, scale * source.video.height))


def problems(path: Path, promise: Promise) -> list[str]:
    with pytest.raises(UntrueOutput) as caught:
        verify(path, promise)
    error = caught.value
    assert error.code == "bad_output"
    told: list[str] = json.loads(json.dumps(error.details, allow_nan=False))["problems"]
    assert error.message == f"{path.name} is not what was promised: {'; '.join(told)}"
    return told


def talk(path: Path, frames: list[Image], **changes: object) -> Path:
    given: dict[str, object] = {"sound": tone(1.2), **changes}
    return write_film(path, frames, **given)  # type: ignore[arg-type]


class TestCaught:
    def test_a_short_clip_for_a_long_job(self, moving: list[Image], tmp_path: Path) -> None:
        speech = probe(write_wav(tmp_path / "s.wav", tone(22.0)), "speech")
        path = talk(tmp_path / "v.mp4", moving * 2 + moving[:15], sound=tone(3.0))
        assert problems(path, talk_promise(speech)) == [
            "the pictures last 3.000 s, 22.000 s to 2 frames were promised",
            "the sound lasts 3.008 s, at least 21.750 s were promised",
        ]

    def test_a_dummy_of_64_pixels(self, tmp_path: Path) -> None:
        path = talk(tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8)] * 30)
        assert problems(path, TALK) == [
            "the picture is 64 pixels wide, 96 were promised",
            "the picture stands still for 1.200 of 1.200 s (it changes 0 times), a moving one was promised",
            "every frame is of one colour, something to see was promised",
        ]

    @pytest.mark.parametrize("crf", [12, 30])
    def test_one_picture_repeated(self, crf: int, moving: list[Image], tmp_path: Path) -> None:
        path = talk(tmp_path / "v.mp4", moving[:1] * 30, crf=crf)
        (problem,) = problems(path, TALK)
        assert "stands still for 1.200 of 1.200 s" in problem

    def test_a_picture_that_freezes_after_its_first_frames(self, moving: list[Image], tmp_path: Path) -> None:
        path = talk(tmp_path / "v.mp4", moving[:2] + moving[2:3] * 28)
        (problem,) = problems(path, TALK)
        assert "stands still for 1.120 of 1.200 s (it changes 2 times)" in problem

    def test_silent_sound(self, moving: list[Image], tmp_path: Path) -> None:
        path = talk(tmp_path / "v.mp4", moving, sound=np.zeros(19200))
        (problem,) = problems(path, TALK)
        assert problem.startswith("the sound is silent (its peak is -120.0 dBFS)")
        noise = 0.0005 * np.random.default_rng(4).standard_normal(16000).clip(-1, 1)
        (problem,) = problems(write_wav(tmp_path / "s.wav", noise), SPEECH)
        assert "is silent" in problem

    def test_missing_sound(self, moving: list[Image], tmp_path: Path) -> None:
        path = talk(tmp_path / "v.mp4", moving, sound=None)
        assert problems(path, TALK) == ["the file has no sound, one was promised"]

    def test_sound_that_should_not_be_there(self, moving: list[Image], tmp_path: Path) -> None:
        silent = probe(write_film(tmp_path / "s.mp4", moving))
        path = talk(tmp_path / "v.mp4", moving)
        (problem,) = problems(path, _owed(silent, 1))
        assert problem == "the file has sound (aac, 1.216 s), none was promised"

    def test_a_wrong_frame_rate(self, moving: list[Image], tmp_path: Path) -> None:
        path = talk(tmp_path / "v.mp4", moving, rate=NTSC)
        assert problems(path, TALK) == [
            "the video has 29.970 (30000/1001) frames a second, 25 were promised",
            "the pictures last 1.001 s, 1.200 s to 0 frames were promised",
        ]
        thirty = VideoPromise(fps=Fraction(30), sound=AudioPromise())
        assert problems(path, thirty) == [
            "the video has 29.970 (30000/1001) frames a second, 30 were promised"
        ]

    def test_a_rate_that_varies(self, moving: list[Image], tmp_path: Path) -> None:
        times = [number / 25 + 0.012 * (number % 2) for number in range(30)]
        problem = problems(talk(tmp_path / "v.mp4", moving, times=times), TALK)[1]
        assert problem.startswith("the frame rate varies around 24.7")

    def test_one_frame_less(self, moving: list[Image], tmp_path: Path) -> None:
        source = probe(write_film(tmp_path / "s.mp4", moving))
        path = write_film(tmp_path / "v.mp4", moving[:-1])
        assert problems(path, _owed(source, 1)) == ["the video has 29 frames, 30 were promised"]

    def test_a_wrong_size(self, moving: list[Image], tmp_path: Path) -> None:
        source = probe(write_film(tmp_path / "s.mp4", moving))
        assert problems(tmp_path / "s.mp4", _owed(source, 2)) == [
            "the picture is 96 pixels wide, 192 were promised",
            "the picture is 64 pixels high, 128 were promised",
        ]

    @pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "s.wav"])
    def test_a_file_that_was_cut_off(
        self, name: str, part: float, moving: list[Image], tmp_path: Path
    ) -> None:
        promise: Promise = SPEECH
        if name == "s.wav":
            path = write_wav(tmp_path / name, tone(2.0))
        else:
            mpeg4 = {"codec": "mpeg4", "sound_codec": "mp3"} if name == "v.avi" else {}
            path = talk(tmp_path / name, moving, **mpeg4)
            promise = _owed(probe(path), 1)
            if name == "v.avi":
                promise = VideoPromise(frames=30, sound=AudioPromise())
        verify(path, VideoPromise(sound=AudioPromise()) if name != "s.wav" else promise)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])
        if (name, part) == ("v.mkv", 0.999):
            # What is missing there is the index at the end; all frames and samples are in the file.
            verify(path, promise)
        else:
            assert problems(path, promise)

    def test_no_video_at_all(self, voice: Path, tmp_path: Path) -> None:
        noise = tmp_path / "v.mp4"
        noise.write_bytes(np.random.default_rng(5).bytes(4000))
        assert problems(noise, TALK) == [
            "the file cannot be decoded: Invalid data found when processing input"
        ]
        assert problems(voice, TALK)[0] == "a video was promised, the file holds only sound (pcm_s16le)"
        PIL.Image.fromarray(photo("coffee")).save(tmp_path / "p.png")
        assert problems(tmp_path / "p.png", TALK) == [
            "a video was promised, the file holds a picture (png)",
            "the file has no sound, one was promised",
        ]

    def test_an_empty_file_and_none(self, tmp_path: Path) -> None:
        (tmp_path / "v.mp4").touch()
        assert problems(tmp_path / "v.mp4", TALK) == ["the file is empty"]
        assert problems(tmp_path / "none.mp4", TALK) == ["there is no such file"]
        assert problems(tmp_path, TALK) == ["there is no such file"]

    def test_sound_of_another_kind(self, tmp_path: Path) -> None:
        path = write_wav(tmp_path / "s.wav", tone(0.4, rate=8000), rate=8000)
        assert problems(path, SPEECH) == [
            "the sound has 8000 samples a second, 16000 were promised",
            "the sound lasts 0.400 s, at least 0.500 s were promised",
        ]
        assert problems(path, AudioPromise(frozenset({"flac"}), channels=2, longest=0.3, min_bytes=9999)) == [
            "the file has 6444 bytes, at least 9999 were promised",
            "the sound's codec is pcm_s16le, flac was promised",
            "the sound has 1 channels, 2 were promised",
            "the sound lasts 0.400 s, at most 0.300 s were promised",
        ]

    def test_a_video_where_sound_was_promised(self, moving: list[Image], tmp_path: Path) -> None:
        path = talk(tmp_path / "v.mp4", moving)
        assert problems(path, AudioPromise()) == [
            "nothing but sound was promised, the file holds a video (h264)"
        ]

    def test_pictures(self, tmp_path: Path) -> None:
        grey = tmp_path / "p.png"
        PIL.Image.new("RGB", (64, 48), "grey").save(grey)
        assert problems(grey, ImagePromise(frozenset({"jpeg", "webp"}), width=48, height=64)) == [
            "the picture's format is png, jpeg or webp was promised",
            "the picture is 64 pixels wide, 48 were promised",
            "the picture is 48 pixels high, 64 were promised",
            "the picture is of one colour, something to see was promised",
        ]

    def test_what_is_longer_than_anyone_decodes(self, tmp_path: Path) -> None:
        path = write_wav(tmp_path / "s.wav", tone(12.0))
        with limited_to(MediaLimits(media_seconds=1.0)):
            (problem,) = problems(path, SPEECH)
        assert "farm.max_media_seconds" in problem


def picture(path: Path) -> Path:
    PIL.Image.fromarray(photo("coffee")).save(path)
    return path


GOOD: dict[str, tuple[Callable[[Path, list[Image]], Path], Promise]] = {
    "a talk": (lambda folder, film: talk(folder / "v.mp4", film), TALK),
    "a talk that begins with a still second": (
        lambda folder, film: talk(folder / "v.mp4", film[:1] * 25 + film[:15], sound=tone(1.6)),
        VideoPromise(frames=40, duration=1.6, moving=True, sound=AudioPromise()),
    ),
    "a talk at 29.97": (
        lambda folder, film: talk(folder / "v.mp4", film, rate=NTSC),
        VideoPromise(fps=NTSC, constant=True, frames=30, moving=True, sound=AudioPromise()),
    ),
    "a film whose clock has ticks of a millisecond": (
        lambda folder, film: talk(folder / "v.mkv", film, rate=NTSC),
        VideoPromise(fps=NTSC, constant=True, frames=30, sound=AudioPromise()),
    ),
    "a rate that varies where none was promised": (
        lambda folder, film: write_film(folder / "v.mp4", film[:6], times=[0, 0.04, 0.1, 0.3, 0.35, 0.5]),
        VideoPromise(frames=6, moving=True),
    ),
    "a still and grey film where nothing else was promised": (
        lambda folder, film: write_film(folder / "v.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 9),
        VideoPromise(visible=False),
    ),
    "speech": (lambda folder, film: write_wav(folder / "s.wav", tone(0.7)), SPEECH),
    "quiet speech": (lambda folder, film: write_wav(folder / "s.wav", 0.005 * tone(0.7)), SPEECH),
    "one loud moment in silence": (
        lambda folder, film: write_wav(folder / "s.wav", np.concatenate([np.zeros(60_000), tone(0.02)])),
        SPEECH,
    ),
    "silence where nothing else was promised": (
        lambda folder, film: write_wav(folder / "s.wav", np.zeros(16_000)),
        AudioPromise(audible=False),
    ),
    "a picture": (
        lambda folder, film: picture(folder / "p.png"),
        ImagePromise(frozenset({"png"}), width=600, height=400),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_files_pass(name: str, moving: list[Image], tmp_path: Path) -> None:
    make, promise = GOOD[name]
    path = make(tmp_path, moving)
    assert verify(path, promise).digest == hashlib.sha256(path.read_bytes()).hexdigest()


SOURCES: dict[str, dict[str, object]] = {
    "of a variable rate": {"times": [0, 0.04, 0.1, 0.3, 0.35, 0.5]},
    "with silent sound": {"sound": np.zeros(16_000)},
    "without sound": {},
    "that stands still": {"still": True},
    "that starts late": {"start": 1.5, "sound": tone(0.5), "sound_start": 1.4},
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_keeps_its_own_promise(name: str, moving: list[Image], tmp_path: Path) -> None:
    """What is odd about a source is no fault of the video made from it."""
    given = dict(SOURCES[name])
    frames = moving[:1] * 6 if given.pop("still", False) else moving[:6]
    path = write_film(tmp_path / "v.mp4", frames, **given)  # type: ignore[arg-type]
    verify(path, _owed(probe(path), 1))


def test_looking_can_be_stopped(moving: list[Image], tmp_path: Path) -> None:
    def check() -> None:
        raise Cancelled("cancelled by the test")

    with pytest.raises(Cancelled):
        verify(talk(tmp_path / "v.mp4", moving), TALK, check=check)


def test_a_promise_wider_than_the_limits_is_looked_at(tmp_path: Path) -> None:
    """The source was within the limits; twice its size may not be."""
    source = write_film(tmp_path / "s.mp4", sliding(photo("coffee"), 64, 64, 3))
    with limited_to(MediaLimits(image_pixels=64 * 64)):
        promise = _owed(probe(source), 2)
        verify(write_film(tmp_path / "v.mp4", sliding(photo("coffee"), 128, 128, 3)), promise)


def test_promises_need_a_source_of_their_kind(moving: list[Image], voice: Path, tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match="source video holds no video"):
        upscale_promise(probe(voice), (2, 2))
    with pytest.raises(BadMedia, match="speech holds no sound"):
        talk_promise(probe(write_film(tmp_path / "v.mp4", moving)))


def test_a_speech_too_short_to_move_to(tmp_path: Path) -> None:
    assert talk_promise(probe(write_wav(tmp_path / "a.wav", tone(0.9)))).moving is False
    assert talk_promise(probe(write_wav(tmp_path / "b.wav", tone(1.0)))).moving is True
