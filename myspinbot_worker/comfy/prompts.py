"""The prompts of the pipelines: a template, trimmed to what is asked for, fitted to what is there, filled. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .engine import Catalog, InputFile
from .parameters import LoraSettings, Settings, SpeechSettings, TalkSettings, UpscaleSettings, values_of
from .signatures import adapted
from .template import Template, bypassed, filled, load_template, replaced, without
from .windows import Window

FRAME_RATE = 25
"""Frames per second of a talking head: what the model was trained on."""


def _prompt(
    template: Template, settings: Settings, variant: str, catalog: Catalog, values: Mapping[str, Any]
) -> Template:
    fitting = adapted(template, catalog)
    return filled(filled(fitting, values_of(settings, variant, fitting, catalog)), values)


def speech_prompt(
    variant: str,
    settings: SpeechSettings,
    catalog: Catalog,
    *,
    reference: Path,
    reference_text: str,
    text: str,
) -> Template:
    """A text spoken in the voice of a reference.

    Args:
        variant: ``tts_audio_suite`` or ``f5_tts``.
    """
    values: dict[str, Any] = {"reference.audio": InputFile(reference)}
    if variant == "tts_audio_suite":
        values |= {"voice.reference_text": reference_text, "speak.text": text}
    else:
        # This pack's speed is how long it takes: 2.0 is half as fast.
        values |= {"speak.sample_text": reference_text, "speak.speech": text}
        values["speak.speed"] = round(1 / settings.speed, 2)
    return _prompt(load_template(f"speech_{variant}"), settings, variant, catalog, values)


def talk_window_prompt(
    settings: TalkSettings,
    catalog: Catalog,
    window: Window,
    *,
    portrait: Path,
    speech: Path,
    motion: Path | None,
    carried: int,
    positive: str = "",
    negative: str = "",
) -> Template:
    """One window of a talking head by ComfyUI's own nodes.

    Args:
        speech: Sound from the first frame on that ``motion`` holds, or from the beginning.
        motion: The last frames of the window before, at least as many as the window overlaps.
        carried: How many frames at the window's end to hand back for the next one; 0 for none.
    """
    template = _talk_trimmed(load_template("talk_core"), settings)
    if motion is None:
        template = without(template, ["motion", "motion_frames"])
    if not carried:
        template = without(template, ["carried", "save_motion"])
    if not settings.tiled_vae:
        template = replaced(template, "decode", "VAEDecode", ["samples", "vae"])
    values: dict[str, Any] = {
        "portrait.image": InputFile(portrait),
        "speech.audio": InputFile(speech),
        "positive.text": positive,
        "negative.text": negative,
        "talk.length": window.length,
        "talk.motion_frame_count": max(1, window.overlap),
        # Each window has noise of its own, and the same one whenever it is made.
        "sampler.seed": settings.seed + window.index,
        "new.batch_index": window.overlap,
        "new.length": window.new,
    }
    if motion is not None:
        values["motion.file"] = InputFile(motion)
    if carried:
        values |= {"carried.batch_index": window.length - carried, "carried.length": carried}
    return _prompt(template, settings, "core", catalog, values)


def talk_clip_prompt(
    settings: TalkSettings,
    catalog: Catalog,
    frames: int,
    *,
    portrait: Path,
    speech: Path,
    motion_frames: int,
    positive: str = "",
    negative: str = "",
) -> Template:
    """A whole talking head by the pack WanVideoWrapper, which makes its windows in one go.

    Args:
        speech: Sound as long as ``frames``.
    """
    template = _talk_trimmed(load_template("talk_wan_video_wrapper"), settings)
    values: dict[str, Any] = {
        "portrait.image": InputFile(portrait),
        "speech.audio": InputFile(speech),
        "text.positive_prompt": positive,
        "text.negative_prompt": negative,
        "fitted.width": settings.width,
        "fitted.height": settings.height,
        "heard.num_frames": frames,
        "talk.motion_frame": motion_frames,
        "talk.tiled_vae": settings.tiled_vae,
        "sampler.seed": settings.seed,
        "new.length": frames,
    }
    return _prompt(template, settings, "wan_video_wrapper", catalog, values)


def _talk_trimmed(template: Template, settings: TalkSettings) -> Template:
    if not settings.lora_strength:
        is_core = "model" in template["lora"]["inputs"]
        template = bypassed(template, "lora", "model") if is_core else without(template, ["lora"])
    if not settings.clip_vision:
        template = without(template, ["clip_vision", "seen"])
    return template


def upscale_prompt(
    settings: UpscaleSettings, catalog: Catalog, *, chunk: Path, width: int, height: int
) -> Template:
    """The frames of a chunk, enlarged.

    Args:
        width, height: Of the result (pixels).
    """
    template = load_template("upscale")
    if not settings.restore_faces:
        template = without(bypassed(template, "faces", "image"), ["face_model"])
    values = {"clip.file": InputFile(chunk), "scaled.width": width, "scaled.height": height}
    return _prompt(template, settings, "upscale", catalog, values)


def lora_prompt(
    variant: str,
    settings: LoraSettings,
    catalog: Catalog,
    pictures: Sequence[tuple[Path, str]],
    *,
    prefix: str,
) -> Template:
    """A LoRA trained on pictures and their captions.

    Args:
        variant: ``core`` or ``core_2025`` (how ComfyUI called the nodes until the end of 2025).
        pictures: At least one.
    """
    template = load_template(f"train_lora_{variant}")
    values: dict[str, Any] = {"save.prefix": prefix}
    # ComfyUI's nodes for folders see only folders below its input: pictures are loaded one by one instead.
    chained = {
        "fitted": ("ImageBatch", "image1", "image2"),
        "caption": ("ConditioningCombine", "conditioning_1", "conditioning_2"),
    }
    ends = {"fitted": ["fitted", 0], "caption": ["caption", 0]}
    for number, (path, caption) in enumerate(pictures):
        suffix = f"_{number}" if number else ""
        values |= {
            f"image{suffix}.image": InputFile(path),
            f"caption{suffix}.text": caption,
            f"fitted{suffix}.width": settings.resolution,
            f"fitted{suffix}.height": settings.resolution,
        }
        if not number:
            continue
        for node in ("image", "fitted", "caption"):
            copied = load_template(f"train_lora_{variant}")[node]
            if node == "fitted":
                copied["inputs"]["image"] = [f"image{suffix}", 0]
            template[f"{node}{suffix}"] = copied
        for node, (joiner, first, second) in chained.items():
            template[f"{node}_joined{suffix}"] = {
                "class_type": joiner,
                "inputs": {first: ends[node], second: [f"{node}{suffix}", 0]},
            }
            ends[node] = [f"{node}_joined{suffix}", 0]
    template["encoded"]["inputs"]["pixels"] = ends["fitted"]
    template["train"]["inputs"]["positive"] = ends["caption"]
    return _prompt(template, settings, variant, catalog, values)
