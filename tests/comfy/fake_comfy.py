"""A FAKE ComfyUI: it computes what a few node classes do with numpy and PyAV, so that real media come out of it.

No model is in it. Prompts are held against a catalog first, as ComfyUI does, and files come in and go out as with a
real engine. A talking head "says" what it was given: a frame's grey tells which frame of the speech it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from myspinbot_worker.comfy.catalog import check, outputs
from myspinbot_worker.comfy.engine import (
    Catalog,
    EngineLost,
    InputFile,
    InvalidPrompt,
    Observer,
    OutputFile,
    Prompt,
    RunResult,
)

Frames = NDArray[np.uint8]
"""(frames, height, width, 3)."""

RATE = 16000
SAMPLES_A_FRAME = RATE // 25
LEVEL = 100
"""Sample value by which the speech of a test grows from frame to frame."""


def grey_of(frame: int) -> int:
    """How a talking head shows that a frame belongs to this frame of the speech."""
    return 30 + 3 * (frame % 70) if frame >= 0 else 0


class FakeComfy:
    """See the module.

    Args:
        catalog: What is installed.
        dies_at: Number of the run (from 1) in which it dies, after the work and before the result is told.
        scale: Factor of its upscaling model.
    """

    def __init__(self, catalog: Catalog, *, dies_at: int = 0, scale: int = 4) -> None:
        self._catalog = catalog
        self._dies_at = dies_at
        self._scale = scale
        self.prompts: list[Prompt] = []
        self.most_frames = 0

    def catalog(self) -> Catalog:
        return self._catalog

    def run(
        self, prompt: Prompt, into: Path, observer: Observer, *, owner: str = "", needs_bytes: int = 0
    ) -> RunResult:
        assert owner
        problems = check(prompt, self._catalog).problems
        if problems:
            raise InvalidPrompt(str(problems[0]))
        self.prompts.append(prompt)
        work = _Work(prompt, into, self._scale)
        files: list[OutputFile] = []
        for node in outputs(prompt, self._catalog):
            observer.check()
            observer.started(node)
            for kind, path in work.output(node):
                files.append(OutputFile(node, kind, path))
            observer.finished(node)
        for node in work.values:
            observer.finished(node)
        self.most_frames = max(self.most_frames, work.most_frames)
        if len(self.prompts) == self._dies_at:
            raise EngineLost("ComfyUI died")
        return RunResult(tuple(files), {}, ())

    def free(self) -> None:
        """There is nothing to let go of."""

    def close(self) -> None:
        """There is nothing to end."""


class _Work:
    def __init__(self, prompt: Prompt, into: Path, scale: int) -> None:
        self.prompt, self.into, self.scale = prompt, into, scale
        self.values: dict[str, tuple[Any, ...]] = {}
        self.most_frames = 0

    def output(self, node: str) -> list[tuple[str, Path]]:
        it = self.prompt[node]
        made = _SAVERS[it["class_type"]](self, self._inputs(node))
        return made

    def _inputs(self, node: str) -> dict[str, Any]:
        return {name: self._value(value) for name, value in self.prompt[node]["inputs"].items()}

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            source, slot = value
            if source not in self.values:
                class_type = self.prompt[source]["class_type"]
                found = self._made(class_type, self._inputs(source))
                self.values[source] = found
                for one in found:
                    if isinstance(one, np.ndarray) and one.ndim == 4:
                        self.most_frames = max(self.most_frames, len(one))
            return self.values[source][slot]
        return value.path if isinstance(value, InputFile) else value

    def _made(self, class_type: str, inputs: dict[str, Any]) -> tuple[Any, ...]:
        """What a node computes; of most it does not matter."""
        return _NODES[class_type](self, inputs) if class_type in _NODES else (class_type,) * 5


def read_frames(path: Path) -> Frames:
    """Every frame of a video as RGB."""
    with av.open(str(path)) as reader:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)])


def read_sound(path: Path) -> NDArray[np.int16]:
    with av.open(str(path)) as reader:
        assert reader.streams.audio[0].rate == RATE
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in reader.decode(audio=0)])


def write_video(path: Path, frames: Frames, rate: Fraction = Fraction(25)) -> Path:
    """H.264, as ComfyUI's SaveVideo writes it."""
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("h264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            output.mux(
                stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p"))
            )
        output.mux(stream.encode(None))
    return path


def _save_video(work: _Work, inputs: Mapping[str, Any]) -> list[tuple[str, Path]]:
    frames, rate = inputs["video"]
    # ComfyUI writes rates in thousandths.
    path = work.into / f"{inputs['filename_prefix']}_00001_.mp4"
    return [("images", write_video(path, frames, Fraction(round(rate * 1000), 1000)))]


def _rate(path: Path) -> float:
    with av.open(str(path)) as reader:
        rate = reader.streams.video[0].average_rate
        assert rate is not None
        return float(rate)


def _save_image(work: _Work, inputs: Mapping[str, Any]) -> list[tuple[str, Path]]:
    written = []
    for number, frame in enumerate(inputs["images"]):
        path = work.into / f"{inputs['filename_prefix']}_{number:05d}_.png"
        with av.open(str(path), "w", format="image2") as output:
            stream = output.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = frame.shape[1], frame.shape[0], "rgb24"
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            output.mux(stream.encode(None))
        written.append(("images", path))
    return written


def _save_audio(work: _Work, inputs: Mapping[str, Any]) -> list[tuple[str, Path]]:
    path = work.into / f"{inputs['filename_prefix']}_00001_.flac"
    with av.open(str(path), "w", format="flac") as output:
        stream = output.add_stream("flac", rate=24000, layout="mono")
        frame = av.AudioFrame.from_ndarray(inputs["audio"].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 24000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return [("audio", path)]


def _save_lora(work: _Work, inputs: Mapping[str, Any]) -> list[tuple[str, Path]]:
    # As ComfyUI's own node: it writes a file and reports none.
    path = work.into / f"{inputs['prefix']}_00001_.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = b'{"lora":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return []


def _scale_image(work: _Work, inputs: Mapping[str, Any]) -> tuple[Frames]:
    images, width, height = inputs["image"], inputs["width"], inputs["height"]
    rows = np.arange(height) * images.shape[1] // height
    columns = np.arange(width) * images.shape[2] // width
    return (images[:, rows][:, :, columns],)


def _spoken(work: _Work, inputs: Mapping[str, Any]) -> tuple[NDArray[np.int16], str]:
    tone = np.sin(np.arange(24000 * len(inputs.get("text", inputs.get("speech", ""))) // 20) / 10)
    return ((32000 * tone).astype(np.int16), "")


def _one_window(work: _Work, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Frames whose grey says which frame of the speech they were given the sound of; motion frames repeated."""
    sound, length, count = inputs["audio_encoder_output_1"], inputs["length"], inputs["motion_frame_count"]
    previous = inputs.get("previous_frames")
    first = 0 if previous is None else len(previous) - count
    frames = np.zeros((length, inputs["height"], inputs["width"], 3), np.uint8)
    for number in range(length):
        heard = sound[(first + number) * SAMPLES_A_FRAME :][:SAMPLES_A_FRAME]
        level = round(float(np.mean(heard)) / LEVEL) if len(heard) else 0
        frames[number] = grey_of(level - 1)
    if previous is not None:
        for number in range(count):
            # The sound of the overlap and the frames handed on must be of the same moments.
            assert abs(int(frames[number].mean()) - int(previous[first + number].mean())) <= 2
        frames[:count] = previous[first:]
    return (
        inputs["model"],
        inputs["positive"],
        inputs["negative"],
        frames,
        count if previous is not None else 0,
    )


def _whole_clip(work: _Work, inputs: Mapping[str, Any]) -> tuple[Frames]:
    talk, sound = inputs["image_embeds"], inputs["multitalk_embeds"]
    frames = np.zeros((len(sound) // SAMPLES_A_FRAME + 8, *talk, 3), np.uint8)
    for number in range(len(sound) // SAMPLES_A_FRAME):
        level = round(float(np.mean(sound[number * SAMPLES_A_FRAME :][:SAMPLES_A_FRAME])) / LEVEL)
        frames[number] = grey_of(level - 1)
    return (frames,)


_SAVERS: dict[str, Callable[[_Work, Mapping[str, Any]], list[tuple[str, Path]]]] = {
    "SaveVideo": _save_video,
    "SaveImage": _save_image,
    "SaveAudio": _save_audio,
    "SaveLoRA": _save_lora,
    "SaveLoRANode": _save_lora,
}

_NODES: dict[str, Callable[[_Work, dict[str, Any]], tuple[Any, ...]]] = {
    "LoadVideo": lambda work, inputs: (inputs["file"],),
    "GetVideoComponents": lambda work, inputs: (read_frames(inputs["video"]), None, _rate(inputs["video"])),
    "CreateVideo": lambda work, inputs: ((inputs["images"], inputs["fps"]),),
    "LoadAudio": lambda work, inputs: (read_sound(inputs["audio"]),),
    "LoadImage": lambda work, inputs: (read_frames(inputs["image"]), None),
    "ImageUpscaleWithModel": lambda work, inputs: (
        inputs["image"].repeat(work.scale, axis=1).repeat(work.scale, axis=2),
    ),
    "ImageScale": _scale_image,
    "FaceRestoreCFWithModel": lambda work, inputs: (inputs["image"],),
    "ImageFromBatch": lambda work, inputs: (
        inputs["image"][inputs["batch_index"] : inputs["batch_index"] + inputs["length"]],
    ),
    "UnifiedTTSTextNode": _spoken,
    "F5TTSAudioInputs": _spoken,
    "AudioEncoderEncode": lambda work, inputs: (inputs["audio"],),
    "WanInfiniteTalkToVideo": _one_window,
    "KSampler": lambda work, inputs: (inputs["latent_image"],),
    "VAEDecode": lambda work, inputs: (inputs["samples"],),
    "VAEDecodeTiled": lambda work, inputs: (inputs["samples"],),
    "MultiTalkWav2VecEmbeds": lambda work, inputs: (inputs["audio_1"],),
    "WanVideoImageToVideoMultiTalk": lambda work, inputs: ((inputs["height"], inputs["width"]),),
    "WanVideoSampler": _whole_clip,
    "WanVideoDecode": lambda work, inputs: (inputs["samples"],),
}
