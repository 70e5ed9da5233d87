"""The three pipelines on a fake ComfyUI: what comes out, and what is made again after a death at every step."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from myspinbot_worker.comfy.engine import EngineLost
from myspinbot_worker.comfy.parameters import SpeechSettings, TalkSettings, UpscaleSettings
from myspinbot_worker.comfy.pipelines import comfy_engine_set
from myspinbot_worker.comfy.windows import plan_windows
from myspinbot_worker.engines import EngineSet
from myspinbot_worker.errors import BadInput, BadMedia, Cancelled, EngineUnavailable
from tests.preview.recorder import Recorder

from . import mini_catalogs as catalogs
from .fake_comfy import LEVEL, RATE, SAMPLES_A_FRAME, FakeComfy, grey_of, read_frames, write_video
from .kept_here import KeptHere

SMALL = {"width": 128, "height": 128}
NTSC = Fraction(30000, 1001)


def engines(comfy: FakeComfy) -> EngineSet:
    return comfy_engine_set(comfy)


def counting_speech(path: Path, frames: int, beyond: int = 0) -> Path:
    """Speech of which each frame's samples tell its number."""
    samples = np.repeat((np.arange(frames + 1) + 1) * LEVEL, SAMPLES_A_FRAME)[
        : frames * SAMPLES_A_FRAME + beyond
    ]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.png"
    with av.open(str(path), "w", format="image2") as output:
        stream = output.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 200, 160, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.full((160, 200, 3), 200, np.uint8), format="rgb24")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Path]:
    """A scratch folder for each attempt."""

    def made() -> Iterator[Path]:
        number = 0
        while True:
            number += 1
            folder = tmp_path / f"attempt-{number}"
            folder.mkdir()
            yield folder

    return made()


def sound_of(path: Path) -> tuple[str, float]:
    with av.open(str(path)) as reader:
        stream = reader.streams.audio[0]
        samples = sum(frame.samples for frame in reader.decode(audio=0))
        return stream.codec_context.name, samples / stream.rate


def rate_of(path: Path) -> Fraction:
    with av.open(str(path)) as reader:
        rate = reader.streams.video[0].average_rate
        assert rate is not None
        return rate


class TestTalkingHead:
    SETTINGS = TalkSettings(**SMALL, window_frames=21, motion_frames=5)

    def test_each_frame_belongs_to_its_moment_of_the_speech(self, tmp_path: Path, portrait: Path) -> None:
        comfy, steps = FakeComfy(catalogs.core()), Recorder()
        speech = counting_speech(tmp_path / "speech.wav", 60)
        video = tmp_path / "talk.mp4"
        engines(comfy).talking_head.animate(portrait, speech, video, steps, settings=self.SETTINGS)
        greys = read_frames(video).mean(axis=(1, 2, 3))
        assert len(greys) == 60
        assert np.abs(greys - [grey_of(frame) for frame in range(60)]).max() < 2
        assert len(comfy.prompts) == len(plan_windows(60, 21, 5)) == 4
        assert rate_of(video) == 25
        assert sound_of(video)[1] == pytest.approx(2.4, abs=0.1)
        assert steps.complete()
        assert not (tmp_path / "windows").exists()

    @pytest.mark.parametrize(
        ("frames", "beyond", "expected"), [(1, 0, 1), (20, 1, 21), (21, 0, 21), (21, 1, 22)]
    )
    def test_a_begun_frame_is_shown(
        self, tmp_path: Path, portrait: Path, frames: int, beyond: int, expected: int
    ) -> None:
        speech = counting_speech(tmp_path / "speech.wav", frames, beyond)
        video = tmp_path / "talk.mp4"
        comfy = FakeComfy(catalogs.core())
        engines(comfy).talking_head.animate(portrait, speech, video, Recorder(), settings=self.SETTINGS)
        assert len(read_frames(video)) == expected

    def test_memory_does_not_grow_with_the_speech(self, tmp_path: Path, portrait: Path) -> None:
        comfy = FakeComfy(catalogs.core())
        speech = counting_speech(tmp_path / "speech.wav", 200)
        engines(comfy).talking_head.animate(
            portrait, speech, tmp_path / "talk.mp4", Recorder(), settings=self.SETTINGS
        )
        assert comfy.most_frames <= 21

    @pytest.mark.parametrize("dies_at", [1, 2, 3, 4])
    def test_after_a_death_nothing_that_was_kept_is_made_again(
        self, tmp_path: Path, attempts: Iterator[Path], portrait: Path, dies_at: int
    ) -> None:
        speech = counting_speech(tmp_path / "speech.wav", 60)
        kept = KeptHere(tmp_path / "kept")
        first, folder = FakeComfy(catalogs.core(), dies_at=dies_at), next(attempts)
        kept.folder_of_attempt = folder
        with pytest.raises(EngineLost):
            engines(first).talking_head.animate(
                portrait, speech, folder / "talk.mp4", Recorder(), settings=self.SETTINGS, kept=kept
            )
        second, folder = FakeComfy(catalogs.core()), next(attempts)
        kept.folder_of_attempt = folder
        engines(second).talking_head.animate(
            portrait, speech, folder / "talk.mp4", Recorder(), settings=self.SETTINGS, kept=kept
        )
        assert (len(first.prompts), len(second.prompts)) == (dies_at, 4 - (dies_at - 1))
        greys = read_frames(folder / "talk.mp4").mean(axis=(1, 2, 3))
        assert np.abs(greys - [grey_of(frame) for frame in range(60)]).max() < 2

    @pytest.mark.parametrize(
        "change", [{"steps": 7}, {"seed": 2}, {"width": 144}, {"window_frames": 25}, {"audio_scale": 1.0}]
    )
    def test_other_work_is_not_gone_on_with(
        self, tmp_path: Path, attempts: Iterator[Path], portrait: Path, change: dict[str, int]
    ) -> None:
        speech = counting_speech(tmp_path / "speech.wav", 40)
        kept = KeptHere(tmp_path / "kept")
        for settings in (self.SETTINGS, self.SETTINGS.model_copy(update=change)):
            comfy, folder = FakeComfy(catalogs.core()), next(attempts)
            kept.folder_of_attempt = folder
            engines(comfy).talking_head.animate(
                portrait, speech, folder / "talk.mp4", Recorder(), settings=settings, kept=kept
            )
            assert len(comfy.prompts) == len(
                plan_windows(40, settings.window_frames, settings.motion_frames or 0)
            )

    def test_another_speech_is_not_gone_on_with(
        self, tmp_path: Path, attempts: Iterator[Path], portrait: Path
    ) -> None:
        kept = KeptHere(tmp_path / "kept")
        for beyond in (0, 100):
            comfy, folder = FakeComfy(catalogs.core()), next(attempts)
            kept.folder_of_attempt = folder
            speech = counting_speech(folder / "speech.wav", 19, beyond)
            engines(comfy).talking_head.animate(
                portrait, speech, folder / "talk.mp4", Recorder(), settings=self.SETTINGS, kept=kept
            )
            assert len(comfy.prompts) == 1

    def test_a_cancel_is_heard_between_windows(self, tmp_path: Path, portrait: Path) -> None:
        speech = counting_speech(tmp_path / "speech.wav", 60)
        with pytest.raises(Cancelled):
            engines(FakeComfy(catalogs.core())).talking_head.animate(
                portrait, speech, tmp_path / "talk.mp4", Recorder(cancelled_at=4), settings=self.SETTINGS
            )
        assert not (tmp_path / "talk.mp4").exists()

    def test_the_pack_makes_it_in_one_go(
        self, tmp_path: Path, attempts: Iterator[Path], portrait: Path
    ) -> None:
        catalog = catalogs.core_2025() | catalogs.wan_video_wrapper()
        speech = counting_speech(tmp_path / "speech.wav", 60, 17)
        kept = KeptHere(tmp_path / "kept")
        for runs in (1, 0):
            comfy, folder = FakeComfy(catalog), next(attempts)
            kept.folder_of_attempt = folder
            engines(comfy).talking_head.animate(
                portrait, speech, folder / "talk.mp4", Recorder(), settings=TalkSettings(**SMALL), kept=kept
            )
            assert len(comfy.prompts) == runs
            greys = read_frames(folder / "talk.mp4").mean(axis=(1, 2, 3))
            assert len(greys) == 61
            assert np.abs(greys[:60] - [grey_of(frame) for frame in range(60)]).max() < 2

    def test_too_long_a_speech_is_refused(self, tmp_path: Path, portrait: Path) -> None:
        speech = counting_speech(tmp_path / "speech.wav", 60)
        settings = self.SETTINGS.model_copy(update={"max_seconds": 2.0})
        comfy = FakeComfy(catalogs.core())
        with pytest.raises(BadInput, match=r"params\.max_seconds allows 2 s"):
            engines(comfy).talking_head.animate(
                portrait, speech, tmp_path / "t.mp4", Recorder(), settings=settings
            )
        assert not comfy.prompts

    def test_what_is_not_installed_is_told(self, tmp_path: Path, portrait: Path) -> None:
        speech = counting_speech(tmp_path / "speech.wav", 5)
        with pytest.raises(EngineUnavailable, match="WanInfiniteTalkToVideo"):
            engines(FakeComfy(catalogs.core_2025())).talking_head.animate(
                portrait, speech, tmp_path / "t.mp4", Recorder()
            )


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Fifty frames of 48x32 at 29.97 a second, each of another grey, with AAC sound."""
    frames = np.stack([np.full((32, 48, 3), 20 + 4 * number, np.uint8) for number in range(50)])
    silent = write_video(tmp_path / "silent.mp4", frames, NTSC)
    path = tmp_path / "clip.mp4"
    with av.open(str(silent)) as reader, av.open(str(path), "w", format="mp4") as output:
        video = output.add_stream_from_template(reader.streams.video[0])
        audio = output.add_stream("aac", rate=48000, layout="mono")
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                output.mux(packet)
        tone = (8000 * np.sin(np.arange(round(48000 * 50 / NTSC)) / 20)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 48000
        output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    return path


class TestUpscaling:
    SETTINGS = UpscaleSettings(chunk_frames=16)

    @pytest.mark.parametrize("model_scale", [2, 4])
    def test_a_video_twice_as_large(self, tmp_path: Path, clip: Path, model_scale: int) -> None:
        comfy, steps = FakeComfy(catalogs.core(), scale=model_scale), Recorder()
        video = tmp_path / "large.mp4"
        engines(comfy).upscale.upscale(clip, video, steps, settings=self.SETTINGS)
        frames = read_frames(video)
        assert frames.shape == (50, 64, 96, 3)
        assert np.abs(frames.mean(axis=(1, 2, 3)) - read_frames(clip).mean(axis=(1, 2, 3))).max() < 3
        assert rate_of(video) == NTSC
        assert sound_of(video) == sound_of(clip)
        assert len(comfy.prompts) == 4
        assert steps.complete()

    def test_by_another_factor_sides_are_even(self, tmp_path: Path, clip: Path) -> None:
        video = tmp_path / "large.mp4"
        settings = UpscaleSettings(scale=1.3)
        engines(FakeComfy(catalogs.core())).upscale.upscale(clip, video, Recorder(), settings=settings)
        assert read_frames(video).shape == (50, 42, 62, 3)

    def test_memory_does_not_grow_with_the_video(self, tmp_path: Path, clip: Path) -> None:
        comfy = FakeComfy(catalogs.core())
        engines(comfy).upscale.upscale(
            clip, tmp_path / "large.mp4", Recorder(), settings=UpscaleSettings(chunk_frames=7)
        )
        assert comfy.most_frames == 7
        assert len(comfy.prompts) == 8

    @pytest.mark.parametrize("dies_at", [1, 2, 3, 4])
    def test_after_a_death_nothing_that_was_kept_is_made_again(
        self, tmp_path: Path, attempts: Iterator[Path], clip: Path, dies_at: int
    ) -> None:
        kept = KeptHere(tmp_path / "kept")
        first, folder = FakeComfy(catalogs.core(), dies_at=dies_at), next(attempts)
        kept.folder_of_attempt = folder
        with pytest.raises(EngineLost):
            engines(first).upscale.upscale(
                clip, folder / "v.mp4", Recorder(), settings=self.SETTINGS, kept=kept
            )
        second, folder = FakeComfy(catalogs.core()), next(attempts)
        kept.folder_of_attempt = folder
        engines(second).upscale.upscale(clip, folder / "v.mp4", Recorder(), settings=self.SETTINGS, kept=kept)
        assert (len(first.prompts), len(second.prompts)) == (dies_at, 4 - (dies_at - 1))
        assert len(read_frames(folder / "v.mp4")) == 50

    def test_other_work_is_not_gone_on_with(
        self, tmp_path: Path, attempts: Iterator[Path], clip: Path
    ) -> None:
        kept = KeptHere(tmp_path / "kept")
        for settings in (self.SETTINGS, UpscaleSettings(chunk_frames=16, upscale_model="4x-anime.pth")):
            comfy, folder = FakeComfy(catalogs.core()), next(attempts)
            kept.folder_of_attempt = folder
            engines(comfy).upscale.upscale(clip, folder / "v.mp4", Recorder(), settings=settings, kept=kept)
            assert len(comfy.prompts) == 4

    def test_a_cancel_is_heard_between_chunks(self, tmp_path: Path, clip: Path) -> None:
        with pytest.raises(Cancelled):
            engines(FakeComfy(catalogs.core())).upscale.upscale(
                clip, tmp_path / "v.mp4", Recorder(cancelled_at=3), settings=self.SETTINGS
            )
        assert not (tmp_path / "v.mp4").exists()

    def test_what_is_no_video_is_refused(self, tmp_path: Path) -> None:
        garbage = tmp_path / "garbage.mp4"
        garbage.write_bytes(b"no video" * 100)
        with pytest.raises(BadMedia):
            engines(FakeComfy(catalogs.core())).upscale.upscale(garbage, tmp_path / "v.mp4", Recorder())


class TestSpeech:
    CATALOG = catalogs.core() | catalogs.tts_audio_suite()

    def test_sixteen_kilohertz_mono_and_not_too_loud(self, tmp_path: Path) -> None:
        reference = counting_speech(tmp_path / "reference.wav", 20)
        comfy, steps, speech = FakeComfy(self.CATALOG), Recorder(), tmp_path / "speech.wav"
        engines(comfy).speech.speak("Good evening everybody.", reference, "Hello.", speech, steps)
        with wave.open(str(speech), "rb") as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert len(samples) == pytest.approx(16000 * 23 // 20, abs=20)
        assert np.abs(samples.astype(int)).max() == pytest.approx(32767 * 10 ** (-1 / 20), abs=2)
        assert steps.complete()

    def test_a_kept_speech_is_not_spoken_again(self, tmp_path: Path, attempts: Iterator[Path]) -> None:
        reference = counting_speech(tmp_path / "reference.wav", 20)
        kept = KeptHere(tmp_path / "kept")
        for text, seed, runs in (
            ("Good evening.", 1, 1),
            ("Good evening.", 1, 0),
            ("Good night.", 1, 1),
            ("Good night.", 2, 1),
        ):
            comfy, folder = FakeComfy(self.CATALOG), next(attempts)
            kept.folder_of_attempt = folder
            engines(comfy).speech.speak(
                text,
                reference,
                "Hello.",
                folder / "s.wav",
                Recorder(),
                settings=SpeechSettings(seed=seed),
                kept=kept,
            )
            assert len(comfy.prompts) == runs

    @pytest.mark.parametrize(
        ("text", "transcript", "said"), [(" ", "Hello.", "narration"), ("Hi.", " ", "refText")]
    )
    def test_what_is_missing_is_named(self, tmp_path: Path, text: str, transcript: str, said: str) -> None:
        reference = counting_speech(tmp_path / "reference.wav", 20)
        with pytest.raises(BadInput, match=said):
            engines(FakeComfy(self.CATALOG)).speech.speak(
                text, reference, transcript, tmp_path / "s.wav", Recorder()
            )

    def test_a_reference_that_is_no_sound_is_refused(self, tmp_path: Path, portrait: Path) -> None:
        with pytest.raises(BadMedia):
            engines(FakeComfy(self.CATALOG)).speech.speak(
                "Hi.", portrait, "Hello.", tmp_path / "s.wav", Recorder()
            )
