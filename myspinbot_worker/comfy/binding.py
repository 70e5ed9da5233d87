"""``*.capability.yaml``: which service a workflow is, what goes into which node's input, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from ..capability import Kind
from .binding_promise import FilePromise
from .binding_text import read_yaml
from .catalog import Pack
from .problems import Problem, invalid, short

LARGEST_SEED = 2**53 - 1
"""The control plane reads numbers as doubles: a seed beyond it would come back changed."""

RESERVED = frozenset({"currentProgress", "seeds"})
"""Names the farm itself gives to values of inputs and outputs."""

Type = Literal["integer", "number", "string", "boolean", "choice", "seed"]
Media = Literal["image", "audio", "video", "any"]


def _node_id(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


NodeId = Annotated[str, BeforeValidator(_node_id), Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
_ServiceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$", max_length=100)]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, populate_by_name=False
    )


class Target(_Part):
    """An input of a node."""

    node: NodeId
    input: str = Field(min_length=1)


class _Placed(_Part):
    """What goes to one input (``node``, ``input``) or to several (``targets``)."""

    node: NodeId | None = None
    input: str | None = Field(None, min_length=1)
    more: list[Target] = Field([], alias="targets")

    @model_validator(mode="after")
    def _has_targets(self) -> _Placed:
        if (self.node is None) != (self.input is None):
            raise ValueError("node and input go together")
        if not self.targets:
            raise ValueError("expected node and input, or targets")
        return self

    @property
    def targets(self) -> list[Target]:
        first = [] if self.node is None or self.input is None else [Target(node=self.node, input=self.input)]
        return first + self.more


class _Typed(_Placed):
    """A value with a type."""

    type: Type
    minimum: int | float | None = Field(None, allow_inf_nan=False)
    maximum: int | float | None = Field(None, allow_inf_nan=False)
    choices: list[str | int | float | bool] | None = Field(None, min_length=1)
    default: str | int | float | bool | None = None
    description: str = ""
    required: bool = False

    @model_validator(mode="after")
    def _is_consistent(self) -> _Typed:
        numeric = self.type in ("integer", "number", "seed")
        if not numeric and (self.minimum is not None or self.maximum is not None):
            raise ValueError(f"minimum and maximum do not go with type {self.type}")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is larger than maximum")
        if (self.type == "choice") != (self.choices is not None):
            raise ValueError("choices go with type choice, and it needs them")
        if self.default is not None and self.required:
            raise ValueError("what has a default is not required")
        if self.default is not None and (wrong := self.wrong(self.default)) is not None:
            raise ValueError(f"default: {wrong}")
        return self

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        if self.type == "seed":
            least = 0 if self.minimum is None else self.minimum
            return least, LARGEST_SEED if self.maximum is None else min(self.maximum, LARGEST_SEED)
        return self.minimum, self.maximum

    def wrong(self, value: Any) -> str | None:
        """Why a value does not fit, ``None`` if it does."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        match self.type:
            case "integer" | "seed" if not is_number or value != int(value):
                return "expected a whole number"
            case "number" if not is_number:
                return "expected a number"
            case "string" if not isinstance(value, str):
                return "expected text"
            case "boolean" if not isinstance(value, bool):
                return "expected true or false"
            case "choice" if value not in (self.choices or ()):
                return f"expected one of {', '.join(map(str, self.choices or ()))}"
        least, most = self.bounds
        if is_number and ((least is not None and value < least) or (most is not None and value > most)):
            return f"expected {_between(least, most)}"
        return None


def _between(least: float | None, most: float | None) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else f"{least} to {most}"


class Param(_Typed):
    """A value of the node's ``params``."""


class Given(_Placed):
    """A file (``media``) or a plain value (``type``) that another node or the plan gives."""

    origin: Literal["params", "input"] = Field("input", alias="from")
    media: Media | None = None
    required: bool = True
    description: str = ""
    type: Literal["integer", "number", "string", "boolean"] | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Given:
        if self.media is not None and self.type is not None:
            raise ValueError("media is for files and type for plain values: not both")
        if self.type is not None and self.origin == "params":
            raise ValueError("a plain value from params belongs under params")
        return self

    @property
    def is_file(self) -> bool:
        return self.type is None


class Output(_Part):
    """What an output node wrote."""

    node: NodeId
    kind: str | None = Field(None, min_length=1)
    many: bool = False
    bucket: str = "output"
    content_type: str | None = None
    description: str = ""
    promise: FilePromise | None = None


class PackNeeded(_Part):
    """A custom node pack."""

    name: str = Field(min_length=1)
    url: str = ""
    classes: list[str] = []


class RetryRule(_Part):
    """As :class:`myspinbot_worker.capability.Retry`."""

    max_attempts: int = Field(3, ge=1, le=100)
    backoff_seconds: float = Field(1.0, ge=0, allow_inf_nan=False)
    max_backoff_seconds: float = Field(60.0, ge=0, allow_inf_nan=False)


class Binding(_Part):
    """The whole file."""

    id: _ServiceId
    label: str = ""
    description: str = ""
    version: str = "1.0.0"
    kind: Kind = "gpu"
    timeout_seconds: float = Field(3600.0, allow_inf_nan=False)
    retry: RetryRule = RetryRule()
    packs: list[PackNeeded] = []
    params: dict[Name, Param] = {}
    inputs: dict[Name, Given] = {}
    outputs: dict[Name, Output] = Field(min_length=1)
    keep_warm: list[Annotated[str, Field(pattern=r"^[\w][\w./ -]*\.py:[A-Za-z_][\w.]*$")]] = []
    memory_bytes: int | None = Field(None, ge=1)

    @property
    def packs_needed(self) -> list[Pack]:
        return [Pack(pack.name, pack.url, tuple(pack.classes)) for pack in self.packs]


def parse_binding(data: bytes | str, what: str = "binding") -> Binding:
    """Read a binding.

    Args:
        what: What it is to the user: the start of the error message.

    Raises:
        InvalidPrompt: It is not YAML, or a key is unknown, missing or malformed; each problem names its key.
    """
    try:
        document = read_yaml(data)
    except ValueError as error:
        raise invalid(what, [Problem(str(error))]) from None
    if not isinstance(document, dict):
        raise invalid(what, [Problem("expected keys and values (id, params, inputs, outputs, …)")])
    try:
        binding = Binding.model_validate(document)
    except ValidationError as error:
        told = [_problem(dict(item)) for item in error.errors(include_url=False, include_context=False)]
        raise invalid(what, told) from None
    if problems := _clashes(binding):
        raise invalid(what, problems)
    return binding


def _problem(error: Mapping[str, Any]) -> Problem:
    where = tuple(part for part in error["loc"] if part != "[key]")
    path = ".".join(short(str(part)) for part in where)
    if error["type"] == "extra_forbidden":
        close = get_close_matches(str(where[-1]), _known_keys(where), n=1)
        return Problem("unknown key" + (f" (did you mean {close[0]}?)" if close else ""), input=path)
    if "[key]" in error["loc"]:
        return Problem("a name is a letter, then letters, digits and underscores, 64 at most", input=path)
    text = str(error["msg"]).removeprefix("Value error, ").replace("Input should be ", "expected ")
    if error["type"] == "missing":
        text = "it is required and missing"
    return Problem(text, input=path)


_PARTS: dict[str, type[_Part]] = {"params": Param, "inputs": Given, "outputs": Output, "packs": PackNeeded}


def _known_keys(where: Sequence[Any]) -> list[str]:
    """The keys that could stand beside the last one of this path."""
    model: type[_Part] = Binding
    if where[0] == "retry" and len(where) > 1:
        model = RetryRule
    elif len(where) > 3:
        model = Target
    elif len(where) == 3:
        model = _PARTS.get(str(where[0]), Binding)
    return [field.alias or name for name, field in model.model_fields.items()]


def _clashes(binding: Binding) -> list[Problem]:
    """Names that mean two things."""
    problems = []
    for name, given in binding.inputs.items():
        if given.origin == "params" and name in binding.params:
            problems.append(Problem("a param has this name too", input=f"inputs.{name}"))
        if given.origin == "input" and name in RESERVED:
            problems.append(Problem("the farm itself gives this value", input=f"inputs.{name}"))
    problems += [
        Problem("the farm itself gives this value", input=f"outputs.{name}")
        for name in binding.outputs
        if name in RESERVED
    ]
    return problems
