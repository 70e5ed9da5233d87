"""One attempt at a node: check what came, run the function, check what it returned, decide what follows.

No Redis here: the result is a value (:class:`Outcome`) that :mod:`.completion` records.
"""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from .capability import Capability, Payload
from .errors import BadInput, BadOutput, BadParams, FarmError
from .graph.payload import merge_input
from .graph.scanner import MAX_DEPTH, nested_deeper
from .graph.transitions import Claim
from .redaction import redact, told
from .redis_clients import passes
from .task import Task

_TRACEBACK_LINES = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        kind: ``completed``, ``failed`` (for good) or ``retry``.
        text: The output's or the error's JSON text.
        delay_seconds: How long to wait before a retry.
        code: The error's code; empty when completed.
    """

    kind: Literal["completed", "failed", "retry"]
    text: str
    delay_seconds: float = 0.0
    code: str = ""


def run_attempt(capability: Capability, task: Task, claim: Claim) -> str:
    """Run a capability's function; its output as JSON text.

    Raises:
        BadParams, BadInput: What the node was given does not fit the capability's types.
        BadOutput: What the function returned does not fit them, or is not JSON.
        Exception: Whatever the function raises.
    """
    params = _check(capability.params, claim.params, BadParams, "params")
    given = _check(capability.input, merge_input(claim.input, claim.outputs), BadInput, "input")
    task.check()
    output = capability.function(task, params, given)
    if not isinstance(output, capability.output):
        raise BadOutput(f"{capability.id} returned {type(output).__name__}, not {capability.output.__name__}")
    try:
        value = output.model_dump(mode="json", by_alias=True, exclude_unset=True)
        text = json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise BadOutput(f"{capability.id} returned something that is not JSON: {error}") from None
    if nested_deeper(value, MAX_DEPTH // 2):
        raise BadOutput(f"{capability.id} returned something that is nested too deeply")
    return text


def _check(model: type[Payload], text: str | None, error: type[FarmError], what: str) -> Any:
    value = json.loads(text) if text else {}
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise error(f"{what} must be an object, not {type(value).__name__}")
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        found = invalid.errors(include_url=False, include_input=False, include_context=False)
        raise error(
            "; ".join(f"{what}.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found[:5])
        ) from None


def outcome_of_error(
    error: BaseException, capability: Capability, claim: Claim, worker: str, secrets: tuple[str, ...] = ()
) -> Outcome:
    """What follows from an exception: a retry if it can pass and attempts are left, else failure.

    Args:
        secrets: Values that must not reach the graph, whoever put them into a message.
    """
    code, retryable = classify(error)
    given = json.loads(claim.retries) if claim.retries else None
    given = given or {}
    most = given.get("maxAttempts") or capability.retry.max_attempts
    attempts = given.get("attempt", 0) + claim.failed_attempts + 1
    details: dict[str, Any] = {
        "type": type(error).__name__,
        "attempt": attempts,
        "worker": worker,
        "traceback": _traceback_tail(error),
    }
    if isinstance(error, FarmError):
        details |= error.details
    text = json.dumps(redact({"message": told(error), "code": code, "details": details}, secrets))
    if retryable and attempts < most:
        return Outcome("retry", text, capability.retry.delay(claim.failed_attempts + 1), code)
    return Outcome("failed", text, code=code)


def classify(error: BaseException) -> tuple[str, bool]:
    """An exception's stable code, and whether the same work may succeed later."""
    if isinstance(error, FarmError):
        return error.code, error.retryable
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out_of_memory", True
    if isinstance(error, ConnectionError | TimeoutError) or passes(error):
        return "network", True
    return "internal", False


def _traceback_tail(error: BaseException) -> list[str]:
    try:
        return "".join(traceback.format_exception(error)).splitlines()[-_TRACEBACK_LINES:]
    except Exception as broken:  # noqa: BLE001 - formatting calls the error's own code
        return [f"the traceback cannot be told: {type(broken).__name__}"]
