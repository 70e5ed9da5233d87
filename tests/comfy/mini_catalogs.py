"""What ComfyUI's ``/object_info`` says of the classes the pipelines use, written down by hand from its versions.

``core()`` is ComfyUI of July 2026, ``core_2025()`` of October 2025; the packs are of the same time.
"""

from __future__ import annotations

import copy
from typing import Any

Info = dict[str, Any]


def _class(
    output: str = "", *, saves: bool = False, optional: dict[str, Any] | None = None, **required: Any
) -> Info:
    return {
        "input": {"required": required, "optional": optional or {}},
        "output": output.split(),
        "output_node": saves,
        "python_module": "nodes",
    }


def _int(default: int, least: int, most: int) -> list[Any]:
    return ["INT", {"default": default, "min": least, "max": most}]


def _float(default: float, least: float, most: float) -> list[Any]:
    return ["FLOAT", {"default": default, "min": least, "max": most}]


def _old(*choices: str) -> list[Any]:
    return [list(choices), {}]


def _new(*choices: str) -> list[Any]:
    return ["COMBO", {"options": list(choices)}]


_PREFIX = ["STRING", {"default": "ComfyUI"}]
_BOOL = ["BOOLEAN", {"default": False}]
_TEXT = ["STRING", {"multiline": True}]

_SHARED = {
    "LoadImage": _class("IMAGE MASK", image=[[], {"image_upload": True}]),
    "LoadAudio": _class("AUDIO", audio=["COMBO", {"options": [], "audio_upload": True}]),
    "LoadVideo": _class("VIDEO", file=["COMBO", {"options": [], "video_upload": True}]),
    "GetVideoComponents": _class("IMAGE AUDIO FLOAT", video=["VIDEO"]),
    "CreateVideo": _class("VIDEO", images=["IMAGE"], fps=_float(30, 1, 120), optional={"audio": ["AUDIO"]}),
    "SaveVideo": _class(
        saves=True, video=["VIDEO"], filename_prefix=_PREFIX, format=_new("auto", "mp4"), codec=_new("auto", "h264")
    ),
    "SaveAudio": _class(saves=True, audio=["AUDIO"], filename_prefix=_PREFIX),
    "SaveImage": _class(saves=True, images=["IMAGE"], filename_prefix=_PREFIX),
    "ImageScale": _class(
        "IMAGE", image=["IMAGE"], upscale_method=_old("nearest-exact", "bilinear", "area", "bicubic", "lanczos"),
        width=_int(512, 0, 16384), height=_int(512, 0, 16384), crop=_old("disabled", "center"),
    ),
    "ImageFromBatch": _class(
        "IMAGE", image=["IMAGE"], batch_index=_int(0, -16384, 16384), length=_int(1, 1, 4096)
    ),
    "ImageBatch": _class("IMAGE", image1=["IMAGE"], image2=["IMAGE"]),
    "UpscaleModelLoader": _class("UPSCALE_MODEL", model_name=_new("4x-anime.pth", "RealESRGAN_x2plus.pth")),
    "ImageUpscaleWithModel": _class("IMAGE", upscale_model=["UPSCALE_MODEL"], image=["IMAGE"]),
    "CLIPTextEncode": _class("CONDITIONING", text=_TEXT, clip=["CLIP"]),
    "ConditioningCombine": _class("CONDITIONING", conditioning_1=["CONDITIONING"], conditioning_2=["CONDITIONING"]),
    "VAEEncode": _class("LATENT", pixels=["IMAGE"], vae=["VAE"]),
    "VAEDecode": _class("IMAGE", samples=["LATENT"], vae=["VAE"]),
    "VAEDecodeTiled": _class(
        "IMAGE", samples=["LATENT"], vae=["VAE"], tile_size=_int(512, 64, 4096), overlap=_int(64, 0, 4096),
        temporal_size=_int(64, 8, 4096), temporal_overlap=_int(8, 4, 4096),
    ),
    "CheckpointLoaderSimple": _class("MODEL CLIP VAE", ckpt_name=_old("sd15.safetensors")),
    "CLIPVisionLoader": _class("CLIP_VISION", clip_name=_old("clip_vision_h.safetensors")),
}  # fmt: skip

_TALK = {
    "UNETLoader": _class(
        "MODEL", unet_name=_old("Wan2_1-I2V-14B-480p_fp8.safetensors", "wan2.1_t2v_1.3B.safetensors"),
        weight_dtype=_old("default", "fp8_e4m3fn"),
    ),
    "LoraLoaderModelOnly": _class(
        "MODEL", model=["MODEL"], lora_name=_old("lightx2v_I2V_14B_480p_cfg_step_distill_rank64.safetensors"),
        strength_model=_float(1, -100, 100),
    ),
    "ModelSamplingSD3": _class("MODEL", model=["MODEL"], shift=_float(3, 0, 100)),
    "CLIPLoader": _class(
        "CLIP", clip_name=_old("umt5_xxl_fp8.safetensors"), type=_old("sd3", "wan"),
        optional={"device": _old("default", "cpu")},
    ),
    "VAELoader": _class("VAE", vae_name=_old("wan_2.1_vae.safetensors")),
    "ModelPatchLoader": _class("MODEL_PATCH", name=_old("Wan2_1-InfiniteTalk-Single_fp16.safetensors")),
    "CLIPVisionEncode": _class(
        "CLIP_VISION_OUTPUT", clip_vision=["CLIP_VISION"], image=["IMAGE"], crop=_old("center", "none")
    ),
    "AudioEncoderLoader": _class("AUDIO_ENCODER", audio_encoder_name=_new("wav2vec2-chinese-base_fp16.safetensors")),
    "AudioEncoderEncode": _class("AUDIO_ENCODER_OUTPUT", audio_encoder=["AUDIO_ENCODER"], audio=["AUDIO"]),
    "WanInfiniteTalkToVideo": _class(
        "MODEL CONDITIONING CONDITIONING LATENT INT",
        mode=["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "single_speaker", "inputs": {"required": {}}},
            {"key": "two_speakers", "inputs": {"required": {}, "optional": {"mask_1": ["MASK", {}]}}},
        ]}],
        model=["MODEL", {}], model_patch=["MODEL_PATCH", {}], positive=["CONDITIONING", {}],
        negative=["CONDITIONING", {}], vae=["VAE", {}], width=_int(832, 16, 16384), height=_int(480, 16, 16384),
        length=_int(81, 1, 16384), audio_encoder_output_1=["AUDIO_ENCODER_OUTPUT", {}],
        motion_frame_count=_int(9, 1, 33), audio_scale=_float(1, -10, 10),
        optional={
            "clip_vision_output": ["CLIP_VISION_OUTPUT", {}], "start_image": ["IMAGE", {}],
            "previous_frames": ["IMAGE", {}],
        },
    ),
    "KSampler": _class(
        "LATENT", model=["MODEL"], seed=_int(0, 0, 2**64 - 1), steps=_int(20, 1, 10000), cfg=_float(8, 0, 100),
        sampler_name=_old("euler", "dpmpp_2m_sde"), scheduler=_old("simple", "normal"), positive=["CONDITIONING"],
        negative=["CONDITIONING"], latent_image=["LATENT"], denoise=_float(1, 0, 1),
    ),
}  # fmt: skip


def _train(output: str, **newer: Any) -> Info:
    return _class(
        output, model=["MODEL"], latents=["LATENT"], positive=["CONDITIONING"], batch_size=_int(1, 1, 10000),
        grad_accumulation_steps=_int(1, 1, 1024), steps=_int(16, 1, 100000), learning_rate=_float(5e-4, 1e-7, 1),
        rank=_int(8, 1, 128), optimizer=_old("AdamW", "Adam", "SGD", "RMSprop"),
        loss_function=_old("MSE", "L1", "Huber", "SmoothL1"), seed=_int(0, 0, 2**64 - 1),
        training_dtype=_old("bf16", "fp32"), lora_dtype=_old("bf16", "fp32"), algorithm=_old("LoRA", "LoHa"),
        gradient_checkpointing=_BOOL, existing_lora=["COMBO", {"options": ["[None]"], "default": "[None]"}], **newer,
    )  # fmt: skip


def _save_lora() -> Info:
    return _class(saves=True, lora=["LORA_MODEL"], prefix=_PREFIX, optional={"steps": ["INT", {}]})


def core() -> dict[str, Info]:
    """ComfyUI without any pack, July 2026."""
    newer = {
        "quantized_backward": _BOOL,
        "checkpoint_depth": _int(1, 1, 5),
        "offloading": _BOOL,
        "bucket_mode": _BOOL,
    }
    return copy.deepcopy(
        {
            **_SHARED,
            **_TALK,
            "TrainLoraNode": _train("LORA_MODEL LOSS_MAP INT", **newer, bypass_mode=_BOOL),
            "SaveLoRA": _save_lora(),
        }
    )


def core_2025() -> dict[str, Info]:
    """ComfyUI without any pack, October 2025: no InfiniteTalk, and training under other names."""
    return copy.deepcopy(
        {
            **_SHARED,
            **{name: info for name, info in _TALK.items() if name != "WanInfiniteTalkToVideo"},
            "TrainLoraNode": _train("MODEL LORA_MODEL LOSS_MAP INT"),
            "SaveLoRANode": _save_lora(),
        }
    )


_VOICES = ["none", "David.wav"]


def tts_audio_suite(*, older: bool = False) -> dict[str, Info]:
    """The pack's classes for F5-TTS; the older ones have fewer inputs."""
    trims: dict[str, Any] = (
        {} if older else {"trim_start": _float(0, 0, 1e5), "trim_end": _float(0, 0, 1e5), "customized": _BOOL}
    )
    return {
        "F5TTSEngineNode": _class(
            "TTS_ENGINE", language=_old("F5TTS_Base", "F5TTS_v1_Base", "E2TTS_Base"),
            device=_old("auto", "cuda", "cpu"),
            temperature=_float(0.8, 0.1, 2), speed=_float(1, 0.5, 2), target_rms=_float(0.1, 0.01, 1),
            cross_fade_duration=_float(0.15, 0, 1), nfe_step=_int(32, 1, 71), cfg_strength=_float(2, 0, 10),
        ),
        "CharacterVoicesNode": _class(
            "NARRATOR_VOICE STRING AUDIO", voice_name=_old(*_VOICES), reference_text=_TEXT, **trims,
            optional={"opt_audio_input": ["AUDIO"]},
        ),
        "UnifiedTTSTextNode": _class(
            "AUDIO STRING", TTS_engine=["TTS_ENGINE"], text=_TEXT, narrator_voice=_old(*_VOICES),
            seed=_int(1, 0, 2**32 - 1),
            optional={
                "opt_narrator": ["*"], "enable_chunking": _BOOL, "max_chars_per_chunk": _int(400, 100, 1000),
                "chunk_combination_method": _old("auto", "concatenate", "silence_padding", "crossfade"),
                "silence_between_chunks_ms": _int(100, 0, 500), "enable_audio_cache": _BOOL,
                **({} if older else {"batch_size": _int(0, 0, 32)}),
            },
        ),
    }  # fmt: skip


def f5_tts() -> dict[str, Info]:
    """The pack ComfyUI-F5-TTS."""
    return {
        "F5TTSAudioInputs": _class(
            "AUDIO", sample_audio=["AUDIO"], sample_text=_TEXT, speech=_TEXT, seed=["INT", {"default": 1, "min": -1}],
            model=_old("F5v1", "F5", "E2"), vocoder=_old("auto", "vocos", "bigvgan"), speed=["FLOAT", {"default": 1.0}],
            model_type=_old("F5TTS_Base", "F5TTS_v1_Base"),
        ),
    }  # fmt: skip


def facerestore_cf() -> dict[str, Info]:
    return {
        "FaceRestoreModelLoader": _class("FACERESTORE_MODEL", model_name=_old("codeformer.pth", "GFPGANv1.4.pth")),
        "FaceRestoreCFWithModel": _class(
            "IMAGE", facerestore_model=["FACERESTORE_MODEL"], image=["IMAGE"],
            facedetection=_old("retinaface_resnet50", "retinaface_mobile0.25", "YOLOv5l", "YOLOv5n"),
            codeformer_fidelity=_float(0.5, 0, 1),
        ),
    }  # fmt: skip


def wan_video_wrapper() -> dict[str, Info]:
    """The pack ComfyUI-WanVideoWrapper: what InfiniteTalk needs of it."""
    return {
        "WanVideoBlockSwap": _class(
            "BLOCKSWAPARGS", blocks_to_swap=_int(20, 0, 48), offload_img_emb=_BOOL, offload_txt_emb=_BOOL,
            optional={"use_non_blocking": _BOOL},
        ),
        "WanVideoLoraSelect": _class(
            "WANVIDLORA", lora=_old("lightx2v_I2V_14B_480p_cfg_step_distill_rank64.safetensors"),
            strength=_float(1, -1000, 1000), optional={"prev_lora": ["WANVIDLORA"], "merge_loras": _BOOL},
        ),
        "MultiTalkModelLoader": _class("MULTITALKMODEL", model=_old("Wan2_1-InfiniteTalk-Single_fp16.safetensors")),
        "WanVideoModelLoader": _class(
            "WANVIDEOMODEL", model=_old("Wan2_1-I2V-14B-480p_fp8.safetensors"),
            base_precision=_old("fp32", "bf16", "fp16", "fp16_fast"), quantization=_old("disabled", "fp8_e4m3fn"),
            load_device=_old("main_device", "offload_device"),
            optional={
                "attention_mode": _old("sdpa", "sageattn"), "block_swap_args": ["BLOCKSWAPARGS"],
                "lora": ["WANVIDLORA"], "multitalk_model": ["MULTITALKMODEL"],
            },
        ),
        "WanVideoVAELoader": _class(
            "WANVAE", model_name=_old("Wan2_1_VAE_bf16.safetensors"),
            optional={"precision": _old("fp16", "fp32", "bf16")},
        ),
        "LoadWanVideoT5TextEncoder": _class(
            "WANTEXTENCODER", model_name=_old("umt5-xxl-enc-bf16.safetensors"), precision=_old("fp32", "bf16"),
            optional={
                "load_device": _old("main_device", "offload_device"), "quantization": _old("disabled", "fp8_e4m3fn"),
            },
        ),
        "WanVideoTextEncode": _class(
            "WANVIDEOTEXTEMBEDS", positive_prompt=_TEXT, negative_prompt=_TEXT,
            optional={"t5": ["WANTEXTENCODER"], "force_offload": _BOOL},
        ),
        "WanVideoClipVisionEncode": _class(
            "WANVIDIMAGE_CLIPEMBEDS", clip_vision=["CLIP_VISION"], image_1=["IMAGE"], strength_1=_float(1, 0, 10),
            strength_2=_float(1, 0, 10), crop=_old("center", "disabled"),
            combine_embeds=_old("average", "sum", "concat", "batch"), force_offload=_BOOL,
            optional={"image_2": ["IMAGE"]},
        ),
        "Wav2VecModelLoader": _class(
            "WAV2VECMODEL", model=_old("wav2vec2-chinese-base_fp16.safetensors"),
            base_precision=_old("fp32", "bf16", "fp16"), load_device=_old("main_device", "offload_device"),
        ),
        "MultiTalkWav2VecEmbeds": _class(
            "MULTITALK_EMBEDS AUDIO INT", wav2vec_model=["WAV2VECMODEL"], audio_1=["AUDIO"], normalize_loudness=_BOOL,
            num_frames=_int(81, 1, 10000), fps=_float(25, 1, 60), audio_scale=_float(1, 0, 100),
            audio_cfg_scale=_float(1, 0, 100), multi_audio_type=_old("para", "add"),
        ),
        "WanVideoImageToVideoMultiTalk": _class(
            "WANVIDIMAGE_EMBEDS STRING", vae=["WANVAE"], width=_int(832, 64, 2048), height=_int(480, 64, 29048),
            frame_window_size=_int(81, 1, 10000), motion_frame=_int(25, 1, 10000), force_offload=_BOOL,
            colormatch=_old("disabled", "mkl"),
            optional={
                "start_image": ["IMAGE"], "tiled_vae": _BOOL, "clip_embeds": ["WANVIDIMAGE_CLIPEMBEDS"],
                "mode": _old("auto", "multitalk", "infinitetalk"), "output_path": ["STRING", {"default": ""}],
            },
        ),
        "WanVideoSampler": _class(
            "LATENT LATENT", model=["WANVIDEOMODEL"], image_embeds=["WANVIDIMAGE_EMBEDS"],
            steps=["INT", {"default": 30, "min": 1}], cfg=_float(6, 0, 30), shift=_float(5, 0, 1000),
            seed=_int(0, 0, 2**64 - 1), force_offload=_BOOL, scheduler=_old("unipc", "dpm++", "dpm++_sde", "multitalk"),
            riflex_freq_index=_int(0, 0, 1000),
            optional={"text_embeds": ["WANVIDEOTEXTEMBEDS"], "multitalk_embeds": ["MULTITALK_EMBEDS"]},
        ),
        "WanVideoDecode": _class(
            "IMAGE", vae=["WANVAE"], samples=["LATENT"], enable_vae_tiling=_BOOL, tile_x=_int(272, 40, 2048),
            tile_y=_int(272, 40, 2048), tile_stride_x=_int(144, 32, 2048), tile_stride_y=_int(128, 32, 2048),
            optional={"normalization": _old("default", "minmax")},
        ),
    }  # fmt: skip


def everything() -> dict[str, Info]:
    """ComfyUI of July 2026 with all packs."""
    return core() | tts_audio_suite() | f5_tts() | facerestore_cf() | wan_video_wrapper()
