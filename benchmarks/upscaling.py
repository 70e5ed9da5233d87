"""What a long video costs beside a short one: memory at its peak, and time a frame."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from myspinbot_worker.comfy.engines import comfy_engine
from myspinbot_worker.comfy.upscale import ComfyUpscaler
from myspinbot_worker.config import load_settings
from myspinbot_worker.demo.upscale_model import write_checkpoint
from myspinbot_worker.engines import UpscaleEngine
from myspinbot_worker.media.mp4 import add_h264, create_mp4
from myspinbot_worker.preview.upscale import RealEsrganUpscaler

from .figures import Figure
from .stage import BenchmarkError, Stage

WIDTH, HEIGHT, RATE = 64, 48, 25


def upscaling(stage: Stage) -> Iterator[Figure]:
    """Peak memory and milliseconds a frame, a process a video; on ComfyUI too where ``COMFYUI_ROOT_DIR`` names one."""
    engines = ["preview", *(["comfyui"] if os.environ.get("COMFYUI_ROOT_DIR") else [])]
    videos = {length: _write(stage.folder / f"{length}.mp4", length) for length in stage.effort.videos}
    for engine in engines:
        memory, pace = {}, {}
        for length, video in videos.items():
            stage.say(f"upscaling {length} s of video by {engine}")
            seconds, peak = _measure(engine, video, stage.folder / "large.mp4")
            memory[length], pace[length] = peak / 1e6, 1000 * seconds / (length * RATE)
            what = f"upscaling {length} s of video, {engine}"
            note = f"{WIDTH}x{HEIGHT}, {RATE} frames a second"
            yield Figure("upscaling", f"memory_{engine}_{length}", f"{what}: memory", "MB", (memory[length],))
            yield Figure("upscaling", f"pace_{engine}_{length}", what, "ms/frame", (pace[length],), note)
        short, long = min(videos), max(videos)
        told = f"{long} s to {short} s, {engine}"
        ratios = {"memory": memory[long] / memory[short], "pace": pace[long] / pace[short]}
        for name, ratio in ratios.items():
            yield Figure("upscaling", f"{name}_ratio_{engine}", f"upscaling, {name}: {told}", "x", (ratio,))


def _write(path: Path, seconds: int) -> Path:
    dice = np.random.default_rng(1)
    ground = dice.integers(0, 255, (HEIGHT // 4, WIDTH // 2, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    with create_mp4(path) as output:
        pictures = add_h264(output, WIDTH, HEIGHT, Fraction(RATE), Fraction(1, RATE))
        for number in range(seconds * RATE):
            image = np.ascontiguousarray(np.roll(ground, number, 1)[:, :WIDTH])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            output.mux(pictures.encode(frame))
        output.mux(pictures.encode(None))
    return path


def _measure(engine: str, source: Path, target: Path) -> tuple[float, int]:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.upscaling", engine, str(source), str(target)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if said.returncode:
        raise BenchmarkError(f"upscaling by {engine} failed:\n{said.stderr[-2000:]}")
    seconds, peak = json.loads(said.stdout.splitlines()[-1])
    return float(seconds), int(peak)


class _Steps:
    def progress(self, fraction: float) -> None:
        pass

    def check(self) -> None:
        pass


def _upscale(name: str, source: Path, target: Path) -> None:
    folder = target.parent
    models = folder / "models"
    env = {**os.environ, "COMFYUI_MODEL_DIRS": str(models), "FARM_SCRATCH_DIR": str(folder / "scratch")}
    comfy = None
    engine: UpscaleEngine = RealEsrganUpscaler()
    if name == "comfyui":
        write_checkpoint(models / "upscale_models")
        comfy = comfy_engine(load_settings(env))
        comfy.catalog()
        engine = ComfyUpscaler(comfy)
    start = time.perf_counter()
    engine.upscale(source, target, _Steps())
    took = time.perf_counter() - start
    if comfy is not None:
        comfy.close()
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps([took, sum(peaks) * 1024]))


if __name__ == "__main__":
    _upscale(sys.argv[1], *map(Path, sys.argv[2:]))
