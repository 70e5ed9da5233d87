"""What a graph may ask of the pipelines: one model each, whose fields say which inputs of which workflow they set.

Every field has the platform's default, so that a graph that asks for nothing gets what the platform always made. The
preview engines ignore all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..capability import Payload
from .engine import Catalog
from .signatures import choices
from .template import Template

MAX_SEED = 2**32 - 1
"""The largest seed that every sampler of these workflows takes."""


class Sets:
    """Beside a field's type: the inputs it sets, ``"node.input"`` by name of the workflow's variant."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = addresses


class Picks(Sets):
    """As :class:`Sets`, for a model's file: unset, it is the first of those that are there whose name holds one of
    ``words`` (the first word first, upper and lower case alike)."""

    def __init__(self, *words: str, **addresses: str) -> None:
        super().__init__(**addresses)
        self.words = words


class Settings(Payload):
    """Base of the pipelines' settings."""


def _markers(settings: Settings, variant: str) -> list[tuple[str, Sets, str]]:
    return [
        (name, marker, marker.addresses[variant])
        for name, info in type(settings).model_fields.items()
        for marker in info.metadata
        if isinstance(marker, Sets) and variant in marker.addresses
    ]


def values_of(settings: Settings, variant: str, template: Template, catalog: Catalog) -> dict[str, Any]:
    """``"node.input"`` → value, for every field that the variant knows and whose node the template has.

    A model's file that is neither set nor there stays ``None``.
    """
    values: dict[str, Any] = {}
    for name, marker, address in _markers(settings, variant):
        node, _, input_name = address.partition(".")
        if node not in template:
            continue
        value = getattr(settings, name)
        if value is None and isinstance(marker, Picks):
            value = _picked(choices(catalog, template[node]["class_type"], input_name), marker.words)
        if value is not None or isinstance(marker, Picks):
            values[address] = value
    return values


def fields_of(settings: type[Settings], variant: str) -> Mapping[str, str]:
    """``"node.input"`` → the field that sets it."""
    return {
        marker.addresses[variant]: name
        for name, info in settings.model_fields.items()
        for marker in info.metadata
        if isinstance(marker, Sets) and variant in marker.addresses
    }


def _picked(names: tuple[str, ...], words: tuple[str, ...]) -> str | None:
    for word in words:
        for name in sorted(names):
            if word.lower() in name.lower():
                return name
    return None


_SEED = "Random seed; the same one gives the same result on the same machine."
_PREVIEW = " The preview engine ignores it."


def _described(text: str) -> str:
    return text + _PREVIEW


class SpeechSettings(Settings):
    """Speech by F5-TTS."""

    voice_model: Annotated[
        str | None,
        Picks("F5TTS_v1_Base", "F5v1", "F5", tts_audio_suite="engine.language", f5_tts="speak.model"),
    ] = Field(None, description=_described("The F5-TTS model; the English base model if absent."))
    temperature: Annotated[float, Sets(tts_audio_suite="engine.temperature")] = Field(
        0.8, ge=0.1, le=2.0, description=_described("How freely it speaks.")
    )
    speed: Annotated[float, Sets(tts_audio_suite="engine.speed")] = Field(
        1.0, ge=0.5, le=2.0, description=_described("2.0 speaks twice as fast.")
    )
    target_rms: Annotated[float, Sets(tts_audio_suite="engine.target_rms")] = Field(
        0.1, ge=0.01, le=1.0, description=_described("Loudness, as root mean square of full scale.")
    )
    cross_fade_duration: Annotated[float, Sets(tts_audio_suite="engine.cross_fade_duration")] = Field(
        0.15,
        ge=0.0,
        le=1.0,
        description=_described("Seconds by which pieces of speech are faded into each other."),
    )
    nfe_step: Annotated[int, Sets(tts_audio_suite="engine.nfe_step")] = Field(
        32, ge=1, le=71, description=_described("Steps of the model; more are slower and better.")
    )
    cfg_strength: Annotated[float, Sets(tts_audio_suite="engine.cfg_strength")] = Field(
        2.0, ge=0.0, le=10.0, description=_described("How closely it keeps to text and voice.")
    )
    max_chars_per_chunk: Annotated[int, Sets(tts_audio_suite="speak.max_chars_per_chunk")] = Field(
        400,
        ge=100,
        le=1000,
        description=_described("A longer text is spoken in pieces of so many characters."),
    )
    chunk_combination_method: Annotated[
        Literal["auto", "concatenate", "silence_padding", "crossfade"],
        Sets(tts_audio_suite="speak.chunk_combination_method"),
    ] = Field("auto", description=_described("How the pieces are put together."))
    silence_between_chunks_ms: Annotated[int, Sets(tts_audio_suite="speak.silence_between_chunks_ms")] = (
        Field(
            100,
            ge=0,
            le=500,
            description=_described("Silence between pieces (ms), where they are padded with it."),
        )
    )
    seed: Annotated[int, Sets(tts_audio_suite="speak.seed", f5_tts="speak.seed")] = Field(
        1, ge=1, le=MAX_SEED, description=_described(_SEED)
    )


class TalkSettings(Settings):
    """A talking head by InfiniteTalk."""

    variant: Literal["auto", "core", "wan_video_wrapper"] = Field(
        "auto",
        description=_described(
            "The nodes that make it: ComfyUI's own (core) or the pack WanVideoWrapper; auto takes the first that is "
            "there. Only core makes a video window by window, which can be resumed in the middle."
        ),
    )
    width: Annotated[int, Sets(core="talk.width", wan_video_wrapper="talk.width")] = Field(
        512, ge=128, le=1920, multiple_of=16, description=_described("Width of the video (pixels).")
    )
    height: Annotated[int, Sets(core="talk.height", wan_video_wrapper="talk.height")] = Field(
        512, ge=128, le=1920, multiple_of=16, description=_described("Height of the video (pixels).")
    )
    steps: Annotated[int, Sets(core="sampler.steps", wan_video_wrapper="sampler.steps")] = Field(
        6, ge=1, le=100, description=_described("Sampling steps of a window.")
    )
    cfg: Annotated[float, Sets(core="sampler.cfg", wan_video_wrapper="sampler.cfg")] = Field(
        1.0,
        ge=0.0,
        le=30.0,
        description=_described("Classifier-free guidance; 1.0 is none, as the LoRA wants it."),
    )
    shift: Annotated[float, Sets(core="shift.shift", wan_video_wrapper="sampler.shift")] = Field(
        11.0, ge=0.0, le=100.0, description=_described("Shift of the noise schedule.")
    )
    scheduler: Annotated[str, Sets(wan_video_wrapper="sampler.scheduler")] = Field(
        "dpm++_sde", description=_described("Scheduler of WanVideoWrapper's sampler.")
    )
    sampler: Annotated[str, Sets(core="sampler.sampler_name")] = Field(
        "dpmpp_2m_sde",
        description=_described("Sampler of ComfyUI's own nodes; this one is the pack's dpm++_sde."),
    )
    sampler_scheduler: Annotated[str, Sets(core="sampler.scheduler")] = Field(
        "simple", description=_described("Noise schedule of ComfyUI's own sampler.")
    )
    window_frames: Annotated[int, Sets(wan_video_wrapper="talk.frame_window_size")] = Field(
        81, ge=21, le=257, description=_described("Frames made at one time; 4n + 1.")
    )
    motion_frames: int | None = Field(
        None,
        ge=1,
        le=81,
        description=_described(
            "Frames by which a window goes on from the one before, 4n + 1; absent, what the nodes were made for: 9 "
            "(core, at most 33) or 25 (wan_video_wrapper)."
        ),
    )
    max_seconds: float = Field(
        60.0, gt=0.0, le=600.0, description=_described("Longer speech is refused (s).")
    )
    audio_scale: Annotated[float, Sets(core="talk.audio_scale", wan_video_wrapper="heard.audio_scale")] = (
        Field(1.6, ge=0.0, le=10.0, description=_described("How strongly the speech moves the lips."))
    )
    lora_strength: Annotated[float, Sets(core="lora.strength_model", wan_video_wrapper="lora.strength")] = (
        Field(1.0, ge=0.0, le=2.0, description=_described("Strength of the few-step LoRA; 0 leaves it out."))
    )
    clip_vision: bool = Field(
        True, description=_described("Whether the portrait also conditions the video through CLIP vision.")
    )
    tiled_vae: Annotated[bool, Sets(wan_video_wrapper="decode.enable_vae_tiling")] = Field(
        True, description=_described("Whether frames are decoded in tiles: slower, and with less memory.")
    )
    blocks_swapped: Annotated[int, Sets(wan_video_wrapper="block_swap.blocks_to_swap")] = Field(
        40,
        ge=0,
        le=48,
        description=_described("Blocks of the model kept in RAM (pack only; ComfyUI itself decides)."),
    )
    seed: int = Field(1, ge=0, le=MAX_SEED - 10_000, description=_described(_SEED))
    diffusion_model: Annotated[
        str | None,
        Picks("i2v-14b-480p", "i2v_480p", "i2v", core="unet.unet_name", wan_video_wrapper="model.model"),
    ] = Field(None, description=_described("File of the Wan 2.1 image-to-video model."))
    talk_model: Annotated[
        str | None,
        Picks(
            "infinitetalk-single",
            "infinitetalk",
            "infinite",
            core="patch.name",
            wan_video_wrapper="multitalk.model",
        ),
    ] = Field(None, description=_described("File of the InfiniteTalk weights."))
    lora_model: Annotated[
        str | None,
        Picks(
            "lightx2v_i2v_14b_480p_cfg_step_distill_rank64",
            "lightx2v",
            core="lora.lora_name",
            wan_video_wrapper="lora.lora",
        ),
    ] = Field(None, description=_described("File of the few-step LoRA (lightx2v, rank 64)."))
    text_encoder: Annotated[
        str | None,
        Picks("umt5", core="clip.clip_name", wan_video_wrapper="t5.model_name"),
    ] = Field(None, description=_described("File of the text encoder (umT5 XXL)."))
    vae: Annotated[
        str | None,
        Picks("wan_2.1_vae", "wan2_1_vae", "wan", core="vae.vae_name", wan_video_wrapper="vae.model_name"),
    ] = Field(None, description=_described("File of the Wan 2.1 VAE."))
    clip_vision_model: Annotated[
        str | None,
        Picks(
            "clip_vision_h",
            "vit-h",
            "vit",
            core="clip_vision.clip_name",
            wan_video_wrapper="clip_vision.clip_name",
        ),
    ] = Field(None, description=_described("File of the CLIP vision model (ViT-H)."))
    speech_encoder: Annotated[
        str | None,
        Picks(
            "wav2vec2-chinese",
            "wav2vec2",
            "wav2vec",
            core="audio_encoder.audio_encoder_name",
            wan_video_wrapper="wav2vec.model",
        ),
    ] = Field(None, description=_described("File of the speech encoder (wav2vec 2)."))

    @model_validator(mode="after")
    def _windows_fit(self) -> TalkSettings:
        for name in ("window_frames", "motion_frames"):
            frames = getattr(self, name)
            if frames is not None and frames % 4 != 1:
                raise ValueError(f"{name} is {frames}; it must be one of 1, 5, 9, … (4n + 1)")
        if self.motion_frames is not None and self.motion_frames >= self.window_frames:
            raise ValueError(f"motion_frames is {self.motion_frames}, and a window has {self.window_frames}")
        return self


class UpscaleSettings(Settings):
    """Upscaling by a super-resolution model, frame by frame."""

    scale: float = Field(
        2.0,
        ge=1.0,
        le=4.0,
        description=_described("How many times as wide and high, whatever the model's own factor."),
    )
    upscale_model: Annotated[
        str | None, Picks("realesrgan", "x2", "esrgan", "x4", "", upscale="upscaler.model_name")
    ] = Field(None, description=_described("File of the super-resolution model."))
    restore_faces: bool = Field(
        False, description=_described("Whether faces are restored by CodeFormer (pack facerestore_cf).")
    )
    face_model: Annotated[str | None, Picks("codeformer", upscale="face_model.model_name")] = Field(
        None, description=_described("File of the face restoration model.")
    )
    face_detection: Annotated[
        Literal["retinaface_resnet50", "retinaface_mobile0.25", "YOLOv5l", "YOLOv5n"],
        Sets(upscale="faces.facedetection"),
    ] = Field("retinaface_resnet50", description=_described("What finds the faces."))
    codeformer_fidelity: Annotated[float, Sets(upscale="faces.codeformer_fidelity")] = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description=_described("0 restores most, 1 keeps closest to the face that is there."),
    )
    chunk_frames: int = Field(32, ge=1, le=300, description=_described("Frames in memory at one time."))


class LoraSettings(Settings):
    """Training a LoRA of pictures."""

    base_model: Annotated[
        str | None, Picks("", core="checkpoint.ckpt_name", core_2025="checkpoint.ckpt_name")
    ] = Field(None, description="Checkpoint to train for; the first one there is if absent.")
    resolution: int = Field(
        512,
        ge=64,
        le=2048,
        multiple_of=8,
        description="Pictures are cropped and scaled to squares of so many pixels.",
    )
    steps: Annotated[int, Sets(core="train.steps", core_2025="train.steps")] = Field(
        500, ge=1, le=100_000, description="Training steps."
    )
    learning_rate: Annotated[float, Sets(core="train.learning_rate", core_2025="train.learning_rate")] = (
        Field(5e-4, ge=1e-7, le=1.0, description="Learning rate.")
    )
    rank: Annotated[int, Sets(core="train.rank", core_2025="train.rank")] = Field(
        8, ge=1, le=128, description="Rank of the LoRA's layers."
    )
    batch_size: Annotated[int, Sets(core="train.batch_size", core_2025="train.batch_size")] = Field(
        1, ge=1, le=64, description="Pictures a step."
    )
    grad_accumulation_steps: Annotated[
        int, Sets(core="train.grad_accumulation_steps", core_2025="train.grad_accumulation_steps")
    ] = Field(1, ge=1, le=1024, description="Batches before the weights are changed.")
    optimizer: Annotated[
        Literal["AdamW", "Adam", "SGD", "RMSprop"], Sets(core="train.optimizer", core_2025="train.optimizer")
    ] = Field("AdamW", description="Optimizer.")
    loss_function: Annotated[
        Literal["MSE", "L1", "Huber", "SmoothL1"],
        Sets(core="train.loss_function", core_2025="train.loss_function"),
    ] = Field("MSE", description="Loss.")
    training_dtype: Annotated[
        Literal["bf16", "fp32"], Sets(core="train.training_dtype", core_2025="train.training_dtype")
    ] = Field("bf16", description="Number format while training.")
    lora_dtype: Annotated[
        Literal["bf16", "fp32"], Sets(core="train.lora_dtype", core_2025="train.lora_dtype")
    ] = Field("bf16", description="Number format of the LoRA.")
    algorithm: Annotated[str, Sets(core="train.algorithm", core_2025="train.algorithm")] = Field(
        "LoRA", description="Kind of adapter."
    )
    gradient_checkpointing: Annotated[
        bool, Sets(core="train.gradient_checkpointing", core_2025="train.gradient_checkpointing")
    ] = Field(True, description="Less memory, more time.")
    seed: Annotated[int, Sets(core="train.seed", core_2025="train.seed")] = Field(
        0, ge=0, le=MAX_SEED, description=_SEED
    )
