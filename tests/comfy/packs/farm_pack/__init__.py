"""A pack of custom nodes for the tests: each does one thing that real nodes do to a farm. Needs no torch."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any


class FarmSlow:
    """Takes its time, step by step, as a sampler does."""

    CATEGORY = "farm"
    RETURN_TYPES: tuple[str, ...] = ("INT",)
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "steps": ("INT", {"default": 10, "min": 0, "max": 100_000}),
                "seconds": ("FLOAT", {"default": 0.02, "min": 0.0, "max": 600.0}),
            },
            "optional": {"after": ("INT", {"default": 0, "forceInput": True})},
        }

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        """``seconds`` a step."""
        import comfy.utils

        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            time.sleep(seconds)
            bar.update(1)
        return {"ui": {"text": [f"{steps} steps"]}, "result": (steps,)}


class FarmDeaf(FarmSlow):
    """Hears nothing: all in one call of C code."""

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        for _ in range(steps):
            ctypes.CDLL(None).usleep(int(seconds * 1_000_000))
        return {"ui": {}, "result": (steps,)}


class FarmText(FarmSlow):
    """Says something."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": ("STRING", {"default": ""})}}

    def run(self, text: str) -> dict[str, Any]:  # type: ignore[override]
        return {"ui": {"text": [text]}, "result": (len(text),)}


class FarmRaises(FarmSlow):
    """Has a defect."""

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        raise ValueError("broken on purpose")


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


class FarmOutOfMemory(FarmSlow):
    """Wants too much."""

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore of it")


class FarmKills(FarmSlow):
    """Ends its process, as the kernel does when memory is short."""

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


class FarmOrphans(FarmSlow):
    """Ends its process while a program it has started still runs."""

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        subprocess.Popen(["sleep", str(seconds)])
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


class FarmTwice(FarmSlow):
    """Names one file of the input folder twice, and two of one name in the temporary one."""

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        import folder_paths

        told = []
        for place, subfolder in (("input", ""), ("input", ""), ("temp", "a"), ("temp", "b")):
            folder = Path(folder_paths.get_directory_by_type(place), subfolder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "same.txt").write_text(place + subfolder)
            told.append({"filename": "same.txt", "subfolder": subfolder, "type": place})
        return {"ui": {"texts": told}, "result": (steps,)}


class FarmLoads(FarmSlow):
    """Loads its model in every run, as some packs do."""

    def load(self, name: str) -> object:
        return object()

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        self.load("model")
        return {"ui": {"text": ["loaded"]}, "result": (steps,)}


class FarmPoison(FarmSlow):
    """From now on whatever computes on the device fails, as after an illegal access.

    There is no such device here: the farm's own probe stands for all that would compute on it.
    """

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        import nodes

        def fails(*_: Any, **__: Any) -> Any:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        for name, kind in nodes.NODE_CLASS_MAPPINGS.items():
            if name.startswith("MySpinBotCanary"):
                kind.run = fails
        fails()
        return {}


class FarmElsewhere(FarmSlow):
    """Names a file outside of the folders it may write to."""

    def run(self, steps: int, seconds: float, after: int = 0) -> dict[str, Any]:
        outside = {"filename": "passwd", "subfolder": "../../../../../../../../etc", "type": "output"}
        return {"ui": {"images": [outside]}, "result": (steps,)}


_KINDS = (
    FarmSlow, FarmDeaf, FarmText, FarmRaises, FarmOutOfMemory, FarmKills, FarmLoads, FarmPoison,
    FarmElsewhere, FarmOrphans, FarmTwice,
)  # fmt: skip
NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in _KINDS}
