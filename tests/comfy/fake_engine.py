"""A FAKE ComfyUI for tests of what runs prompts: a handful of node classes made of Pillow, in this process.

It has the catalog of :mod:`.catalogs`, makes real pictures, reports events as an engine does, keeps outputs of nodes
whose inputs did not change, and looks at ``observer.check()`` between any two steps. It validates nothing.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from myspinbot_worker.comfy.engine import Catalog, InputFile, Observer, OutputFile, Prompt, RunResult
from myspinbot_worker.comfy.prompt import links
from tests.comfy.catalogs import CATALOG, node_class

WAITING = {"Wait": node_class({"images": ["IMAGE"], "steps": ["INT", {"min": 1}]}, ["IMAGE"])}
"""A node that takes its time: a hundredth of a second a step, with a bar."""


class FakeComfy:
    """See the module.

    Attributes:
        ran: Every prompt that was run, with its owner.
        fails_with: Raised by the next output node instead of writing.
        pictures: How many pictures an output node writes.
    """

    def __init__(self) -> None:
        self.ran: list[tuple[Prompt, str]] = []
        self.fails_with: Exception | None = None
        self.pictures = 1
        self.closed = False
        self._cache: dict[str, Any] = {}

    def catalog(self) -> Catalog:
        return CATALOG | WAITING

    def run(
        self, prompt: Prompt, into: Path, observer: Observer, *, owner: str = "", needs_bytes: int = 0
    ) -> RunResult:
        self.ran.append((prompt, owner))
        seconds: dict[str, float] = {}
        files: list[OutputFile] = []
        order = _in_order(prompt)
        signatures = {id_: _signature(prompt, id_) for id_ in order}
        cached = tuple(id_ for id_ in order if signatures[id_] in self._cache)
        observer.cached(cached)
        for id_ in order:
            observer.check()
            if id_ in cached:
                continue
            observer.started(id_)
            began = time.monotonic()
            made = self._node(prompt, id_, signatures, into, observer)
            seconds[id_] = time.monotonic() - began
            observer.finished(id_)
            if isinstance(made, list):
                files += made
            else:
                self._cache[signatures[id_]] = made
        return RunResult(tuple(files), seconds, cached)

    def _node(
        self, prompt: Prompt, id_: str, signatures: dict[str, str], into: Path, observer: Observer
    ) -> Any:
        given = dict(prompt[id_]["inputs"])
        for name, link in links(prompt[id_]):
            given[name] = self._cache[signatures[link.source]]
        match prompt[id_]["class_type"]:
            case "LoadImage":
                assert isinstance(given["image"], InputFile)
                with Image.open(given["image"].path) as picture:
                    return picture.convert("RGB")
            case "ImageScale":
                return given["image"].resize((given["width"], given["height"]))
            case "ImageInvert":
                return ImageOps.invert(given["image"])
            case "Wait":
                for step in range(given["steps"]):
                    observer.check()
                    time.sleep(0.01)
                    observer.progressed(id_, step + 1, given["steps"])
                return given["images"]
            case "SaveImage":
                if self.fails_with is not None:
                    raise self.fails_with
                found = []
                for number in range(self.pictures):
                    path = into / f"{given['filename_prefix']}_{id_}_{number}.png"
                    given["images"].save(path)
                    found.append(OutputFile(id_, "images", path))
                return found
            case other:
                raise AssertionError(f"the fake has no {other}")

    def free(self) -> None:
        self._cache.clear()

    def close(self) -> None:
        self.closed = True


def _in_order(prompt: Prompt) -> list[str]:
    order: list[str] = []
    while len(order) < len(prompt):
        order += [
            id_
            for id_, node in prompt.items()
            if id_ not in order and all(link.source in order for _, link in links(node))
        ]
    return order


def _signature(prompt: Prompt, id_: str) -> str:
    above = {link.source: _signature(prompt, link.source) for _, link in links(prompt[id_])}
    return json.dumps([prompt[id_], above], default=str, sort_keys=True)
