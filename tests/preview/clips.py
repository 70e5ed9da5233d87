"""Making small media files for the tests."""

from __future__ import annotations

import wave
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import skimage.data
from numpy.typing import NDArray

NTSC = Fraction(30000, 1001)

Image = NDArray[np.uint8]


def photo(name: str) -> Image:
    """One of scikit-image's pictures: ``astronaut`` shows a face, ``coffee`` none."""
    return np.asarray(getattr(skimage.data, name)(), np.uint8)


def write_wav(path: Path, samples: NDArray[np.float64], rate: int = 16000) -> Path:
    """Write mono samples in [-1, 1] as PCM 16 bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def read_wav(path: Path) -> NDArray[np.float64]:
    """The samples in [-1, 1] of a WAV that must be PCM 16 bit, 16 kHz, mono."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def tone(seconds: float, hertz: float = 220.0, rate: int = 16000) -> NDArray[np.float64]:
    """A sine at half of full scale."""
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate))


def sliding(photo: Image, width: int, height: int, frames: int) -> list[Image]:
    """A window moving over a photo, 2 pixels a frame."""
    return [np.ascontiguousarray(photo[i : i + height, 2 * i : 2 * i + width]) for i in range(frames)]


def halved(image: Image) -> Image:
    """The image at half its size, each pixel the mean of four."""
    height, width, _ = image.shape
    return np.asarray(image.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3)) + 0.5, np.uint8)


def write_clip(
    path: Path,
    frames: Iterable[Image],
    *,
    rate: Fraction = NTSC,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    sound: str | None = "aac",
    sound_seconds: float = 0.5,
    sound_rate: int = 44100,
    rotation: int = 0,
) -> Path:
    """Write RGB frames, and a tone as sound, in the container that the file's name asks for."""
    with av.open(str(path), "w") as output:
        images = list(frames)
        options = {"crf": "8"} if codec == "libx264" else {}
        video = cast(av.VideoStream, output.add_stream(codec, rate=rate, options=options))
        video.height, video.width, _ = images[0].shape
        video.pix_fmt = pix_fmt
        if rotation:
            video.set_display_rotation(rotation)
        audio = None
        if sound is not None:
            audio = cast(av.AudioStream, output.add_stream(sound, rate=sound_rate, layout="mono"))
            pcm = np.round(tone(sound_seconds, rate=sound_rate) * 32767).astype(np.int16)[np.newaxis, :]
            samples = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            samples.sample_rate = sound_rate
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            frame.time_base = 1 / rate
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio is not None:
            output.mux(audio.encode(samples))
            output.mux(audio.encode(None))
    return path


def decoded(path: Path) -> list[Image]:
    """All frames as (height, width, 3) RGB."""
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, exactly, in seconds."""
    with av.open(str(path)) as container:
        return [
            Fraction(frame.pts * frame.time_base)
            for frame in container.decode(video=0)
            if frame.pts is not None and frame.time_base is not None
        ]


def sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """The audio packets as they are stored, with their times in seconds."""
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(audio=0)
            if packet.size and packet.pts is not None
        ]
