"""Stand-in: video, sound and upscaling as node classes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import folder_paths
import numpy as np
from nodes import content_of_input, files_of_input, scaled, to_bytes

Ui = dict[str, Any]
Audio = dict[str, Any]
"""``waveform``: batch, channels, samples; ``sample_rate`` in Hz."""


class VideoFile:
    """A video that is read when somebody wants its frames, as ComfyUI's is."""

    def __init__(self, path: str) -> None:
        self.path = path

    def parts(self) -> tuple[Any, Audio | None, float]:
        with av.open(self.path) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or 25)
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        audio = read_audio(self.path)
        return np.stack(frames).astype(np.float32) / 255, audio, fps


class VideoParts:
    """A video made of frames."""

    def __init__(self, images: Any, audio: Audio | None, fps: float) -> None:
        self._parts = images, audio, fps

    def parts(self) -> tuple[Any, Audio | None, float]:
        return self._parts


def read_audio(path: str) -> Audio | None:
    with av.open(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        planar = av.AudioResampler(format="fltp")
        decoded = itertools.chain(container.decode(stream), (None,))
        blocks = [part.to_ndarray() for frame in decoded for part in planar.resample(frame)]
        return {"waveform": np.concatenate(blocks, axis=1)[None], "sample_rate": stream.rate}


def sound(audio: Audio, form: str) -> Iterator[av.AudioFrame]:
    samples = np.ascontiguousarray(np.asarray(audio["waveform"])[0], np.float32)
    layout = "mono" if samples.shape[0] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
    frame.sample_rate = audio["sample_rate"]
    frame.pts = 0
    yield from av.AudioResampler(format=form).resample(frame)


class LoadVideo:
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "load"
    CATEGORY = "image/video"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"file": (files_of_input(), {"video_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, file: str) -> bool | str:
        return folder_paths.exists_annotated_filepath(file) or f"Invalid video file: {file}"

    @classmethod
    def IS_CHANGED(cls, file: str) -> float:
        return Path(folder_paths.get_annotated_filepath(file)).stat().st_mtime

    def load(self, file: str) -> tuple[VideoFile]:
        return (VideoFile(folder_paths.get_annotated_filepath(file)),)


class GetVideoComponents:
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT")
    FUNCTION = "take_apart"
    CATEGORY = "image/video"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"video": ("VIDEO",)}}

    def take_apart(self, video: Any) -> tuple[Any, Audio | None, float]:
        images, audio, fps = video.parts()
        return images, audio, fps


class CreateVideo:
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "create"
    CATEGORY = "image/video"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {
            "required": {"images": ("IMAGE",), "fps": ("FLOAT", {"default": 30.0, "min": 1.0, "max": 120.0})},
            "optional": {"audio": ("AUDIO",)},
        }

    def create(self, images: Any, fps: float, audio: Audio | None = None) -> tuple[VideoParts]:
        return (VideoParts(images, audio, fps),)


class SaveVideo:
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True
    CATEGORY = "image/video"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {
            "required": {
                "video": ("VIDEO",),
                "filename_prefix": ("STRING", {"default": "video/ComfyUI"}),
                "format": (["auto", "mp4"], {"default": "auto"}),
                "codec": (["auto", "h264"], {"default": "auto"}),
            }
        }

    def save(self, video: Any, filename_prefix: str, format: str, codec: str) -> Ui:
        images, audio, fps = video.parts()
        root = folder_paths.get_output_directory()
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, root)
        file = f"{name}_{counter:05}_.mp4"
        frames = to_bytes(images)
        with av.open(str(Path(folder, file)), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            heard = container.add_stream("aac", rate=audio["sample_rate"]) if audio else None
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
            if audio and heard:
                for block in sound(audio, "fltp"):
                    container.mux(heard.encode(block))
                container.mux(heard.encode(None))
        return {
            "ui": {
                "images": [{"filename": file, "subfolder": subfolder, "type": "output"}],
                "animated": (True,),
            }
        }


class UpscaleModelLoader:
    RETURN_TYPES = ("UPSCALE_MODEL",)
    FUNCTION = "load_model"
    CATEGORY = "loaders"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"model_name": (folder_paths.get_filename_list("upscale_models"),)}}

    def load_model(self, model_name: str) -> tuple[str | None]:
        return (folder_paths.get_full_path("upscale_models", model_name),)


class ImageUpscaleWithModel:
    """Enlarges twice, without any model: bicubic."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"
    CATEGORY = "image/upscaling"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"upscale_model": ("UPSCALE_MODEL",), "image": ("IMAGE",)}}

    def upscale(self, upscale_model: Any, image: Any) -> tuple[Any]:
        return (scaled(image, image.shape[2] * 2, image.shape[1] * 2),)


class LoadAudio:
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "load"
    CATEGORY = "audio"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {"required": {"audio": (files_of_input(), {"audio_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, audio: str) -> bool | str:
        return folder_paths.exists_annotated_filepath(audio) or f"Invalid audio file: {audio}"

    @classmethod
    def IS_CHANGED(cls, audio: str) -> str:
        return str(content_of_input(audio))

    def load(self, audio: str) -> tuple[Audio | None]:
        return (read_audio(folder_paths.get_annotated_filepath(audio)),)


class SaveAudio:
    RETURN_TYPES = ()
    FUNCTION = "save_flac"
    OUTPUT_NODE = True
    CATEGORY = "audio"

    @classmethod
    def INPUT_TYPES(cls) -> Ui:
        return {
            "required": {"audio": ("AUDIO",), "filename_prefix": ("STRING", {"default": "audio/ComfyUI"})}
        }

    def save_flac(self, audio: Audio, filename_prefix: str) -> Ui:
        root = folder_paths.get_output_directory()
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, root)
        file = f"{name}_{counter:05}_.flac"
        with av.open(str(Path(folder, file)), "w") as container:
            stream = container.add_stream("flac", rate=audio["sample_rate"])
            for block in sound(audio, "s16"):
                container.mux(stream.encode(block))
            container.mux(stream.encode(None))
        return {"ui": {"audio": [{"filename": file, "subfolder": subfolder, "type": "output"}]}}


_KINDS = (
    LoadVideo, GetVideoComponents, CreateVideo, SaveVideo, UpscaleModelLoader, ImageUpscaleWithModel,
    LoadAudio, SaveAudio,
)  # fmt: skip
NODE_CLASS_MAPPINGS: dict[str, Any] = {kind.__name__: kind for kind in _KINDS}
