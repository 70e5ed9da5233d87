"""Which engines serve the tasks of a process: those that the settings name, and never others silently."""

from __future__ import annotations

from functools import cache

from .capability import Registry, Requirement
from .comfy import engines as comfy_engines
from .comfy.availability import Needs, missing_for
from .comfy.pipelines import comfy_engine_set
from .comfy.requirements import missing
from .engines import EngineSet, preview_engine_set
from .settings import Settings

PIPELINES = {
    "generate.f5_to_tts": "speech",
    "generate.infinite_talk": "talking_head",
    "generate.upscale_video": "upscale",
    "train.lora": "lora",
}
"""Service → which of an :class:`.engines.EngineSet` does its work."""

_COMFYUI_ALONE = ("train.lora",)


def on_comfyui(settings: Settings, service: str) -> bool:
    """Whether ComfyUI does the work of one of the farm's own generating services."""
    return settings.farm.engine == "comfyui" and service not in settings.farm.preview_services


@cache
def engines_of(settings: Settings) -> EngineSet:
    """The engines, made once a process.

    Raises:
        EngineUnavailable: ComfyUI is to do some of the work, and the settings name none.
    """
    preview = preview_engine_set()
    served = [name for service, name in PIPELINES.items() if on_comfyui(settings, service)]
    if not served:
        return preview
    comfy = comfy_engine_set(comfy_engines.comfy_engine(settings))
    chosen = {name: getattr(comfy if name in served else preview, name) for name in PIPELINES.values()}
    return EngineSet(**chosen)


def free_engines(settings: Settings) -> None:
    """Let go of loaded models; they are loaded again when they are wanted."""
    engines_of.cache_clear()
    comfy_engines.free_memory(settings)


def missing_services(settings: Settings, registry: Registry) -> dict[str, str]:
    """GPU service → why it cannot run in this process; starts ComfyUI, where one is to do any work."""
    needs: Needs = {
        item.id: item.requires for item in registry if item.kind == "gpu" and item.requires is not None
    }
    lacking: dict[str, str] = {}
    for service, pipeline in PIPELINES.items():
        if on_comfyui(settings, service):
            needs[service] = _requirement(pipeline)
        elif service in _COMFYUI_ALONE:
            lacking[service] = "only ComfyUI can do this, and farm.engine is preview"
    lacking = {service: why for service, why in lacking.items() if registry.get(service) is not None}
    expected = settings.farm.engine == "comfyui" or settings.comfyui.root_dir is not None
    return lacking | missing_for(needs, lambda: comfy_engines.comfy_engine(settings), expected=expected)


def _requirement(pipeline: str) -> Requirement:
    return lambda catalog: missing(pipeline, catalog)
