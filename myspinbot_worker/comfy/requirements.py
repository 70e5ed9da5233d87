"""Which variant of a pipeline can run with what is installed, and what is missing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EngineUnavailable
from .catalog import Pack, check
from .engine import Catalog
from .parameters import LoraSettings, Settings, SpeechSettings, TalkSettings, UpscaleSettings, fields_of
from .prompts import lora_prompt, speech_prompt, talk_clip_prompt, talk_window_prompt, upscale_prompt
from .template import Template, unfilled
from .windows import Window

_FILE = Path("file")
_PACKS = (
    Pack(
        "TTS-Audio-Suite",
        "https://github.com/diodiogod/TTS-Audio-Suite",
        ("CharacterVoicesNode", "F5TTSEngineNode", "UnifiedTTSTextNode"),
    ),
    Pack("ComfyUI-F5-TTS", "https://github.com/niknah/ComfyUI-F5-TTS", ("F5TTSAudioInputs",)),
    Pack("facerestore_cf", "https://github.com/mav-rik/facerestore_cf", ("FaceRestore*",)),
    Pack(
        "ComfyUI-WanVideoWrapper",
        "https://github.com/kijai/ComfyUI-WanVideoWrapper",
        ("WanVideo*", "LoadWanVideo*", "MultiTalk*", "Wav2VecModelLoader"),
    ),
)
"""The packs that bring classes of the workflows which are not ComfyUI's own."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to serve a pipeline.

    Attributes:
        prompts: Every prompt it may have to run, with some files in it.
    """

    name: str
    prompts: Callable[[Any, Catalog], tuple[Template, ...]]


def _speech(variant: str) -> Variant:
    return Variant(
        variant,
        lambda settings, catalog: (
            speech_prompt(variant, settings, catalog, reference=_FILE, reference_text="a", text="b"),
        ),
    )


def _talk_windows(settings: TalkSettings, catalog: Catalog) -> tuple[Template, ...]:
    motion = motion_frames(settings, "core")
    size = settings.window_frames
    first, last = Window(0, 0, size, 0, size), Window(1, size - motion, size, motion, size - motion)
    return (
        talk_window_prompt(
            settings, catalog, first, portrait=_FILE, speech=_FILE, motion=None, carried=motion
        ),
        talk_window_prompt(
            settings, catalog, last, portrait=_FILE, speech=_FILE, motion=_FILE, carried=motion
        ),
    )


def _talk_clip(settings: TalkSettings, catalog: Catalog) -> tuple[Template, ...]:
    motion = motion_frames(settings, "wan_video_wrapper")
    return (talk_clip_prompt(settings, catalog, 81, portrait=_FILE, speech=_FILE, motion_frames=motion),)


def _lora(variant: str) -> Variant:
    pictures = [(_FILE, "a"), (_FILE, "b")]
    return Variant(
        variant, lambda settings, catalog: (lora_prompt(variant, settings, catalog, pictures, prefix="p"),)
    )


VARIANTS: Mapping[str, tuple[Variant, ...]] = {
    "speech": (_speech("tts_audio_suite"), _speech("f5_tts")),
    "talking_head": (Variant("core", _talk_windows), Variant("wan_video_wrapper", _talk_clip)),
    "upscale": (
        Variant(
            "core",
            lambda settings, catalog: (
                upscale_prompt(settings, catalog, chunk=_FILE, width=512, height=512),
            ),
        ),
    ),
    "lora": (_lora("core"), _lora("core_2025")),
}
"""The pipelines, each with its variants in order of preference."""

SETTINGS: Mapping[str, type[Settings]] = {
    "speech": SpeechSettings,
    "talking_head": TalkSettings,
    "upscale": UpscaleSettings,
    "lora": LoraSettings,
}


def motion_frames(settings: TalkSettings, variant: str) -> int:
    """Frames by which windows overlap: as asked for, or what the variant's nodes were made for."""
    if settings.motion_frames is not None:
        return settings.motion_frames
    return min(9 if variant == "core" else 25, settings.window_frames - 4)


def missing(pipeline: str, catalog: Catalog, params: Settings | None = None) -> tuple[str, ...]:
    """What keeps a pipeline from running, one line each; empty if one of its variants can run.

    Args:
        pipeline: ``speech``, ``talking_head``, ``upscale`` or ``lora``.
        params: What is asked for; the defaults if absent.
    """
    settings = params if params is not None else SETTINGS[pipeline]()
    lines: list[str] = []
    for variant in _asked_for(pipeline, settings):
        lacking = _lacking(variant, pipeline, catalog, settings)
        if not lacking:
            return ()
        lines += [f"{pipeline} ({variant.name}): {line}" for line in lacking]
    return tuple(lines)


def choose(pipeline: str, catalog: Catalog, settings: Settings) -> str:
    """The name of the first variant that can run.

    Raises:
        EngineUnavailable: None can; ``details["missing"]`` says what each lacks.
    """
    for variant in _asked_for(pipeline, settings):
        if not _lacking(variant, pipeline, catalog, settings):
            return variant.name
    lines = missing(pipeline, catalog, settings)
    raise EngineUnavailable(
        f"ComfyUI cannot serve {pipeline}: {lines[0]}"
        + (f" (and {len(lines) - 1} more)" if lines[1:] else ""),
        details={"missing": list(lines)},
    )


def _asked_for(pipeline: str, settings: Settings) -> tuple[Variant, ...]:
    wanted = getattr(settings, "variant", "auto")
    return tuple(variant for variant in VARIANTS[pipeline] if wanted in ("auto", variant.name))


def _lacking(variant: Variant, pipeline: str, catalog: Catalog, settings: Settings) -> tuple[str, ...]:
    lines: dict[str, None] = {}
    if (pipeline, variant.name) == ("speech", "f5_tts"):
        lines |= dict.fromkeys(_beyond_f5_tts(settings))
    marker = "upscale" if pipeline == "upscale" else variant.name
    fields = fields_of(type(settings), marker)
    for prompt in variant.prompts(settings, catalog):
        empty = unfilled(prompt)
        for problem in check(prompt, catalog, _PACKS).problems:
            address = f"{problem.node}.{problem.input}"
            if address not in empty:
                lines[str(problem)] = None
        for address in empty:
            node, _, name = address.partition(".")
            if (class_type := prompt[node]["class_type"]) in catalog:
                field = fields.get(address, address)
                lines[f"{class_type} has no file for its {name} whose name fits; name one in {field}"] = None
    return tuple(lines)


def _beyond_f5_tts(settings: Settings) -> list[str]:
    """Settings that this pack cannot be asked for; silently left out they would surprise."""
    able = {"voice_model", "seed", "speed"}
    return [
        f"the pack ComfyUI-F5-TTS cannot set {name}"
        for name, info in SpeechSettings.model_fields.items()
        if name not in able and getattr(settings, name) != info.default
    ]
