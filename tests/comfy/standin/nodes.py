"""Stand-in: the node classes, those of packs, and a few of ComfyUI's own for images."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import numpy as np
from PIL import Image

log = logging.getLogger(__name__)

Ui = dict[str, Any]


def interrupt_processing(value: bool = True) -> None:
    comfy.model_management.interrupt_current_processing(value)


def files_of_input() -> list[str]:
    folder = Path(folder_paths.get_input_directory())
    return sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []


def content_of_input(name: str) -> str:
    """What a loader is remembered by."""
    return hashlib.sha256(Path(folder_paths.get_annotated_filepath(name)).read_bytes()).hexdigest()


class EmptyImage:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        size = {"default": 512, "min": 1, "max": 16384}
        count = {"default": 1, "min": 1, "max": 4096}
        color = {"default": 0, "min": 0, "max": 0xFFFFFF}
        return {
            "required": {
                "width": ("INT", size), "height": ("INT", size), "batch_size": ("INT", count), "color": ("INT", color),
            }
        }  # fmt: skip

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Any]:
        made = np.empty((batch_size, height, width, 3), np.float32)
        made[:] = [(color >> shift & 255) / 255 for shift in (16, 8, 0)]
        return (made,)


class LoadImage:
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"image": (files_of_input(), {"image_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        return folder_paths.exists_annotated_filepath(image) or f"Invalid image file: {image}"

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return content_of_input(image)

    def load_image(self, image: str) -> tuple[Any, Any]:
        with Image.open(folder_paths.get_annotated_filepath(image)) as opened:
            pixels = np.asarray(opened.convert("RGB"), np.float32)[None] / 255
        return pixels, np.zeros(pixels.shape[:3], np.float32)


class SaveImage:
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    CATEGORY = "image"
    place = "output"

    def __init__(self) -> None:
        # As ComfyUI does; this object serves later prompts too.
        self.root = str(folder_paths.get_directory_by_type(self.place))

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def save_images(self, images: Any, filename_prefix: str = "ComfyUI") -> Ui:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, self.root)
        saved = []
        for number, pixels in enumerate(to_bytes(images), counter):
            file = f"{name}_{number:05}_.png"
            Image.fromarray(pixels).save(Path(folder, file))
            saved.append({"filename": file, "subfolder": subfolder, "type": self.place})
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    place = "temp"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"images": ("IMAGE",)}}


class ImageScale:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"
    CATEGORY = "image"
    methods = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        size = {"default": 512, "min": 0, "max": 16384}
        return {
            "required": {
                "image": ("IMAGE",), "upscale_method": (list(cls.methods),), "width": ("INT", size),
                "height": ("INT", size), "crop": (["disabled", "center"],),
            }
        }  # fmt: skip

    def upscale(self, image: Any, upscale_method: str, width: int, height: int, crop: str) -> tuple[Any]:
        return (scaled(image, width, height),)


class ImageInvert:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image: Any) -> tuple[Any]:
        return (1.0 - image,)


def to_bytes(images: Any) -> Any:
    """Frames as bytes, from packs that bring tensors too."""
    return np.clip(np.rint(np.asarray(images) * 255), 0, 255).astype(np.uint8)


def scaled(images: Any, width: int, height: int) -> Any:
    """Frames of another size, bicubic."""
    frames = [
        Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC) for one in to_bytes(images)
    ]
    return np.stack([np.asarray(one, np.float32) / 255 for one in frames])


NODE_CLASS_MAPPINGS: dict[str, Any] = {
    kind.__name__: kind for kind in (EmptyImage, LoadImage, SaveImage, PreviewImage, ImageScale, ImageInvert)
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}


async def load_custom_node(
    module_path: str, ignore: set[str] | None = None, module_parent: str = "custom_nodes"
) -> bool:
    """Import a pack and take its classes over; whether that worked."""
    path = Path(module_path)
    file = path / "__init__.py" if path.is_dir() else path
    name = f"{module_parent}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return False
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception:
        log.exception("%s could not be loaded", path)
        return False
    for class_name, kind in getattr(module, "NODE_CLASS_MAPPINGS", {}).items():
        kind.RELATIVE_PYTHON_MODULE = name
        NODE_CLASS_MAPPINGS[class_name] = kind
    return True


async def init_extra_nodes(init_custom_nodes: bool = True, init_api_nodes: bool = True) -> list[str]:
    """Load what comes with ComfyUI, then the packs; names of what comes with it and failed."""
    extras = Path(__file__).with_name("comfy_extras")
    failed = [
        file.name
        for file in sorted(extras.glob("nodes_*.py"))
        if not await load_custom_node(str(file), module_parent="comfy_extras")
    ]
    for folder in folder_paths.get_folder_paths("custom_nodes") if init_custom_nodes else ():
        for pack in sorted(Path(folder).glob("*/__init__.py")):
            if not pack.parent.name.endswith(".disabled"):
                await load_custom_node(str(pack.parent))
    return failed
