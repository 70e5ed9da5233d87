"""What the demo works on: a portrait and a reference voice."""

from __future__ import annotations

from pathlib import Path

from ..engines import preview_engine_set
from ..errors import BadInput, EngineUnavailable

VOICE_TEXT = "This is how I sound. The farm keeps a sample like this one for every voice."
SCRIPT = "Hello! I am a talking bot, and I was made without a graphics card."


class _NoSteps:
    def progress(self, fraction: float) -> None:
        """Nobody watches."""

    def check(self) -> None:
        """Nobody cancels."""


def portrait(given: Path | None, folder: Path) -> Path:
    """The given picture, or a photograph in the public domain (NASA's portrait of Eileen Collins).

    Raises:
        BadInput: There is no such file.
        EngineUnavailable: The package with the photograph is not installed.
    """
    if given is not None:
        if not given.is_file():
            raise BadInput(f"--image {given}: there is no such file")
        return given
    try:
        import skimage.data
        from PIL import Image
    except ImportError as error:
        raise EngineUnavailable(f"{error}: install 'myspinbot-worker[demo]', or give --image") from None
    path = folder / "portrait.png"
    picture = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    Image.fromarray(picture).save(path)
    return path


def reference_voice(folder: Path) -> Path:
    """A recording of the voice; the preview engine has only one, so it says the sample itself."""
    path = folder / "reference.wav"
    silence = folder / "silence.wav"
    _write_silence(silence)
    preview_engine_set().speech.speak(VOICE_TEXT, silence, "", path, _NoSteps())
    return path


def _write_silence(path: Path) -> None:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(16000))
