"""What each pipeline needs of what is installed, told line by line; and the prompts that are built for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from myspinbot_worker.comfy.catalog import check
from myspinbot_worker.comfy.engine import InputFile
from myspinbot_worker.comfy.parameters import (
    LoraSettings,
    Settings,
    SpeechSettings,
    TalkSettings,
    UpscaleSettings,
    fields_of,
)
from myspinbot_worker.comfy.prompts import (
    lora_prompt,
    speech_prompt,
    talk_clip_prompt,
    talk_window_prompt,
    upscale_prompt,
)
from myspinbot_worker.comfy.requirements import SETTINGS, VARIANTS, choose, missing
from myspinbot_worker.comfy.template import Template, bypassed, filled, load_template, unfilled, without
from myspinbot_worker.comfy.windows import plan_windows
from myspinbot_worker.errors import EngineUnavailable

from . import mini_catalogs as catalogs

FILE = Path("file.wav")


def can_run(prompt: Template, catalog: dict[str, Any]) -> None:
    assert unfilled(prompt) == ()
    found = check(prompt, catalog)
    assert [str(problem) for problem in found.problems] == []
    assert [str(warning) for warning in found.warnings] == []


@pytest.mark.parametrize("pipeline", VARIANTS)
def test_with_everything_installed_nothing_is_missing(pipeline: str) -> None:
    assert missing(pipeline, catalogs.everything()) == ()


def test_what_comfyui_has_by_itself() -> None:
    assert missing("talking_head", catalogs.core()) == ()
    assert missing("upscale", catalogs.core_2025()) == ()
    assert choose("talking_head", catalogs.core(), TalkSettings()) == "core"
    assert choose("lora", catalogs.core(), LoraSettings()) == "core"
    assert choose("lora", catalogs.core_2025(), LoraSettings()) == "core_2025"
    assert choose("talking_head", catalogs.core_2025() | catalogs.wan_video_wrapper(), TalkSettings()) == (
        "wan_video_wrapper"
    )
    assert choose("speech", catalogs.core() | catalogs.f5_tts(), SpeechSettings()) == "f5_tts"


def test_a_missing_pack_is_named() -> None:
    lines = missing("speech", catalogs.core())
    assert any("F5TTSEngineNode" in line and "install the pack TTS-Audio-Suite" in line for line in lines)
    assert any("F5TTSAudioInputs" in line and "install the pack ComfyUI-F5-TTS" in line for line in lines)


def test_a_missing_class_and_the_pack_that_would_do_instead_are_named() -> None:
    lines = missing("talking_head", catalogs.core_2025())
    assert any(
        line.startswith("talking_head (core): ") and "WanInfiniteTalkToVideo" in line for line in lines
    )
    assert any("WanVideoSampler" in line and "ComfyUI-WanVideoWrapper" in line for line in lines)


def test_a_missing_model_file_is_told_with_the_field_that_would_name_one() -> None:
    catalog = catalogs.core()
    catalog["ModelPatchLoader"]["input"]["required"]["name"] = [["other.safetensors"], {}]
    (line,) = missing("talking_head", catalog, TalkSettings(variant="core"))
    assert line == (
        "talking_head (core): ModelPatchLoader has no file for its name whose name fits; name one in talk_model"
    )
    (line,) = missing("talking_head", catalog, TalkSettings(variant="core", talk_model="mine.safetensors"))
    assert "'mine.safetensors' is missing" in line
    named = TalkSettings(variant="core", talk_model="other.safetensors")
    assert missing("talking_head", catalog, named) == ()


def test_an_input_that_the_installed_version_lacks_is_told() -> None:
    catalog = catalogs.core()
    del catalog["WanInfiniteTalkToVideo"]["output"][3:]
    (line, *_) = missing("talking_head", catalog, TalkSettings(variant="core"))
    assert "output 3" in line


def test_a_newer_version_that_wants_more_is_told() -> None:
    catalog = catalogs.core()
    catalog["ImageUpscaleWithModel"]["input"]["required"]["strength"] = ["FLOAT", {}]
    (line,) = missing("upscale", catalog)
    assert "'strength'" in line
    # One with a default takes it.
    catalog["ImageUpscaleWithModel"]["input"]["required"]["strength"] = ["FLOAT", {"default": 1.0}]
    assert missing("upscale", catalog) == ()


def test_faces_want_their_pack_only_when_asked_for() -> None:
    assert missing("upscale", catalogs.core()) == ()
    lines = missing("upscale", catalogs.core(), UpscaleSettings(restore_faces=True))
    assert len(lines) == 2
    assert all("facerestore_cf" in line for line in lines)
    assert missing("upscale", catalogs.everything(), UpscaleSettings(restore_faces=True)) == ()


def test_what_a_simpler_pack_cannot_be_asked_for_is_not_silently_left_out() -> None:
    catalog = catalogs.core() | catalogs.f5_tts()
    lines = missing("speech", catalog, SpeechSettings(nfe_step=16))
    assert "speech (f5_tts): the pack ComfyUI-F5-TTS cannot set nfe_step" in lines
    with pytest.raises(EngineUnavailable, match="cannot serve speech") as caught:
        choose("speech", catalog, SpeechSettings(nfe_step=16))
    assert list(lines) == caught.value.details["missing"]
    assert missing("speech", catalog, SpeechSettings(speed=1.5, seed=9)) == ()


class TestPrompts:
    @pytest.mark.parametrize("older", [False, True])
    def test_speech(self, older: bool) -> None:
        catalog = catalogs.core() | catalogs.tts_audio_suite(older=older)
        settings = SpeechSettings(temperature=0.5, seed=7)
        prompt = speech_prompt(
            "tts_audio_suite",
            settings,
            catalog,
            reference=FILE,
            reference_text="Hello.",
            text="Good evening.",
        )
        can_run(prompt, catalog)
        assert prompt["engine"]["inputs"] == {
            "language": "F5TTS_v1_Base", "device": "auto", "temperature": 0.5, "speed": 1.0, "target_rms": 0.1,
            "cross_fade_duration": 0.15, "nfe_step": 32, "cfg_strength": 2.0,
        }  # fmt: skip
        assert prompt["speak"]["inputs"]["text"] == "Good evening."
        assert prompt["speak"]["inputs"]["seed"] == 7
        assert prompt["voice"]["inputs"]["reference_text"] == "Hello."
        assert ("trim_start" in prompt["voice"]["inputs"]) is not older

    def test_speech_by_the_simpler_pack_whose_speed_is_upside_down(self) -> None:
        catalog = catalogs.core() | catalogs.f5_tts()
        prompt = speech_prompt(
            "f5_tts",
            SpeechSettings(speed=2.0),
            catalog,
            reference=FILE,
            reference_text="Hello.",
            text="Good evening.",
        )
        can_run(prompt, catalog)
        assert prompt["speak"]["inputs"]["speed"] == 0.5

    @pytest.mark.parametrize("frames", [1, 60, 81, 82, 1500])
    @pytest.mark.parametrize(
        "settings",
        [
            TalkSettings(),
            TalkSettings(lora_strength=0, clip_vision=False, tiled_vae=False, motion_frames=33),
        ],
    )
    def test_each_window_of_a_talking_head(self, frames: int, settings: TalkSettings) -> None:
        catalog = catalogs.core()
        windows = plan_windows(frames, settings.window_frames, settings.motion_frames or 9)
        for window in windows:
            is_last = window is windows[-1]
            prompt = talk_window_prompt(
                settings, catalog, window, portrait=FILE, speech=FILE, motion=FILE if window.index else None,
                carried=0 if is_last else 34, positive="a cat", negative="blur",
            )  # fmt: skip
            can_run(prompt, catalog)
            talk, sampler = prompt["talk"]["inputs"], prompt["sampler"]["inputs"]
            assert talk["length"] == window.length
            assert ("previous_frames" in talk) is bool(window.index)
            assert sampler["seed"] == settings.seed + window.index
            assert (prompt["new"]["inputs"]["batch_index"], prompt["new"]["inputs"]["length"]) == (
                window.overlap,
                window.new,
            )
            assert ("save_motion" in prompt) is not is_last
            assert (prompt["positive"]["inputs"]["text"], prompt["negative"]["inputs"]["text"]) == (
                "a cat",
                "blur",
            )

    def test_the_defaults_of_a_talking_head_are_the_platforms(self) -> None:
        catalog = catalogs.everything()
        prompt = talk_clip_prompt(TalkSettings(), catalog, 1500, portrait=FILE, speech=FILE, motion_frames=25)
        can_run(prompt, catalog)
        sampler, talk = prompt["sampler"]["inputs"], prompt["talk"]["inputs"]
        assert [sampler[name] for name in ("steps", "cfg", "shift", "scheduler")] == [
            6,
            1.0,
            11.0,
            "dpm++_sde",
        ]
        assert [talk[name] for name in ("width", "height", "frame_window_size", "motion_frame")] == [
            512,
            512,
            81,
            25,
        ]
        assert prompt["heard"]["inputs"]["audio_scale"] == 1.6
        assert prompt["lora"]["inputs"] == {
            "lora": "lightx2v_I2V_14B_480p_cfg_step_distill_rank64.safetensors", "strength": 1.0,
        }  # fmt: skip
        assert prompt["block_swap"]["inputs"]["blocks_to_swap"] == 40
        assert talk["tiled_vae"] is prompt["decode"]["inputs"]["enable_vae_tiling"] is True
        assert "seen" in prompt

    def test_upscaling(self) -> None:
        catalog = catalogs.everything()
        settings = UpscaleSettings(restore_faces=True, codeformer_fidelity=0.7)
        prompt = upscale_prompt(settings, catalog, chunk=FILE, width=64, height=48)
        can_run(prompt, catalog)
        assert prompt["upscaler"]["inputs"]["model_name"] == "RealESRGAN_x2plus.pth"
        assert prompt["faces"]["inputs"]["codeformer_fidelity"] == 0.7
        plain = upscale_prompt(UpscaleSettings(), catalog, chunk=FILE, width=64, height=48)
        can_run(plain, catalog)
        assert plain["video"]["inputs"]["images"] == ["scaled", 0]

    @pytest.mark.parametrize("pictures", [1, 2, 7])
    @pytest.mark.parametrize(
        ("variant", "catalog"), [("core", catalogs.core()), ("core_2025", catalogs.core_2025())]
    )
    def test_training(self, pictures: int, variant: str, catalog: dict[str, Any]) -> None:
        given = [(Path(f"{number}.png"), f"caption {number}") for number in range(pictures)]
        prompt = lora_prompt(variant, LoraSettings(), catalog, given, prefix="mine")
        can_run(prompt, catalog)
        loaded = [it["inputs"]["image"] for it in prompt.values() if it["class_type"] == "LoadImage"]
        assert loaded == [InputFile(path) for path, _ in given]
        captions = [it["inputs"]["text"] for it in prompt.values() if it["class_type"] == "CLIPTextEncode"]
        assert captions == [caption for _, caption in given]


class TestTemplates:
    @pytest.mark.parametrize("pipeline", VARIANTS)
    def test_every_field_sets_an_input_that_there_is(self, pipeline: str) -> None:
        names = {
            ("speech", "tts_audio_suite"): "speech_tts_audio_suite", ("speech", "f5_tts"): "speech_f5_tts",
            ("talking_head", "core"): "talk_core", ("talking_head", "wan_video_wrapper"): "talk_wan_video_wrapper",
            ("upscale", "upscale"): "upscale", ("lora", "core"): "train_lora_core",
            ("lora", "core_2025"): "train_lora_core_2025",
        }  # fmt: skip
        for (which, variant), name in names.items():
            if which == pipeline:
                template = load_template(name)
                for address in fields_of(SETTINGS[pipeline], variant):
                    node, _, input_name = address.partition(".")
                    assert input_name in template[node]["inputs"], address

    def test_filling_an_input_that_there_is_not_is_an_error(self) -> None:
        with pytest.raises(KeyError):
            filled(load_template("upscale"), {"clip.files": 1})
        with pytest.raises(KeyError):
            without(load_template("upscale"), ["clips"])

    def test_templates_are_not_changed_by_their_use(self) -> None:
        before = load_template("upscale")
        without(before, ["faces"])
        bypassed(before, "faces", "image")
        filled(before, {"clip.file": 1})
        assert before == load_template("upscale")


class TestSettings:
    @pytest.mark.parametrize(
        ("model", "given", "said"),
        [
            (TalkSettings, {"window_frames": 80}, "window_frames is 80"),
            (TalkSettings, {"motion_frames": 10}, "motion_frames is 10"),
            (TalkSettings, {"window_frames": 21, "motion_frames": 21}, "motion_frames is 21"),
            (TalkSettings, {"width": 500}, "width"),
            (SpeechSettings, {"nfe_step": 0}, "nfe_step"),
            (SpeechSettings, {"max_chars_per_chunk": 50}, "max_chars_per_chunk"),
            (UpscaleSettings, {"scale": 9}, "scale"),
            (LoraSettings, {"rank": 0}, "rank"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(
        self, model: type[Settings], given: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ValueError, match=said):
            model.model_validate(given)
