"""The small protocols between a task and the engine that does its work.

A task (``actors/``) fetches artifacts, calls an engine, and keeps what the engine wrote; an engine reads
and writes local files and knows nothing of Redis, storage or jobs. ``preview/`` implements these on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from .errors import EngineUnavailable


class Steps(Protocol):
    """What an engine tells its caller between two steps of work."""

    def progress(self, fraction: float) -> None:
        """Report the done part of this work, 0.0 to 1.0; cheap, may be called for every frame."""

    def check(self) -> None:
        """Raise ``Cancelled`` or ``LeaseLost`` when the work has become pointless."""


class SpeechEngine(Protocol):
    """Text to speech."""

    def speak(self, text: str, reference: Path, reference_text: str, destination: Path, steps: Steps) -> None:
        """Speak ``text`` into ``destination``: WAV, PCM 16 bit, 16 kHz, mono, peak at most -1 dBFS.

        Args:
            text: What to say; not blank.
            reference: A sample of the voice to imitate, where the engine can.
            reference_text: Transcript of ``reference``.
        """


class TalkingHeadEngine(Protocol):
    """A portrait and a voice to a talking video."""

    def animate(self, portrait: Path, speech: Path, destination: Path, steps: Steps) -> None:
        """Write an MP4 (H.264, AAC) of the portrait's face speaking, as long as ``speech``.

        Raises:
            NoFaceFound: The portrait shows no face.
            BadMedia: Either file cannot be decoded.
        """


class UpscaleEngine(Protocol):
    """A video to the same video, larger."""

    def upscale(self, source: Path, destination: Path, steps: Steps) -> None:
        """Write ``source`` at twice its width and height into ``destination`` (MP4), sound carried over.

        Raises:
            BadMedia: ``source`` cannot be decoded or holds no video.
        """


@dataclass(frozen=True, slots=True)
class EngineSet:
    """The engines that serve this process' tasks; they keep loaded models from task to task."""

    speech: SpeechEngine
    talking_head: TalkingHeadEngine
    upscale: UpscaleEngine


@cache
def engine_set(name: str) -> EngineSet:
    """The engines of a setting's name (``farm.engine``), made once a process.

    Raises:
        EngineUnavailable: There are no such engines; never replaced by others silently.
    """
    if name != "preview":
        raise EngineUnavailable(f"there is no engine called {name!r}; farm.engine can be 'preview'")
    from .preview.speech import PiperSpeech
    from .preview.talking_head import LandmarkTalkingHead
    from .preview.upscale import RealEsrganUpscaler

    return EngineSet(PiperSpeech(), LandmarkTalkingHead(), RealEsrganUpscaler())
