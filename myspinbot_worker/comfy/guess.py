"""A first binding for an exported workflow, guessed from its loaders, savers and literals; a person edits it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from .engine import Catalog, Prompt
from .input_specs import is_model_file, specs_of
from .problems import short
from .prompt import link_of, links

_SUFFIXES = {
    "image": {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"},
    "audio": {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"},
    "video": {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"},
}
_LOADED_AS = {"image": "image", "mask": "image", "audio": "audio", "video": "video"}
_SAVED_AS = (
    ("video", ("video", "webm")),
    ("audio", ("audio",)),
    ("image", ("image", "png", "webp")),
)

_NUMBERS: dict[str, tuple[str, float | None, float | None]] = {
    "width": ("integer", 16, 8192), "height": ("integer", 16, 8192), "length": ("integer", 1, 10_000),
    "steps": ("integer", 1, 200), "batch_size": ("integer", 1, 64), "cfg": ("number", 0, 30),
    "guidance": ("number", 0, 100), "denoise": ("number", 0, 1), "strength": ("number", 0, 10),
    "fps": ("number", 1, 120), "frame_rate": ("number", 1, 120), "shift": ("number", 0, 100),
    "duration": ("number", 0, 3600), "seconds": ("number", 0, 3600), "audio_scale": ("number", 0, 10),
}  # fmt: skip
_TEXTS = frozenset(
    {"text", "prompt", "positive", "negative", "positive_prompt", "negative_prompt", "tags", "lyrics"}
)


@dataclass(frozen=True, slots=True)
class Guess:
    """A binding to begin with.

    Attributes:
        binding: As it is written down.
        notes: What was guessed and what to look at, one line each.
    """

    binding: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def text(self, export: str) -> str:
        """The file: YAML with the notes above it."""
        head = [f"Guessed from {export} by 'myspinbot-worker workflow add'. Look at:", *self.notes]
        lines = "".join(f"# {short(line)}\n" for line in head)
        return lines + yaml.safe_dump(self.binding, sort_keys=False, allow_unicode=True, width=100)


def guess(prompt: Prompt, service: str, catalog: Catalog | None = None) -> Guess:
    """Guess what a workflow's params, inputs and outputs are.

    Args:
        service: The id of the service it becomes.
        catalog: Tells the bounds of numbers; without it they are what is usual.
    """
    found = _Guesses(prompt, catalog or {})
    for id_ in prompt:
        found.node(id_)
    found.outputs_at_last()
    binding: dict[str, Any] = {
        "id": service,
        "label": service.rpartition(".")[2].replace("_", " ").capitalize(),
        "description": "What it does, for the planner and for people.",
        "version": "1.0.0",
        "kind": "gpu",
        "timeoutSeconds": 3600,
    }
    for name, part in (("params", found.params), ("inputs", found.inputs), ("outputs", found.outputs)):
        if part:
            binding[name] = part
    return Guess(binding, [*found.notes, *found.left()])


class _Guesses:
    def __init__(self, prompt: Prompt, catalog: Catalog) -> None:
        self._prompt = prompt
        self._catalog = catalog
        self.params: dict[str, Any] = {}
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.notes: list[str] = ["description and label: say what it does"]
        self._previews: list[str] = []
        self._left: list[str] = []
        self._seeds: dict[int, str] = {}
        self._roles = dict(_roles(prompt))

    def node(self, id_: str) -> None:
        node = self._prompt[id_]
        name, given = str(node["class_type"]), node["inputs"]
        if "filename_prefix" in given:
            self._output(id_, name)
        elif name.lower().startswith("preview"):
            self._previews.append(id_)
        for key, value in given.items():
            if (
                link_of(value) is None
                and key != "filename_prefix"
                and not self._literal(id_, name, key, value)
            ):
                self._leave(id_, name, key, value)

    def _literal(self, id_: str, name: str, key: str, value: Any) -> bool:
        if isinstance(value, str) and (media := _loads(name, key, value)) is not None:
            called = self._free(f"{media}Artifact", self.inputs, id_)
            self.inputs[called] = {"node": id_, "input": key, "from": "input", "media": media}
            self.notes.append(
                f"inputs.{called}: the {media} of node {id_} ({name}); 'from: params' if the plan gives it"
            )
            return True
        if (
            isinstance(value, str)
            and (key in _TEXTS or "textencode" in name.lower())
            and not is_model_file(value)
        ):
            called = self._free(self._roles.get(id_) or _camel(self._title(id_)) or key, self.params, id_)
            self.params[called] = {"node": id_, "input": key, "type": "string"}
            self.notes.append(f"params.{called}: the text of node {id_} ({self._title(id_)})")
            return True
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(id_, name, key, value)
        return False

    def _number(self, id_: str, name: str, key: str, value: float) -> bool:
        if (key == "seed" or key.endswith("_seed")) and isinstance(value, int):
            if value in self._seeds:
                # The same number in two places was meant to be the same.
                entry = self.params[self._seeds[value]]
                entry.setdefault("targets", []).append({"node": id_, "input": key})
                return True
            called = self._free("seed", self.params, id_)
            self._seeds[value] = called
            self.params[called] = {"node": id_, "input": key, "type": "seed"}
            self.notes.append(f"params.{called}: drawn at random when a job gives none")
            return True
        if key not in _NUMBERS:
            return False
        kind, least, most = _NUMBERS[key]
        spec = specs_of(self._catalog.get(name), {}).get(key)
        if spec is not None:
            least, most = (
                new if new is not None else old for new, old in zip(spec.bounds, (least, most), strict=True)
            )
        if kind == "integer" and not isinstance(value, int):
            kind = "number"
        called = self._free(_camel(key), self.params, id_)
        bounds = {"minimum": _at_most(least, value), "maximum": _at_least(most, value)}
        self.params[called] = {"node": id_, "input": key, "type": kind, **bounds, "default": value}
        self.notes.append(
            f"params.{called}: {bounds['minimum']} to {bounds['maximum']} of node {id_} ({name})"
        )
        return True

    def _output(self, id_: str, name: str) -> None:
        media = next(
            (kind for kind, words in _SAVED_AS if any(word in name.lower() for word in words)), "file"
        )
        called = self._free(f"{media}Artifact", self.outputs, id_)
        self.outputs[called] = {"node": id_, "bucket": "output"}
        self.notes.append(
            f"outputs.{called}: what node {id_} ({name}) writes; 'many: true' if it writes several files"
        )
        if self._prompt[id_]["inputs"].get("save_output") is False:
            self.notes.append(f"node {id_}: save_output is off, so it writes a preview only")

    def outputs_at_last(self) -> None:
        """Previews count where nothing is saved."""
        if self.outputs:
            return
        for id_ in self._previews:
            self._output(id_, str(self._prompt[id_]["class_type"]))
            self.notes.append(f"node {id_} is a preview: a node that saves is surer")

    def _leave(self, id_: str, name: str, key: str, value: Any) -> None:
        if is_model_file(value):
            self.notes.append(f"node {id_} ({name}) needs the model file {value}")
        else:
            self._left.append(f"{id_}.{key}")

    def left(self) -> Iterator[str]:
        if self._left:
            told = ", ".join(self._left[:30]) + (", …" if len(self._left) > 30 else "")
            yield f"left as they are (bind more under params): {told}"

    def _title(self, id_: str) -> str:
        meta = self._prompt[id_].get("_meta")
        title = meta.get("title") if isinstance(meta, Mapping) else None
        return title if isinstance(title, str) and title else str(self._prompt[id_]["class_type"])

    def _free(self, name: str, taken: Mapping[str, Any], id_: str) -> str:
        """A name that is not taken: as it is, with the node's title, or with a number."""
        for called in (name, _camel(f"{self._title(id_)} {name}")):
            if called and called not in taken:
                return called
        return next(
            f"{name}{number}" for number in range(2, len(taken) + 3) if f"{name}{number}" not in taken
        )


def _loads(name: str, key: str, value: str) -> str | None:
    """The medium that a loader's input names a file of."""
    if "load" not in name.lower() or is_model_file(value):
        return None
    suffix = PurePosixPath(value.split(" [")[0]).suffix.lower()
    for media, suffixes in _SUFFIXES.items():
        if suffix in suffixes:
            return media
    for word, media in _LOADED_AS.items():
        if re.fullmatch(rf"Load{word}", name, re.IGNORECASE) and key in ("file", word, "image"):
            return media
    return None


def _roles(prompt: Prompt) -> Iterator[tuple[str, str]]:
    """Nodes that feed an input called positive or negative, and which."""
    for node in prompt.values():
        for key, link in links(node):
            if key in ("positive", "negative"):
                yield link.source, f"{key}_prompt"


def _camel(text: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text))
    joined = "".join(word.lower() if number == 0 else word.capitalize() for number, word in enumerate(words))
    return joined[:64] if joined[:1].isalpha() else ""


def _at_most(least: float | None, value: float) -> float:
    return value if least is None else min(least, value)


def _at_least(most: float | None, value: float) -> float:
    return value if most is None else max(most, value)
