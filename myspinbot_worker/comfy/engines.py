"""The ComfyUI of a process, as the settings have it: made once, used by all its tasks."""

from __future__ import annotations

import os
from functools import cache

from ..errors import EngineUnavailable
from ..gpu import VISIBLE, list_devices
from ..settings import ComfySettings, Settings
from .capabilities import kept_warm
from .child import ChildSettings
from .embedded import EmbeddedEngine
from .engine import ComfyEngine
from .limits import limits_of
from .workflow import load_folder


def comfy_engine(settings: Settings) -> ComfyEngine:
    """The engine: a server where ``comfyui.url`` names one, otherwise a child process of this one.

    Nothing starts before it is used. The process should own its device by now (:mod:`..gpu`).

    Raises:
        EngineUnavailable: The settings name neither a server nor a checkout.
    """
    return _made(settings)


def free_memory(settings: Settings) -> None:
    """Let the engine go of its models, if there is one by now."""
    if _made.cache_info().currsize:
        _made(settings).free()


@cache
def _made(settings: Settings) -> ComfyEngine:
    given = settings.comfyui
    if given.url is not None:
        # Its libraries come with an extra.
        from .remote import RemoteEngine

        return RemoteEngine(str(given.url), interrupt_seconds=given.interrupt_seconds)
    if given.root_dir is None:
        raise EngineUnavailable("no ComfyUI is set: COMFYUI_ROOT_DIR names a checkout, COMFYUI_URL a server")
    return EmbeddedEngine(
        ChildSettings(
            root=given.root_dir,
            python=given.python,
            arguments=(*given.arguments, *(() if _has_gpu(settings) else ("--cpu",))),
            models=given.model_dirs,
            custom_nodes=given.custom_node_dirs,
            keep_warm=_keep_warm(given),
            idle_free_seconds=given.idle_free_seconds,
            boot_seconds=given.boot_seconds,
        ),
        settings.farm.scratch_dir,
        given.interrupt_seconds,
    )


def _keep_warm(given: ComfySettings) -> tuple[str, ...]:
    """Functions of packs whose results are kept between runs, as the workflows of the settings' folder ask."""
    if given.workflows_dir is None:
        return ()
    return tuple(kept_warm(load_folder(given.workflows_dir, limits_of(given))))


def _has_gpu(settings: Settings) -> bool:
    visible = os.environ.get(VISIBLE)
    return bool(visible) if visible is not None else bool(list_devices(settings.farm.gpu_devices))
