"""A talking head by InfiniteTalk in ComfyUI: window by window, each kept, so that little is lost with a worker."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..engines import KeptSteps, Steps
from ..errors import BadInput
from ..media.gate import verify
from ..media.join import join
from ..media.promise import VideoPromise
from ..media.sound import describe_sound, write_speech
from .engine import Catalog, ComfyEngine
from .made import Chain, files_of, keeper, only_file, recipe
from .motion import lossless
from .observing import PromptSteps
from .parameters import TalkSettings
from .prompts import FRAME_RATE, talk_clip_prompt, talk_window_prompt
from .requirements import choose, motion_frames
from .wav import padded, turned
from .windows import Window, plan_windows

_SECONDS = {
    "KSampler": 60.0,
    "VAEDecodeTiled": 15.0,
    "VAEDecode": 8.0,
    "WanInfiniteTalkToVideo": 5.0,
    "WanVideoSampler": 100.0,
    "WanVideoDecode": 1.0,
    "UNETLoader": 5.0,
    "CLIPTextEncode": 1.0,
}
_OWNER = "generate.infinite_talk"
_ENCODED_AS_AAC = ("pcm_s16le", "pcm_s24le", "pcm_f32le")
_MADE = 0.97

_LEAD = 25
"""Frames of sound before a window that the speech encoder hears too, so that a window begins in the middle of a word
as it would in one go."""

_GAP = 25
"""Frames of silence between the speech's end and its beginning, where it is turned."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What all windows of one video share."""

    portrait: Path
    speech: Path
    positive: str
    negative: str
    folder: Path
    catalog: Catalog
    settings: TalkSettings
    frames: int
    steps: Steps
    kept: KeptSteps


class ComfyTalkingHead:
    """:class:`..engines.TalkingHeadEngine` by ComfyUI's own nodes, or by the pack WanVideoWrapper."""

    def __init__(self, comfy: ComfyEngine) -> None:
        self._comfy = comfy

    def animate(
        self,
        portrait: Path,
        speech: Path,
        destination: Path,
        steps: Steps,
        *,
        settings: TalkSettings | None = None,
        kept: KeptSteps | None = None,
        positive: str = "",
        negative: str = "",
    ) -> None:
        """See :meth:`..engines.TalkingHeadEngine.animate`; any picture is animated, whether it shows a face or not.

        Raises:
            FarmError: As :meth:`.engine.ComfyEngine.run`.
        """
        settings = settings or TalkSettings()
        folder = destination.with_name("windows")
        folder.mkdir(exist_ok=True)
        pcm = folder / "speech.wav"
        seconds = write_speech(speech, pcm, what="speech")
        if seconds > settings.max_seconds:
            raise BadInput(
                f"the speech lasts {seconds:.2f} s, params.max_seconds allows {settings.max_seconds:g} s"
            )
        frames = max(1, math.ceil(round(seconds * FRAME_RATE, 6)))
        catalog = self._comfy.catalog()
        variant = choose("talking_head", catalog, settings)
        work = _Work(
            portrait, pcm, positive, negative, folder, catalog, settings, frames, steps, keeper(kept)
        )
        parts = self._windows(work) if variant == "core" else self._clip(work)
        # Players know more codecs in an MP4, but a talking head is promised with AAC.
        as_it_is = describe_sound(speech, "speech").codec in ("aac", *_ENCODED_AS_AAC)
        join(parts, destination, Fraction(FRAME_RATE), sound=speech if as_it_is else pcm, check=steps.check)
        shutil.rmtree(folder)
        steps.progress(1.0)

    def _windows(self, work: _Work) -> list[Path]:
        """Every window as a file of its new frames."""
        settings = work.settings
        motion_count = motion_frames(settings, "core")
        windows = plan_windows(work.frames, settings.window_frames, motion_count)
        chain = Chain(work.positive, work.negative, work.frames).add_file(work.portrait).add_file(work.speech)
        parts: list[Path] = []
        motion: Path | None = None
        for window in windows:
            work.steps.check()
            following = windows[window.index + 1] if window.index + 1 < len(windows) else None
            carried = following.overlap + _lead(following, settings) if following else 0
            part, motion, chain = self._window(work, window, motion, carried, chain)
            parts.append(part)
            work.steps.progress(_MADE * window.end / work.frames)
        return parts

    def _window(
        self, work: _Work, window: Window, motion: Path | None, carried: int, chain: Chain
    ) -> tuple[Path, Path | None, Chain]:
        """One window: its file, what the next one goes on from, and what that depends on."""
        settings = work.settings
        sound = work.folder / "window.wav"
        prompt = talk_window_prompt(
            settings,
            work.catalog,
            window,
            portrait=work.portrait,
            speech=sound,
            motion=motion,
            carried=carried,
            positive=work.positive,
            negative=work.negative,
        )
        lead = _lead(window, settings)
        here = Chain(chain.name("before"), window, lead, recipe(prompt))
        part_name, motion_name = (
            here.name(f"window-{window.index:04d}"),
            here.name(f"motion-{window.index:04d}"),
        )
        handed_on = work.kept.fetch(motion_name) if carried else None
        # What is handed on is kept first: a window that is there never lacks it.
        part = work.kept.fetch(part_name) if handed_on is not None or not carried else None
        if part is None:
            turned(work.speech, sound, window.start - lead, FRAME_RATE, _GAP)
            into = work.folder / f"made-{window.index}"
            into.mkdir()
            start, end = (_MADE * frame / work.frames for frame in (window.first_new, window.end))
            watch = PromptSteps(work.steps, start, end, prompt, _SECONDS)
            result = self._comfy.run(prompt, into, watch, owner=_OWNER)
            part = only_file(result, "save").replace(work.folder / f"window-{window.index:04d}.mp4")
            verify(part, _frames_of(settings, window.new))
            if carried:
                pictures = [file.path for file in files_of(result, "save_motion")]
                handed_on = lossless(pictures, carried, work.folder / f"motion-{window.index:04d}.mkv")
                work.kept.keep(motion_name, handed_on)
            work.kept.keep(part_name, part)
            shutil.rmtree(into)
        if motion is not None:
            motion.unlink(missing_ok=True)
        return part, handed_on, here.add_file(handed_on) if handed_on is not None else here

    def _clip(self, work: _Work) -> list[Path]:
        """The whole video at once: this pack makes its windows inside one node and keeps them all in memory."""
        settings, frames = work.settings, work.frames
        sound = padded(work.speech, work.folder / "padded.wav", frames, FRAME_RATE)
        prompt = talk_clip_prompt(
            settings,
            work.catalog,
            frames,
            portrait=work.portrait,
            speech=sound,
            motion_frames=motion_frames(settings, "wan_video_wrapper"),
            positive=work.positive,
            negative=work.negative,
        )
        name = Chain(recipe(prompt)).add_file(work.portrait).add_file(work.speech).name("clip")
        part = work.kept.fetch(name)
        if part is None:
            into = work.folder / "made"
            into.mkdir()
            watch = PromptSteps(work.steps, 0.0, _MADE, prompt, _SECONDS)
            result = self._comfy.run(prompt, into, watch, owner=_OWNER)
            part = only_file(result, "save").replace(work.folder / "clip.mp4")
            verify(part, _frames_of(settings, frames))
            work.kept.keep(name, part)
        return [part]


def _frames_of(settings: TalkSettings, frames: int) -> VideoPromise:
    return VideoPromise(frames=frames, width=settings.width, height=settings.height, visible=False)


def _lead(window: Window, settings: TalkSettings) -> int:
    """Frames of sound and picture that a window is given before those it overlaps; the window before has them all."""
    return min(_LEAD, window.start, settings.window_frames - window.overlap)
