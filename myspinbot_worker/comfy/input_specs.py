"""What ComfyUI's ``/object_info`` says of a class' inputs, in its old form and the newer one.

Pure, and lenient: packs declare the strangest things, and what is not understood takes any value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MODEL_SUFFIXES = (
    ".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".gguf", ".onnx", ".pkl", ".engine",
)  # fmt: skip

_ANYTHING = "*"
_DYNAMIC = ("COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICSLOT_V3")
_ANY_TYPE = frozenset({_ANYTHING, "COMFY_MATCHTYPE_V3"})

SOCKETS = frozenset(
    {
        "AUDIO", "AUDIO_ENCODER", "AUDIO_ENCODER_OUTPUT", "CLIP", "CLIP_VISION", "CLIP_VISION_OUTPUT", "CONDITIONING",
        "CONTROL_NET", "GLIGEN", "GUIDER", "IMAGE", "LATENT", "MASK", "MODEL", "MODEL_PATCH", "NOISE", "SAMPLER",
        "SIGMAS", "STYLE_MODEL", "UPSCALE_MODEL", "VAE", "VIDEO",
    }
)  # fmt: skip
"""Types that no value written down can have: such an input takes a link."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a class.

    Attributes:
        type: ``INT``, ``IMAGE``, ``IMAGE,MASK``, ``*``, …; ``COMBO`` for a choice.
        required: Whether it must be given.
        choices: Of a ``COMBO``, ``None`` when they are not told (fetched by the editor, made by a node).
        dynamic: Whether further inputs grow from it, named ``<its name>.<something>``.
        options: The rest of the declaration.
    """

    type: str
    required: bool
    choices: tuple[Any, ...] | None = None
    dynamic: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes_any_type(self) -> bool:
        return self.dynamic or bool(set(self.types) & _ANY_TYPE)

    @property
    def types(self) -> list[str]:
        return [part.strip() for part in self.type.split(",")]

    @property
    def uploads(self) -> bool:
        """Whether it takes a file that is put into ComfyUI's input folder: its choices change while one looks."""
        return any(
            (key.endswith("_upload") and value) or key in ("image_folder", "remote", "vhs_path_extensions")
            for key, value in self.options.items()
        )

    @property
    def picks_a_file(self) -> bool:
        return self.uploads or self.picks_a_model

    @property
    def picks_a_model(self) -> bool:
        return any(is_model_file(choice) for choice in self.choices or ())

    @property
    def is_long_text(self) -> bool:
        return bool(self.options.get("multiline") or self.options.get("dynamicPrompts"))

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        return _number(self.options.get("min")), _number(self.options.get("max"))


def is_model_file(value: Any) -> bool:
    return isinstance(value, str) and value.lower().endswith(MODEL_SUFFIXES)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def specs_of(info: Any, given: Mapping[str, Any]) -> dict[str, InputSpec]:
    """The inputs of a class, by name.

    Args:
        info: What the catalog says of the class.
        given: The node's inputs: they decide which of the inputs that grow there are.
    """
    return dict(_declared(_mapping(info).get("input"), given, ""))


def _declared(sections: Any, given: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, InputSpec]]:
    for section in ("required", "optional"):
        for name, declared in _mapping(_mapping(sections).get(section)).items():
            spec = _spec(declared, required=section == "required")
            yield prefix + name, spec
            if spec.type == "COMFY_DYNAMICCOMBO_V3":
                chosen = given.get(prefix + name)
                for option in _sequence(spec.options.get("options")):
                    if _mapping(option).get("key") == chosen:
                        yield from _declared(_mapping(option).get("inputs"), given, f"{prefix}{name}.")


def _spec(declared: Any, *, required: bool) -> InputSpec:
    parts = _sequence(declared) or [_ANYTHING]
    options = _mapping(parts[1]) if len(parts) > 1 else {}
    kind = parts[0]
    if isinstance(kind, list | tuple):
        return InputSpec("COMBO", required, tuple(kind), options=options)
    if not isinstance(kind, str) or not kind:
        return InputSpec(_ANYTHING, required, options=options)
    if kind in _DYNAMIC:
        # What grows from it is what must be given, if anything.
        needs = required and kind == "COMFY_DYNAMICCOMBO_V3"
        keys = [_mapping(option).get("key") for option in _sequence(options.get("options"))]
        return InputSpec(kind, needs, tuple(keys) or None, dynamic=True, options=options)
    choices = options.get("options") if kind == "COMBO" else None
    return InputSpec(
        kind, required, tuple(choices) if isinstance(choices, list | tuple) else None, options=options
    )


def outputs_of(info: Any) -> list[Any] | None:
    """The types of a class' outputs, ``None`` when they are not told."""
    found = _mapping(info).get("output")
    return list(found) if isinstance(found, list | tuple) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return (
        {key: inner for key, inner in value.items() if isinstance(key, str)}
        if isinstance(value, Mapping)
        else {}
    )


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
