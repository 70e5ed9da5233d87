"""A catalog in small, in ComfyUI's two ways of declaring inputs, with a custom pack beside the core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SCALE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


def node_class(
    required: dict[str, Any],
    output: list[Any],
    *,
    optional: dict[str, Any] | None = None,
    module: str = "nodes",
    saves: bool = False,
    **more: Any,
) -> dict[str, Any]:
    return {
        "input": {"required": required, "optional": optional or {}, "hidden": {"prompt": "PROMPT"}},
        "output": output,
        "output_node": saves,
        "python_module": module,
        **more,
    }


CATALOG: dict[str, Any] = {
    "LoadImage": node_class({"image": [["example.png"], {"image_upload": True}]}, ["IMAGE", "MASK"]),
    "LoadVideo": node_class(
        {"file": ["COMBO", {"options": [], "video_upload": True}]},
        ["VIDEO"],
        module="comfy_extras.nodes_video",
    ),
    "ImageScale": node_class(
        {
            "image": ["IMAGE"],
            "upscale_method": [SCALE_METHODS],
            "width": ["INT", {"default": 512, "min": 0, "max": 16384}],
            "height": ["INT", {"default": 512, "min": 0, "max": 16384}],
            "crop": [["disabled", "center"]],
        },
        ["IMAGE"],
    ),
    "ImageInvert": node_class({"image": ["IMAGE"]}, ["IMAGE"]),
    "SaveImage": node_class(
        {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}, [], saves=True
    ),
    "PreviewImage": node_class({"images": ["IMAGE"]}, [], saves=True),
    "CheckpointLoaderSimple": node_class(
        {"ckpt_name": [["sd15.safetensors", "sub/xl.safetensors"], {}]}, ["MODEL", "CLIP", "VAE"]
    ),
    "UpscaleModelLoader": node_class(
        {"model_name": ["COMBO", {"options": []}]},
        ["UPSCALE_MODEL"],
        module="comfy_extras.nodes_upscale_model",
    ),
    "CLIPTextEncode": node_class(
        {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}, ["CONDITIONING"]
    ),
    "KSampler": node_class(
        {
            "model": ["MODEL"],
            "seed": ["INT", {"min": 0, "max": 2**64 - 1}],
            "steps": ["INT", {"min": 1, "max": 10000}],
            "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}],
            "sampler_name": ["COMBO", {"options": ["euler", "heun"]}],
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "tiled": ["BOOLEAN", {"default": False}],
        },
        ["LATENT"],
    ),
    "MaskOrImage": node_class({"either": ["IMAGE,MASK"], "anything": ["*"]}, ["*"]),
    "Several": node_class({"tags": ["COMBO", {"options": ["a", "b"], "multiselect": True}]}, ["STRING"]),
    "BatchImagesNode": node_class(
        {
            "images": [
                "COMFY_AUTOGROW_V3",
                {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1}},
            ]
        },
        ["IMAGE"],
        module="comfy_extras.nodes_post_processing",
    ),
    "ResizeNode": node_class(
        {
            "input": ["COMFY_MATCHTYPE_V3", {"template": {"allowed_types": "IMAGE,MASK"}}],
            "resize_type": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "to size", "inputs": {"required": {"width": ["INT", {"min": 1, "max": 64}]}}},
                        {"key": "by factor", "inputs": {"required": {"factor": ["FLOAT", {"min": 0.1}]}}},
                    ]
                },
            ],
        },
        ["COMFY_MATCHTYPE_V3"],
        module="comfy_extras.nodes_post_processing",
    ),
    "VHS_VideoCombine": node_class(
        {
            "images": ["IMAGE"],
            "frame_rate": ["FLOAT", {"min": 1}],
            "filename_prefix": ["STRING", {}],
            "save_output": ["BOOLEAN", {}],
        },
        ["VHS_FILENAMES"],
        module="custom_nodes.ComfyUI-VideoHelperSuite",
        saves=True,
    ),
    "VHS_LoadImagesPath": node_class(
        {"directory": ["STRING", {"vhs_path_extensions": []}]},
        ["IMAGE"],
        module="custom_nodes.ComfyUI-VideoHelperSuite",
    ),
    "PaidNode": node_class(
        {"prompt": ["STRING", {"multiline": True}]},
        ["IMAGE"],
        module="comfy_extras.nodes_paid",
        api_node=True,
    ),
    "ApiNode": node_class(
        {"prompt": ["STRING", {"multiline": True}]}, ["IMAGE"], module="comfy_api_nodes.nodes_x"
    ),
}


@cache
def real_catalog() -> dict[str, Any]:
    """The catalog of the checkout in COMFYUI_ROOT_DIR, asked in a process of its own; skips without one.

    Its packages are looked for in COMFYUI_PYTHON, or here.
    """
    root = os.environ.get("COMFYUI_ROOT_DIR")
    if not root:
        pytest.skip("COMFYUI_ROOT_DIR is not set: no real ComfyUI here")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    done = subprocess.run(
        [python, str(Path(__file__).with_name("print_catalog.py")), root],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
