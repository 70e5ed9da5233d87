"""Pictures and sounds from storage as tensors, in the layout ComfyUI's nodes expect.

torch, numpy, Pillow and PyAV are imported when a function is called: the ingestor, the API and the command
line import this package without them.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import BadMedia, EngineUnavailable

if TYPE_CHECKING:
    import torch

    from .storage import Storage

MAX_FILE_BYTES = 2 << 30
"""A picture or reference voice larger than this is a mistake, and would be read in whole."""

MAX_PIXELS = 8192 * 8192
"""Checked before a picture is decoded: a small file can claim an enormous canvas."""

MAX_AUDIO_SECONDS = 3600.0
"""Longest sound decoded: minutes of silence compress to almost nothing."""

# Formats Pillow decodes by itself; some others start external programs.
_PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# Containers that hold their own sound. A playlist (hls, concat) would name further files to read.
_SOUND_FORMATS = "wav,w64,aiff,au,caf,mp3,aac,flac,ogg,mov,mp4,m4a,matroska,webm,amr,avi,mpegts"
_EXTRAS = {"torch": "gpu", "numpy": "preview", "PIL": "preview", "av": "preview"}


def fetch_torch_image(storage: Storage, bucket: str, key: str) -> torch.Tensor:
    """Fetch a picture.

    Returns:
        float32 of shape ``[1, height, width, 3]``, RGB from 0.0 to 1.0.

    Raises:
        BadMedia: The object is no picture, or too large a one.
        EngineUnavailable: An extra is not installed.
        StorageError: As of ``Storage.download``.
    """
    _require("torch", "numpy", "PIL")
    with tempfile.TemporaryDirectory(prefix="picture-") as folder:
        path = storage.download(bucket, key, Path(folder) / "picture", max_bytes=MAX_FILE_BYTES)
        return load_image(path, name=f"{bucket}/{key}")


def fetch_torch_audio(storage: Storage, bucket: str, key: str) -> tuple[torch.Tensor, int]:
    """Fetch a sound, or a video's sound.

    Returns:
        float32 of shape ``[channels, samples]``, usually from -1.0 to 1.0, and the rate in samples a second.

    Raises:
        BadMedia: The object holds no sound that can be decoded, or too long a one.
        EngineUnavailable: An extra is not installed.
        StorageError: As of ``Storage.download``.
    """
    _require("torch", "numpy", "av")
    with tempfile.TemporaryDirectory(prefix="sound-") as folder:
        path = storage.download(bucket, key, Path(folder) / "sound", max_bytes=MAX_FILE_BYTES)
        return load_audio(path, name=f"{bucket}/{key}")


def load_image(path: Path, *, name: str) -> torch.Tensor:
    """Read a picture file: turned as its EXIF says, its first frame, transparency laid over white.

    Args:
        path: The file.
        name: What to call it in errors.

    Returns:
        float32 of shape ``[1, height, width, 3]``, RGB from 0.0 to 1.0.

    Raises:
        BadMedia: Not a picture, broken, or of more than ``MAX_PIXELS``.
        EngineUnavailable: An extra is not installed.
    """
    _require("torch", "numpy", "PIL")
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=_PICTURE_FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise BadMedia(
                    f"{name} is {opened.width} by {opened.height} pixels, the limit is {MAX_PIXELS} in all"
                )
            picture: Image.Image = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):
                # Pillow would cut the 16 bits of such a picture off at 255, not scale them.
                grey = np.asarray(picture, dtype=np.float32) / 65535.0
                pixels = np.repeat(grey.clip(0.0, 1.0)[:, :, None], 3, axis=2)
            else:
                if picture.has_transparency_data:
                    layer = picture.convert("RGBA")
                    picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
                pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255.0
    except Image.DecompressionBombError as exc:
        raise BadMedia(f"{name} claims too many pixels") from exc
    # Pillow's decoders raise all of these on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as exc:
        raise BadMedia(f"{name} cannot be read as a picture: {exc}") from exc
    return torch.from_numpy(pixels).unsqueeze(0)


def load_audio(path: Path, *, name: str) -> tuple[torch.Tensor, int]:
    """Read the first sound of a media file.

    Args:
        path: The file; no other file and no network address is opened, whatever it refers to.
        name: What to call it in errors.

    Returns:
        float32 of shape ``[channels, samples]`` and the rate in samples a second.

    Raises:
        BadMedia: No sound, broken, empty, or longer than ``MAX_AUDIO_SECONDS``.
        EngineUnavailable: An extra is not installed.
    """
    _require("torch", "numpy", "av")
    import av
    import numpy as np
    import torch
    from av.error import FFmpegError

    pieces: list[np.ndarray[Any, Any]] = []
    samples = 0
    options = {"protocol_whitelist": "file", "format_whitelist": _SOUND_FORMATS}
    try:
        with av.open(f"file:{path.absolute()}", options=options) as container:
            if not container.streams.audio:
                raise BadMedia(f"{name} holds no sound")
            stream = container.streams.audio[0]
            rate = stream.rate
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                for part in resampler.resample(frame):
                    pieces.append(part.to_ndarray())
                    samples += part.samples
                if samples > MAX_AUDIO_SECONDS * rate:
                    raise BadMedia(f"{name} is longer than {MAX_AUDIO_SECONDS:.0f} seconds")
            pieces.extend(part.to_ndarray() for part in resampler.resample(None))
    except (FFmpegError, ValueError) as exc:
        raise BadMedia(f"{name} cannot be decoded as sound: {exc}") from exc
    if not pieces:
        raise BadMedia(f"{name} holds no samples")
    return torch.from_numpy(np.concatenate(pieces, axis=1)), rate


def _require(*modules: str) -> None:
    """Raise ``EngineUnavailable``, naming the extras to install, unless all the modules can be imported."""
    missing = []
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(module)
    if missing:
        extras = ",".join(sorted({_EXTRAS[module] for module in missing}))
        raise EngineUnavailable(
            f"{', '.join(missing)} cannot be imported: install myspinbot-worker[{extras}]"
        )
