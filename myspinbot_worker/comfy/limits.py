"""How large a workflow may be, as the settings have it."""

from __future__ import annotations

from ..settings import ComfySettings
from .prompt import PromptLimits


def limits_of(settings: ComfySettings) -> PromptLimits:
    """The limits of ``comfyui.max_workflow_bytes`` and ``comfyui.max_workflow_nodes``."""
    return PromptLimits(settings.max_workflow_bytes, settings.max_workflow_nodes)
