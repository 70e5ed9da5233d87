"""Speech by F5-TTS in ComfyUI."""

from __future__ import annotations

from pathlib import Path

from ..engines import KeptSteps, Steps
from ..errors import BadInput
from ..media.sound import describe_sound, write_speech
from .engine import ComfyEngine
from .made import Chain, keeper, only_file, recipe
from .observing import PromptSteps
from .parameters import SpeechSettings
from .prompts import speech_prompt
from .requirements import choose
from .wav import limit_peak

_SECONDS = {"UnifiedTTSTextNode": 30.0, "F5TTSAudioInputs": 30.0}
_OWNER = "generate.f5_to_tts"
_PEAK = 10 ** (-1 / 20)
"""-1 dBFS."""


class ComfySpeech:
    """:class:`..engines.SpeechEngine` by TTS-Audio-Suite, or by the pack ComfyUI-F5-TTS where only that is there."""

    def __init__(self, comfy: ComfyEngine) -> None:
        self._comfy = comfy

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
        """See :meth:`..engines.SpeechEngine.speak`.

        Raises:
            BadInput: ``text`` or ``reference_text`` is blank: F5-TTS needs the transcript.
            FarmError: As :meth:`.engine.ComfyEngine.run`.
        """
        if not text.strip():
            raise BadInput("narration is empty: there is nothing to speak")
        if not reference_text.strip():
            raise BadInput("params.refText is empty: F5-TTS needs to know what the reference voice says")
        if describe_sound(reference, "voice reference").silent:
            raise BadInput("the voice reference (params.audioPath) is silent")
        settings = settings or SpeechSettings()
        catalog = self._comfy.catalog()
        variant = choose("speech", catalog, settings)
        prompt = speech_prompt(
            variant,
            settings,
            catalog,
            reference=reference,
            reference_text=reference_text.strip(),
            text=text.strip(),
        )
        name = Chain(recipe(prompt)).add_file(reference).name("speech")
        steps.check()
        made = keeper(kept).fetch(name)
        if made is None:
            into = destination.with_name("speaking")
            into.mkdir(exist_ok=True)
            watch = PromptSteps(steps, 0.0, 0.95, prompt, _SECONDS)
            result = self._comfy.run(prompt, into, watch, owner=_OWNER)
            made = only_file(result, "save")
            keeper(kept).keep(name, made)
        write_speech(made, destination, what="speech")
        limit_peak(destination, _PEAK)
        steps.progress(1.0)
