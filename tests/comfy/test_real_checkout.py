"""What only a real ComfyUI can show: that it still is what the farm takes it for."""

from __future__ import annotations

import pytest

from .harness import Running


@pytest.mark.comfyui
def test_its_classes_are_those_that_the_workflows_are_made_of(embedded: Running) -> None:
    catalog = embedded.engine.catalog()
    wanted = {"LoadVideo", "GetVideoComponents", "UpscaleModelLoader", "ImageUpscaleWithModel", "SaveVideo"}
    assert wanted <= set(catalog)
    assert len(catalog) > 300
