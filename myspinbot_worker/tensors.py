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
from .media.source import audio_of
from .media_limits import media_limits

if TYPE_CHECKING:
    import torch

    from .storage import Storage

MAX_FILE_BYTES = 2 << 30
"""A picture or reference voice larger than this is a mistake, and would be read in whole."""

MAX_SOUND_BYTES = 4 << 30
"""Most memory of a decoded sound: an hour of silence in many channels at a high rate compresses to almost nothing."""

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
        BadMedia: Not a picture, broken, or of more than ``farm.max_image_pixels``.
        EngineUnavailable: An extra is not installed.
    """
    _require("torch", "numpy", "PIL")
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=_PICTURE_FORMATS) as opened:
            media_limits().check_size(name, opened.width, opened.height)
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
        raise BadMedia(
            f"{name} has more pixels than the {media_limits().image_pixels} of farm.max_image_pixels"
        ) from exc
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
        BadMedia: No sound, broken, empty, or longer than ``farm.max_media_seconds``.
        EngineUnavailable: An extra is not installed.
    """
    _require("torch", "numpy", "av")
    import av
    import numpy as np
    import torch
    from av.error import FFmpegError

    pieces: list[np.ndarray[Any, Any]] = []
    samples = taken = 0
    limits = media_limits()
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _SOUND_FORMATS,
        # While opening, a decoder may look at a video's first frame.
        "max_pixels": str(limits.image_pixels),
    }
    try:
        with av.open(f"file:{path.absolute()}", options=options) as container:
            stream = audio_of(container, name)
            rate = stream.rate
            if stream.duration is not None and stream.time_base is not None:
                limits.check_length(name, float(stream.duration * stream.time_base))
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                for part in resampler.resample(frame):
                    pieces.append(part.to_ndarray())
                    samples += part.samples
                    taken += pieces[-1].nbytes
                limits.check_length(name, samples / rate)
                if taken > MAX_SOUND_BYTES:
                    raise BadMedia(f"{name} takes more than {MAX_SOUND_BYTES >> 30} GiB when decoded")
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
