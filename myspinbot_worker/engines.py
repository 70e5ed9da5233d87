"""The small protocols between a task and the engine that does its work.

A task (``actors/``) fetches artifacts, calls an engine, and keeps what the engine wrote; an engine reads
and writes local files and knows nothing of Redis, storage or jobs. ``preview/`` implements these on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .comfy.parameters import LoraSettings, SpeechSettings, TalkSettings, UpscaleSettings


class Steps(Protocol):
    """What an engine tells its caller between two steps of work."""

    def progress(self, fraction: float) -> None:
        """Report the done part of this work, 0.0 to 1.0; cheap, may be called for every frame."""

    def check(self) -> None:
        """Raise ``Cancelled``, ``TimedOut`` or ``LeaseLost`` when the work has become pointless."""


class KeptSteps(Protocol):
    """Steps of a long work that outlive the attempt (:class:`.checkpoints.Checkpoints`)."""

    def fetch(self, step: str) -> Path | None:
        """A step's file as this attempt or an earlier one at the same work kept it; ``None`` if there is none."""

    def keep(self, step: str, path: Path) -> object:
        """Keep a step's file under a name made of letters, digits, ``_`` and ``-``."""


class SpeechEngine(Protocol):
    """Text to speech."""

    def speak(
        self,
        text: str,
        reference: Path,
        reference_text: str,
        destination: Path,
        steps: Steps,
        *,
        settings: SpeechSettings | None = None,
        kept: KeptSteps | None = None,
    ) -> None:
        """Speak ``text`` into ``destination``: WAV, PCM 16 bit, 16 kHz, mono, peak at most -1 dBFS.

        Args:
            text: What to say; not blank.
            reference: A sample of the voice to imitate, where the engine can.
            reference_text: Transcript of ``reference``.
            settings: What the graph asks for; the defaults if absent.
            kept: Where to keep steps; nowhere if absent.

        Raises:
            BadMedia: ``reference`` cannot be decoded.
            EngineUnavailable: What is installed cannot do it.
        """


class TalkingHeadEngine(Protocol):
    """A portrait and a voice to a talking video."""

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
        """Write an MP4 (H.264, AAC) of the portrait's face speaking, as long as ``speech``.

        Args:
            settings, kept: As of :meth:`SpeechEngine.speak`.
            positive, negative: What the video should look like, and what not, where the engine can.

        Raises:
            BadInput: ``speech`` is longer than the settings allow.
            EngineUnavailable: What is installed cannot do it.
            NoFaceFound: The portrait shows no face.
            BadMedia: Either file cannot be decoded.
        """


class UpscaleEngine(Protocol):
    """A video to the same video, larger."""

    def enlarged(self, width: int, height: int, settings: UpscaleSettings | None = None) -> tuple[int, int]:
        """Width and height (pixels) of what it makes of a video of this size.

        Raises:
            BadInput: That would be too large.
        """

    def upscale(
        self,
        source: Path,
        destination: Path,
        steps: Steps,
        *,
        settings: UpscaleSettings | None = None,
        kept: KeptSteps | None = None,
    ) -> None:
        """Write ``source`` as large as :meth:`enlarged` says into ``destination`` (MP4, H.264).

        Every frame is there once, at its time; the sound is carried over.

        Args:
            settings, kept: As of :meth:`SpeechEngine.speak`.

        Raises:
            EngineUnavailable: What is installed cannot do it.
            BadMedia: ``source`` cannot be decoded or holds no video.
        """


class LoraTrainer(Protocol):
    """Pictures to a LoRA."""

    def train(
        self,
        pictures: Sequence[tuple[Path, str]],
        destination: Path,
        steps: Steps,
        *,
        settings: LoraSettings | None = None,
        kept: KeptSteps | None = None,
    ) -> None:
        """Write a LoRA (safetensors) trained on ``pictures``.

        Args:
            pictures: Files and their captions; at least one.
            settings, kept: As of :meth:`SpeechEngine.speak`.

        Raises:
            EngineUnavailable: What is installed cannot do it.
        """


@dataclass(frozen=True, slots=True)
class EngineSet:
    """The engines that serve this process' tasks; they keep loaded models from task to task.

    Attributes:
        lora: ``None`` where nothing can be trained.
    """

    speech: SpeechEngine
    talking_head: TalkingHeadEngine
    upscale: UpscaleEngine
    lora: LoraTrainer | None = None


def preview_engine_set() -> EngineSet:
    """The engines that run on a CPU and need no models; what they need is loaded at the first use."""
    from .preview.speech import PiperSpeech
    from .preview.talking_head import LandmarkTalkingHead
    from .preview.upscale import RealEsrganUpscaler

    return EngineSet(PiperSpeech(), LandmarkTalkingHead(), RealEsrganUpscaler())
