"""Upscaling in ComfyUI: chunk by chunk, so that memory is the same for any length and little is lost with a worker."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..engines import KeptSteps, Steps
from ..errors import BadInput, BadMedia
from ..media.cut import Chunk, cut
from ..media.facts import VideoFacts
from ..media.gate import verify
from ..media.join import join
from ..media.probe import probe
from ..media.promise import VideoPromise
from .engine import Catalog, ComfyEngine
from .made import Chain, keeper, only_file, recipe
from .observing import PromptSteps
from .parameters import UpscaleSettings
from .prompts import upscale_prompt
from .requirements import choose
from .template import Template

_SECONDS = {
    "ImageUpscaleWithModel": 20.0,
    "FaceRestoreCFWithModel": 20.0,
    "SaveVideo": 2.0,
    "UpscaleModelLoader": 1.0,
}
_OWNER = "generate.upscale_video"
_MOST_PIXELS = 4096 * 4096
_UPSCALED = 0.97


@dataclass(frozen=True, slots=True)
class _Work:
    """What all chunks of one video share."""

    source: Path
    seen: VideoFacts
    size: tuple[int, int]
    folder: Path
    catalog: Catalog
    settings: UpscaleSettings
    steps: Steps
    kept: KeptSteps


class ComfyUpscaler:
    """:class:`..engines.UpscaleEngine` by any super-resolution model that ComfyUI loads."""

    def __init__(self, comfy: ComfyEngine) -> None:
        self._comfy = comfy

    def enlarged(self, width: int, height: int, settings: UpscaleSettings | None = None) -> tuple[int, int]:
        """See :meth:`..engines.UpscaleEngine.enlarged`: the size asked for, made even, as H.264 wants it."""
        scale = (settings or UpscaleSettings()).scale
        large = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
        if large[0] * large[1] > _MOST_PIXELS:
            raise BadInput(
                f"the video is {width}x{height}; enlarged by params.scale {scale:g} it would be "
                f"{large[0]}x{large[1]}, more than {_MOST_PIXELS} pixels"
            )
        return large

    def upscale(
        self,
        source: Path,
        destination: Path,
        steps: Steps,
        *,
        settings: UpscaleSettings | None = None,
        kept: KeptSteps | None = None,
    ) -> None:
        """See :meth:`..engines.UpscaleEngine.upscale`.

        Raises:
            UntrueOutput: ComfyUI made other frames than it was asked for.
            FarmError: As :meth:`.engine.ComfyEngine.run`.
        """
        settings = settings or UpscaleSettings()
        found = probe(source, "source video")
        if found.video is None:
            raise BadMedia("source video holds no video")
        size = self.enlarged(found.video.width, found.video.height, settings)
        catalog = self._comfy.catalog()
        choose("upscale", catalog, settings)
        folder = destination.with_name("chunks")
        folder.mkdir(exist_ok=True)
        work = _Work(source, found.video, size, folder, catalog, settings, steps, keeper(kept))
        parts = self._chunks(work, found.sha256)
        join(parts, destination, found.video.rate, source=source, sound=source, check=steps.check)
        shutil.rmtree(folder)
        steps.progress(1.0)

    def _chunks(self, work: _Work, source_sha256: str) -> list[Path]:
        """Every chunk, enlarged; those that were kept are neither cut nor made again."""
        length, frames = work.settings.chunk_frames, work.seen.frames
        parts: list[Path] = []
        cutter = _Cutter(work)
        for number in range(-(-frames // length)):
            work.steps.check()
            first, end = number * length, min(frames, (number + 1) * length)
            prompt = self._prompt(work, work.folder)
            name = Chain(source_sha256, length, recipe(prompt)).name(f"chunk-{number:05d}")
            part = work.kept.fetch(name)
            if part is None:
                chunk = cutter.chunk(number)
                part = self._enlarge(work, chunk, first, end)
                chunk.path.unlink()
                work.kept.keep(name, part)
            parts.append(part)
            work.steps.progress(_UPSCALED * end / frames)
        return parts

    def _enlarge(self, work: _Work, chunk: Chunk, first: int, end: int) -> Path:
        into = work.folder / f"made-{chunk.number}"
        into.mkdir()
        prompt = self._prompt(work, chunk.path)
        start, finish = (_UPSCALED * frame / work.seen.frames for frame in (first, end))
        watch = PromptSteps(work.steps, start, finish, prompt, _SECONDS)
        result = self._comfy.run(prompt, into, watch, owner=_OWNER)
        part = only_file(result, "save").replace(work.folder / f"enlarged-{chunk.number:05d}.mp4")
        shutil.rmtree(into)
        width, height = work.size
        verify(part, VideoPromise(frames=end - first, width=width, height=height, visible=False))
        return part

    def _prompt(self, work: _Work, chunk: Path) -> Template:
        width, height = work.size
        return upscale_prompt(work.settings, work.catalog, chunk=chunk, width=width, height=height)


class _Cutter:
    """Chunks on demand: one after the other, or from any other on, for which what lies before is decoded again."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._next = -1
        self._chunks: Iterator[Chunk] = iter(())

    def chunk(self, number: int) -> Chunk:
        if number != self._next:
            work = self._work
            self._chunks = cut(
                work.source, work.folder, work.settings.chunk_frames, work.seen.rate, start=number
            )
        self._next = number + 1
        return next(self._chunks)
