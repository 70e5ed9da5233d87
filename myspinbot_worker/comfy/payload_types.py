"""The payload types of a binding: what checks a node's params and input, and becomes its JSON Schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, create_model

from ..artifact import Artifact
from ..capability import Payload
from .binding import Binding, Given, Param
from .engine import Prompt

_Field = tuple[Any, dict[str, Any]]
"""A field's type, and the rest of its declaration."""

_SCALARS: dict[str, Any] = {"integer": int, "number": float, "string": str, "boolean": bool, "seed": int}

_CURRENT_PROGRESS = "The job's progress so far."
_SEEDS = "The seeds that were used, those the farm drew included."


@dataclass(frozen=True, slots=True)
class PayloadTypes:
    """Types of params, input and output. Their fields have the binding's names as aliases."""

    params: type[Payload]
    input: type[Payload]
    output: type[Payload]


def payload_types(binding: Binding, prompt: Prompt) -> PayloadTypes:
    """The types of a binding whose targets are known to exist in ``prompt``."""
    params = {name: _param(param, prompt) for name, param in binding.params.items()}
    params |= {name: _given(given) for name, given in binding.inputs.items() if given.origin == "params"}
    inputs = {name: _given(given) for name, given in binding.inputs.items() if given.origin == "input"}
    inputs["currentProgress"] = (float | None, {"default": None, "description": _CURRENT_PROGRESS})
    outputs: dict[str, _Field] = {
        name: (
            list[Artifact] if output.many else Artifact,
            {"description": output.description or f"What node {output.node} wrote."},
        )
        for name, output in binding.outputs.items()
    }
    outputs["currentProgress"] = (float, {"description": "The job's progress after this node."})
    if any(param.type == "seed" for param in binding.params.values()):
        outputs["seeds"] = (dict[str, int], {"default_factory": dict, "description": _SEEDS})
    return PayloadTypes(
        _model(f"{binding.id} params", params),
        _model(f"{binding.id} input", inputs),
        _model(f"{binding.id} output", outputs),
    )


def given_values(payload: BaseModel) -> dict[str, Any]:
    """The declared values of a payload by the binding's names; what is absent and has no default is left out."""
    return {
        field.alias or name: value
        for name, field in type(payload).model_fields.items()
        if (value := getattr(payload, name)) is not None
    }


def _model(title: str, fields: Mapping[str, _Field]) -> type[Payload]:
    name = "".join(part.capitalize() for part in title.replace("-", " ").replace(".", " ").split())
    # Numbered, because a binding may call something what every model has (``copy``, ``json``).
    definitions: dict[str, Any] = {}
    for number, (alias, (annotation, options)) in enumerate(fields.items()):
        definitions[f"value_{number}"] = (annotation, Field(alias=alias, title=alias, **options))
    return create_model(name, __base__=Payload, **definitions)


def _param(param: Param, prompt: Prompt) -> _Field:
    least, most = param.bounds
    options: dict[str, Any] = {"description": param.description or _where(param, prompt)}
    kind: Any = _choice(param) if param.type == "choice" else _SCALARS[param.type]
    if param.type in ("integer", "number", "seed"):
        options |= {"ge": least, "le": most, "allow_inf_nan": None if kind is int else False}
    options = {key: value for key, value in options.items() if value is not None}
    if param.required:
        return kind, options
    default = param.default
    if param.type == "seed":
        options["description"] += " Drawn at random when absent."
    elif default is None:
        default = written_down(param, prompt)
    return (kind if default is not None else kind | None), {"default": default, **options}


def written_down(param: Param, prompt: Prompt) -> Any:
    """What the workflow itself has for a param, where that fits it; else ``None``."""
    target = param.targets[0]
    value = prompt[target.node]["inputs"][target.input]
    if isinstance(value, list | dict) or value is None or param.wrong(value) is not None:
        return None
    return value


def _choice(param: Param) -> Any:
    choices = tuple(param.choices or ())
    if all(isinstance(choice, str) for choice in choices):
        return Literal[choices]

    def is_one(value: Any) -> Any:
        if (wrong := param.wrong(value)) is not None:
            raise ValueError(wrong)
        return value

    return Annotated[Any, AfterValidator(is_one)]


def _given(given: Given) -> _Field:
    if given.is_file:
        media = given.media if given.media not in (None, "any") else "file"
        text = given.description or f'The {media}: an artifact or "bucket/key".'
        kind: Any = Artifact | str
    else:
        text, kind = given.description, _SCALARS[given.type or "string"]
    if given.required:
        return kind, {"description": text}
    return kind | None, {"default": None, "description": text}


def _where(param: Param, prompt: Prompt) -> str:
    target = param.targets[0]
    return f"{target.input} of node {target.node} ({prompt[target.node]['class_type']})."
