"""The platform's pipelines on one ComfyUI."""

from __future__ import annotations

from ..engines import EngineSet
from .engine import ComfyEngine
from .lora import ComfyLoraTrainer
from .speech import ComfySpeech
from .talking_head import ComfyTalkingHead
from .upscale import ComfyUpscaler


def comfy_engine_set(comfy: ComfyEngine) -> EngineSet:
    """The engines of a process whose work is done by ComfyUI."""
    return EngineSet(
        ComfySpeech(comfy), ComfyTalkingHead(comfy), ComfyUpscaler(comfy), ComfyLoraTrainer(comfy)
    )
