"""Training a LoRA by ComfyUI's own nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..engines import KeptSteps, Steps
from ..errors import BadOutput
from .engine import ComfyEngine, RunResult
from .made import Chain, files_of, keeper, recipe
from .observing import PromptSteps
from .parameters import LoraSettings
from .prompts import lora_prompt
from .requirements import choose

_SECONDS = {"TrainLoraNode": 100.0, "CheckpointLoaderSimple": 2.0}
_OWNER = "train.lora"


class ComfyLoraTrainer:
    """:class:`..engines.LoraTrainer` by ``TrainLoraNode``, which trains in one go: it is not resumed in the middle."""

    def __init__(self, comfy: ComfyEngine) -> None:
        self._comfy = comfy

    def train(
        self,
        pictures: Sequence[tuple[Path, str]],
        destination: Path,
        steps: Steps,
        *,
        settings: LoraSettings | None = None,
        kept: KeptSteps | None = None,
    ) -> None:
        """See :meth:`..engines.LoraTrainer.train`.

        Raises:
            FarmError: As :meth:`.engine.ComfyEngine.run`.
        """
        settings = settings or LoraSettings()
        catalog = self._comfy.catalog()
        variant = choose("lora", catalog, settings)
        name = Chain(recipe(lora_prompt(variant, settings, catalog, pictures, prefix="lora")))
        for path, _ in pictures:
            name.add_file(path)
        steps.check()
        made = keeper(kept).fetch(name.name("lora"))
        if made is None:
            into = destination.with_name("training")
            into.mkdir(exist_ok=True)
            # A name of its own for each run, or ComfyUI would not write a file that it wrote before.
            prompt = lora_prompt(variant, settings, catalog, pictures, prefix=f"lora-{uuid4().hex}")
            result = self._comfy.run(
                prompt, into, PromptSteps(steps, 0.0, 0.98, prompt, _SECONDS), owner=_OWNER
            )
            made = _written(result, into)
            keeper(kept).keep(name.name("lora"), made)
        require_safetensors(made)
        made.replace(destination)
        steps.progress(1.0)


def _written(result: RunResult, into: Path) -> Path:
    """The file of the LoRA: ComfyUI's node writes one and reports none, so it is looked for."""
    found = [file.path for file in files_of(result, "save")] or sorted(into.rglob("*.safetensors"))
    if len(found) != 1:
        raise BadOutput(
            f"training left {len(found) or 'no'} files, one was expected; a remote ComfyUI does not tell of a LoRA it "
            "saved, so this service needs an embedded one"
        )
    return found[0]


def require_safetensors(path: Path) -> None:
    """Make sure that a file holds tensors, by its header: length, JSON, and as many bytes as it promises.

    Raises:
        BadOutput: It does not.
    """

    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header: Any = json.loads(file.read(length)) if 2 <= length <= size - 8 else {}
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise BadOutput(f"{path.name} is no safetensors file") from None
    if not ends or 8 + length + max(ends) != size:
        raise BadOutput(f"{path.name} holds {size} bytes, its header says otherwise")
