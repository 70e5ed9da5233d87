"""Loaded with FARM_ACTOR_MODULES: gives the processes of a farm the FAKE ComfyUI of tests/comfy."""

from __future__ import annotations

from myspinbot_worker.comfy import engines
from myspinbot_worker.comfy.engine import ComfyEngine
from myspinbot_worker.settings import Settings
from tests.comfy.fake_engine import FakeComfy

FAKE = FakeComfy()


def comfy_engine(settings: Settings) -> ComfyEngine:
    return FAKE


engines.comfy_engine = comfy_engine
