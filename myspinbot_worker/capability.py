"""What a service is: its function, its types, how it may be retried. ``@capability`` declares one.

The types of the function are the contract: they check params and input before a GPU is touched, check the
output before it is recorded, and become the JSON Schemas of the manifest.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from .task import Task

Kind = Literal["cpu", "gpu"]
Requirement = Callable[[Mapping[str, Mapping[str, Any]]], Iterable[str]]
"""Says what a ComfyUI with this catalog of node classes lacks, a line each; nothing when all is there."""
Function = TypeVar("Function", bound=Callable[..., Any])


class Payload(BaseModel):
    """Base of params, inputs and outputs: open, so that keys the farm does not know are carried."""

    # Pydantic would write NaN as null; kept as it is, it is refused as not being JSON.
    model_config = ConfigDict(extra="allow", ser_json_inf_nan="constants")


class _NamesAnObject:
    """Marks a field."""


ObjectPath = Annotated[str, _NamesAnObject()]
"""A field that names an object, ``"bucket/key"``: for the reuse of results, its content counts and not its name."""


def is_object_path(model: type[BaseModel], name: str) -> bool:
    """Whether a payload's member is an :data:`ObjectPath`."""
    for field_name, field in model.model_fields.items():
        if name in (field_name, field.alias, field.validation_alias):
            return any(isinstance(mark, _NamesAnObject) for mark in field.metadata)
    return False


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed attempt may be tried again; only errors that can pass ever are.

    Attributes:
        max_attempts: Attempts in all, the first included. A node's own ``retries.maxAttempts`` wins over it.
        backoff_seconds: Wait before the second attempt; doubles with each further one.
        max_backoff_seconds: Longest wait.
    """

    max_attempts: int = 3
    backoff_seconds: float = 1.0
    max_backoff_seconds: float = 60.0

    def delay(self, failed_attempts: int) -> float:
        """Seconds to wait after the given number of failed attempts (1 or more)."""
        return float(min(self.max_backoff_seconds, self.backoff_seconds * 2 ** min(failed_attempts - 1, 30)))


@dataclass(frozen=True)
class Capability:
    """One service the farm offers; see :func:`capability` for its attributes."""

    id: str
    kind: Kind
    function: Callable[[Task, Any, Any], Any]
    params: type[Payload]
    input: type[Payload]
    output: type[Payload]
    label: str
    description: str
    version: str
    retry: Retry
    timeout_seconds: float
    emits_progress: bool
    idempotent: bool
    side_effects: bool
    requires: Requirement | None = None
    runs_prompts: bool = False
    """Whether it runs ComfyUI prompts, and wants to know how long their nodes took before."""
    reuse: bool = False
    seed: str = ""

    @property
    def queue(self) -> str:
        """The Dramatiq queue: one per kind of device, so that a worker never hoards messages of several."""
        return self.kind

    def manifest_entry(self, *, with_schema: bool = True) -> dict[str, Any]:
        """This capability as the control plane's manifest has it (contract, section 7).

        Args:
            with_schema: ``False`` leaves the input and output schemas empty, for a short manifest.
        """
        return {
            "id": self.id,
            "label": self.label,
            "description": self.description,
            "version": self.version,
            "plane": "python",
            "runtime": {"kind": self.kind, "concurrency": 1, "timeoutSeconds": self.timeout_seconds},
            "handler": {"module": self.function.__module__, "method": self.function.__name__},
            "io": {
                "input": self.input.model_json_schema() if with_schema else {},
                "output": self.output.model_json_schema(mode="serialization") if with_schema else {},
            },
            "parameters": [_parameter(name, field) for name, field in self.params.model_fields.items()],
            "telemetry": {
                "emitsProgressEvents": self.emits_progress,
                "metrics": ["worker_job_duration_seconds"],
            },
            "contracts": {"idempotent": self.idempotent, "sideEffects": self.side_effects},
        }


def _parameter(name: str, field: FieldInfo) -> dict[str, Any]:
    annotation: Any = field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    described = adapter.json_schema()
    definitions = described.get("$defs", {})
    kinds = set()
    for item in described.get("anyOf", [described]):
        target = definitions.get(str(item.get("$ref", "")).removeprefix("#/$defs/"), item)
        kinds.add(target.get("type", "any"))
    kinds.discard("null")
    entry: dict[str, Any] = {
        "name": field.validation_alias if isinstance(field.validation_alias, str) else field.alias or name,
        "type": kinds.pop() if len(kinds) == 1 else "any",
        "description": field.description or "",
        "required": field.is_required(),
    }
    if not field.is_required():
        entry["default"] = adapter.dump_python(field.get_default(call_default_factory=True), mode="json")
    return entry


class Registry:
    """The capabilities of this farm, by service id."""

    def __init__(self) -> None:
        self._capabilities: dict[str, Capability] = {}

    def add(self, item: Capability) -> None:
        if item.id in self._capabilities:
            raise ValueError(f"two capabilities are called {item.id!r}")
        self._capabilities[item.id] = item

    def get(self, service: str) -> Capability | None:
        return self._capabilities.get(service)

    def queue(self, service: str) -> str | None:
        """The queue of a service, ``None`` if the farm does not have it."""
        item = self._capabilities.get(service)
        return item.queue if item else None

    def queues(self) -> dict[str, str]:
        """The queue of every service."""
        return {item.id: item.queue for item in self}

    def __iter__(self) -> Iterator[Capability]:
        return iter(self._capabilities.values())

    def manifest(self, *, with_schema: bool = True, without: Container[str] = ()) -> dict[str, Any]:
        """The capability manifest the control plane validates (contract, section 7).

        Args:
            without: Services to leave out.
        """
        return {
            "generatedAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "capabilities": [
                item.manifest_entry(with_schema=with_schema) for item in self if item.id not in without
            ],
        }


registry = Registry()
"""Where ``@capability`` puts what it declares."""


def capability(
    service: str,
    *,
    kind: Kind,
    label: str = "",
    version: str = "1.0.0",
    retry: Retry | None = None,
    timeout_seconds: float = -1,
    emits_progress: bool = True,
    idempotent: bool = True,
    side_effects: bool = False,
    requires: Requirement | None = None,
    reuse: bool = False,
    seed: str = "",
    into: Registry = registry,
) -> Callable[[Function], Function]:
    """Declare a function as a service.

    The function takes ``(task, params, given)`` and returns the output; the three payload types are read
    from its annotations and must derive from :class:`Payload`. Its docstring is the description.

    Args:
        service: The service id that graphs name.
        kind: Which device it needs, and so which queue it is sent to.
        label: A short name for people; the id by default.
        retry: When a failed attempt is tried again.
        timeout_seconds: Longest run of one attempt; -1 for none.
        requires: What it needs of a ComfyUI, where one does its work.
        reuse: Whether the same params and input always have the same result, so that an earlier one may stand for
            it (``farm.reuse_results``). It then must read nothing from storage but through ``task.fetch()``.
        seed: The param without which the task draws at random; results of such nodes are never used again.
        into: The registry to add it to.

    Raises:
        TypeError: The function's annotations do not name payload types.
        ValueError: ``reuse`` of what is not idempotent or has side effects, or a seed without ``reuse``.
    """

    if reuse and (side_effects or not idempotent):
        raise ValueError(f"{service}: reuse is for what is idempotent and has no side effects")
    if seed and not reuse:
        raise ValueError(f"{service}: a seed only matters with reuse")

    def declare(function: Function) -> Function:
        params, given, output = _payload_types(function)
        into.add(
            Capability(
                id=service,
                kind=kind,
                function=function,
                params=params,
                input=given,
                output=output,
                label=label or service,
                description=inspect.cleandoc(function.__doc__ or service),
                version=version,
                retry=retry or Retry(),
                timeout_seconds=timeout_seconds,
                emits_progress=emits_progress,
                idempotent=idempotent,
                side_effects=side_effects,
                requires=requires,
                reuse=reuse,
                seed=seed,
            )
        )
        return function

    return declare


def _payload_types(function: Callable[..., Any]) -> tuple[type[Payload], type[Payload], type[Payload]]:
    names = list(inspect.signature(function).parameters)
    # The first parameter's type is only imported for type checkers, so it is not resolved.
    try:
        hints = typing.get_type_hints(function, localns={"Task": object})
    except NameError as error:
        raise TypeError(f"{function.__module__}.{function.__qualname__}: {error}") from None
    types = [hints.get(name) for name in (*names[1:3], "return")]
    if len(names) != 3 or not all(isinstance(item, type) and issubclass(item, Payload) for item in types):
        raise TypeError(
            f"{function.__module__}.{function.__qualname__} must take (task, params, given) and return an output, "
            "the last three annotated with subclasses of Payload"
        )
    return types[0], types[1], types[2]  # type: ignore[return-value]
