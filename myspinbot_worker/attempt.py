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
from .errors import (
    BadInput,
    BadOutput,
    BadParams,
    EngineUnavailable,
    FarmError,
    OutOfMemory,
    UntrueOutput,
    WorkerLost,
)
from .graph.payload import merge_input
from .graph.scanner import MAX_DEPTH, nested_deeper
from .graph.transitions import Claim
from .memory import is_out_of_memory
from .redaction import redact, told
from .redis_clients import passes
from .reuse_attempt import NewMemo, Reuse
from .task import Task

_TRACEBACK_LINES = 20

_ELSEWHERE_SECONDS = 0.5
# A worker that can may be starting: ComfyUI takes up to a minute.
_UNSERVED_ATTEMPTS = 3


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        kind: ``completed``, ``failed`` (for good), ``retry``, ``lost`` (its process died under it) or ``returned``
            (it was stopped through no fault of its own).
        text: The output's or the error's JSON text.
        delay_seconds: How long to wait before a retry.
        code: The error's code; empty when completed.
        elsewhere: Whether another worker should try first.
        spared: Whether a retry costs the node no attempt.
        reused: JSON text that says whose result this is; empty if it is its own.
        memo: The result, if it may stand for others.
    """

    kind: Literal["completed", "failed", "retry", "lost", "returned"]
    text: str
    delay_seconds: float = 0.0
    code: str = ""
    elsewhere: bool = False
    spared: bool = False
    reused: str = ""
    memo: NewMemo | None = None


def run_attempt(capability: Capability, task: Task, claim: Claim, reuse: Reuse | None = None) -> str:
    """Run a capability's function, or find its result; its output as JSON text.

    Args:
        reuse: Looks for an earlier result, and is told a new one.

    Raises:
        BadParams, BadInput: What the node was given does not fit the capability's types.
        BadOutput: What the function returned does not fit them, or is not JSON.
        Exception: Whatever the function raises.
    """
    merged = merge_input(claim.input, claim.outputs)
    params = _check(capability.params, claim.params, BadParams, "params")
    given = _check(capability.input, merged, BadInput, "input")
    task.check()
    if reuse is not None:
        found = reuse.find(json.loads(claim.params or "null") or {}, json.loads(merged or "null") or {})
        if found is not None:
            return found
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
    if reuse is not None:
        reuse.ran(value)
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
    error: BaseException,
    capability: Capability,
    claim: Claim,
    worker: str,
    secrets: tuple[str, ...] = (),
    *,
    got_on: bool = False,
) -> Outcome:
    """What follows from an exception: a retry if it can pass and attempts are left, else failure.

    Args:
        secrets: Values that must not reach the graph, whoever put them into a message.
        got_on: Whether the attempt kept a step of its work that was not there before.
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
    if got_on and isinstance(error, FarmError) and error.interrupts:
        # As for a lost worker: each such start brings the work on, so they come to an end.
        return Outcome("retry", text, capability.retry.delay(claim.failed_attempts + 1), code, spared=True)
    exhausted = code == OutOfMemory.code
    # A model that made a wrong file twice makes it a third time; whether the failure before this one was of that
    # kind is not kept, so any failure before counts as one.
    untrue_again = isinstance(error, UntrueOutput) and claim.failed_attempts > 0
    if retryable and attempts < most and not (exhausted and claim.exhausted) and not untrue_again:
        return Outcome("retry", text, capability.retry.delay(claim.failed_attempts + 1), code, exhausted)
    return Outcome("failed", text, code=code)


def outcome_of_stop(error: FarmError, claim: Claim, worker: str, how: str) -> Outcome:
    """What follows from an attempt that had to be stopped from outside.

    Args:
        how: What it took.
    """
    details = {"attempt": claim.token, "worker": worker, "stopped": how, **error.details}
    text = json.dumps({"message": error.message, "code": error.code, "details": details})
    return Outcome("failed", text, code=error.code)


def outcome_elsewhere(
    claim: Claim, worker: str, why: str, *, others_serve: bool, wait_seconds: float
) -> Outcome:
    """What follows when this worker cannot run a node: another one does, or after some time it fails.

    Args:
        others_serve: Whether another worker offers the service now; it may just be starting.
        wait_seconds: Time for one to come, before each further look.
    """
    if others_serve:
        return Outcome("returned", "", delay_seconds=_ELSEWHERE_SECONDS, elsewhere=True)
    error = EngineUnavailable(f"no worker of this farm can run {claim.service}: {why}")
    details = {"attempt": claim.token, "worker": worker}
    text = json.dumps({"message": error.message, "code": error.code, "details": details})
    if claim.failed_attempts + 1 < _UNSERVED_ATTEMPTS:
        return Outcome("retry", text, wait_seconds, error.code)
    return Outcome("failed", text, code=error.code)


def outcome_of_death(
    claim: Claim, worker: str, exit_text: str, most_lost: int, *, spared: bool = False
) -> Outcome:
    """What follows from a process that died under an attempt: another one, until it has cost too many.

    Args:
        exit_text: How it died.
        most_lost: After how many the node fails.
        spared: Whether it kept a step of its work: then it costs the node nothing, and the next start goes on there.
    """
    if spared or claim.lost_attempts + 1 < most_lost:
        return Outcome("lost", "", code=WorkerLost.code)
    error = WorkerLost(
        f"{most_lost} processes in turn died while running this node, the last one {exit_text}"
    )
    return outcome_of_stop(error, claim, worker, exit_text)


def classify(error: BaseException) -> tuple[str, bool]:
    """An exception's stable code, and whether the same work may succeed later."""
    if isinstance(error, FarmError):
        return error.code, error.retryable
    if is_out_of_memory(error):
        return OutOfMemory.code, True
    if isinstance(error, ConnectionError | TimeoutError) or passes(error):
        return "network", True
    return "internal", False


def _traceback_tail(error: BaseException) -> list[str]:
    try:
        return "".join(traceback.format_exception(error)).splitlines()[-_TRACEBACK_LINES:]
    except Exception as broken:  # noqa: BLE001 - formatting calls the error's own code
        return [f"the traceback cannot be told: {type(broken).__name__}"]
