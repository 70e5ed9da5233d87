"""Which engines the demo works with: previews, or a real ComfyUI for what it has the models for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ..config import load_settings
from ..settings import Settings
from .upscale_model import write_checkpoint


def engine_settings(name: str, folder: Path, say: Callable[[str], None]) -> Mapping[str, str]:
    """The environment of the demo's farm, as far as engines go.

    Args:
        name: ``preview`` or ``comfyui``. For the latter ComfyUI is started once, to see what it can do.
        folder: For the model the demo brings along.
        say: Told which services preview engines serve, and why.

    Raises:
        ConfigError: The settings are wrong.
        EngineUnavailable: There is no ComfyUI, or one that the farm cannot work with.
    """
    if name == "preview":
        return {"FARM_ENGINE": "preview"}
    from ..comfy.requirements import missing
    from ..serving import PIPELINES

    models = folder / "models"
    write_checkpoint(models / "upscale_models")
    given = {"FARM_ENGINE": "comfyui"}
    # A server elsewhere has models of its own, and cannot read ours.
    if not os.environ.get("COMFYUI_URL"):
        given["COMFYUI_MODEL_DIRS"] = ",".join(
            filter(None, (str(models), os.environ.get("COMFYUI_MODEL_DIRS")))
        )
    say("starting ComfyUI, to see what it can do")
    catalog = _catalog(load_settings({**os.environ, **given, "FARM_SCRATCH_DIR": str(folder / "scratch")}))
    previews = []
    for service, pipeline in PIPELINES.items():
        if lacking := missing(pipeline, catalog):
            previews.append(service)
            say(f"{service} on a preview engine: {lacking[0]}")
        else:
            say(f"{service} on ComfyUI")
    return given | {"FARM_PREVIEW_SERVICES": ",".join(previews)}


def _catalog(settings: Settings) -> Mapping[str, Mapping[str, object]]:
    from ..comfy.engines import comfy_engine

    engine = comfy_engine(settings)
    try:
        return engine.catalog()
    finally:
        engine.close()
