"""One attempt at a node: what is checked before and after, and what follows from an error."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from myspinbot_worker import errors
from myspinbot_worker.attempt import Outcome, classify, outcome_of_error, run_attempt
from myspinbot_worker.capability import Capability, Payload, Registry, Retry, capability
from myspinbot_worker.comfy.engine import EngineLost
from myspinbot_worker.errors import BadInput, BadOutput, BadParams, FarmError, UntrueOutput
from myspinbot_worker.graph.transitions import Claim
from myspinbot_worker.redaction import redact
from myspinbot_worker.task import Task
from tests.unit.attempts import Desk, claim
from tests.unit.examples import many
from tests.unit.graphs import json_objects, json_values
from tests.unit.test_schemas import GRAPH, NODE, VALIDATORS


class Params(Payload):
    text: str = "hello"
    times: int = Field(1, ge=1)


class Input(Payload):
    frames: int = 0
    currentProgress: float | None = None


class Output(Payload):
    frames: int = 0
    currentProgress: float = 0.0
    anything: Any = None
    shown: str = Field("", alias="display")


Body = Callable[[Task, Params, Input], Any]


def offered(body: Body, retry: Retry | None = None) -> Capability:
    def function(task: Task, params: Params, given: Input) -> Output:
        result: Output = body(task, params, given)
        return result

    registry = Registry()
    capability("test.service", kind="cpu", retry=retry, into=registry)(function)
    (item,) = registry
    return item


def attempt(body: Body, given: Claim | None = None, desk: Desk | None = None) -> str:
    given = given or claim()
    return run_attempt(offered(body), (desk or Desk()).task(given), given)


def never(task: Task, params: Params, given: Input) -> Output:
    raise AssertionError("the function was called")


class TestGiven:
    def test_params_and_input_as_they_came(self) -> None:
        seen: list[Any] = []

        def body(task: Task, params: Params, given: Input) -> Output:
            seen.extend([params.model_dump(), given.model_dump()])
            return Output()

        attempt(
            body,
            claim(
                params='{"text": "x", "more": [1.0]}',
                input='{"frames": 1, "own": 1}',
                outputs=('{"frames": 2}', None, '{"frames": 3, "last": {}}', "[]"),
            ),
        )
        assert seen == [
            {"text": "x", "times": 1, "more": [1.0]},
            {"frames": 3, "currentProgress": None, "own": 1, "last": {}},
        ]

    @pytest.mark.parametrize("absent", [None, "null", "{}", ""])
    def test_nothing_is_an_empty_object(self, absent: str | None) -> None:
        assert attempt(lambda task, params, given: Output(), claim(params=absent, input=absent)) == "{}"

    @pytest.mark.parametrize(
        ("params", "place"),
        [
            ('{"text": 1}', "params.text"),
            ('{"times": 0}', "params.times"),
            ('{"times": "many"}', "params.times"),
            ('{"text": null, "times": null}', "params.times"),
            ("[]", "params must be an object, not list"),
            ('"x"', "params must be an object, not str"),
            ("0", "params must be an object, not int"),
        ],
    )
    def test_bad_params_are_named_before_the_function_runs(self, params: str, place: str) -> None:
        with pytest.raises(BadParams) as error:
            attempt(never, claim(params=params))
        assert place in str(error.value)
        assert not error.value.retryable

    @pytest.mark.parametrize(
        ("own", "outputs", "place"),
        [
            ('{"frames": "x"}', (), "input.frames"),
            (None, ('{"frames": {}}',), "input.frames"),
            ('{"frames": 1}', ('{"currentProgress": []}',), "input.currentProgress"),
            ("[1]", (), "input must be an object, not list"),
        ],
    )
    def test_bad_input_is_named(self, own: str | None, outputs: tuple[str, ...], place: str) -> None:
        with pytest.raises(BadInput) as error:
            attempt(never, claim(input=own, outputs=outputs))
        assert place in str(error.value)

    def test_values_are_not_repeated(self) -> None:
        with pytest.raises(BadParams) as error:
            attempt(never, claim(params='{"times": "hunter2"}'))
        assert "hunter2" not in str(error.value)

    def test_a_pointless_attempt_does_not_begin(self) -> None:
        with pytest.raises(errors.Cancelled):
            attempt(never, desk=Desk(stop_reason="cancelled"))


class TestReturned:
    def test_only_what_was_said(self) -> None:
        assert json.loads(attempt(lambda task, params, given: Output(frames=3))) == {"frames": 3}

    def test_further_keys_and_names_on_the_wire(self) -> None:
        text = attempt(lambda *_: Output.model_validate({"display": "x", "more": {"a": [None]}}))
        assert json.loads(text) == {"display": "x", "more": {"a": [None]}}

    @many
    @given(json_objects)
    def test_any_json_comes_back(self, value: dict[str, Any]) -> None:
        text = attempt(lambda *_: Output.model_validate({"anything": value}))
        assert json.loads(text) == {"anything": value}

    @pytest.mark.parametrize("returned", [None, {}, {"frames": 1}, Payload(), Input(), 1, Output])
    def test_another_type(self, returned: Any) -> None:
        with pytest.raises(BadOutput, match=r"test\.service returned .*not Output"):
            attempt(lambda *_: returned)

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_a_number_that_is_none(self, number: float) -> None:
        with pytest.raises(BadOutput, match=r"test\.service returned something that is not JSON"):
            attempt(lambda *_: Output(currentProgress=number))

    @pytest.mark.parametrize("place", ["anything", "more"])
    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_a_number_that_is_none_in_an_open_place(self, place: str, number: float) -> None:
        with pytest.raises(BadOutput):
            attempt(lambda *_: Output.model_validate({place: {"x": [number]}}))

    @pytest.mark.parametrize(
        "value", [object(), b"\xff", pytest.param(10**5000, id="5001 digits"), lambda: None]
    )
    def test_what_is_no_json_at_all(self, value: Any) -> None:
        with pytest.raises(BadOutput, match="not JSON"):
            attempt(lambda *_: Output(anything=value))

    def test_what_holds_itself(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(BadOutput, match="not JSON"):
            attempt(lambda *_: Output.model_construct(anything=endless))


class OutOfMemoryError(RuntimeError):
    """What torch calls its own."""


class TestClassify:
    @pytest.mark.parametrize(
        ("error", "code", "retryable"),
        [
            (BadParams("x"), "bad_params", False),
            (BadInput("x"), "bad_input", False),
            (errors.UnknownService("x"), "unknown_service", False),
            (errors.StorageUnavailable("x"), "storage_unavailable", True),
            (errors.ArtifactMissing("x"), "artifact_missing", False),
            (errors.ArtifactCorrupt("x"), "artifact_corrupt", True),
            (errors.Cancelled("x"), "cancelled", False),
            (errors.LeaseLost("x"), "lease_lost", False),
            (MemoryError(), "out_of_memory", True),
            (OutOfMemoryError("CUDA out of memory"), "out_of_memory", True),
            (ConnectionResetError(), "network", True),
            (BrokenPipeError(), "network", True),
            (TimeoutError(), "network", True),
            (ValueError("x"), "internal", False),
            (KeyError("x"), "internal", False),
            (FileNotFoundError("x"), "internal", False),
            (RuntimeError("OutOfMemoryError"), "internal", False),
            (RecursionError(), "internal", False),
        ],
    )
    def test_by_example(self, error: Exception, code: str, retryable: bool) -> None:
        assert classify(error) == (code, retryable)

    @pytest.mark.parametrize(
        "error",
        [
            redis.ConnectionError("x"),
            redis.TimeoutError("x"),
            redis.ResponseError("MISCONF the disk is full"),
        ],
    )
    def test_redis_being_away_is_a_matter_of_the_network(self, error: Exception) -> None:
        assert classify(error) == ("network", True)


def fails(
    error: BaseException,
    given: Claim | None = None,
    retry: Retry | None = None,
    secrets: tuple[str, ...] = (),
) -> Outcome:
    return outcome_of_error(error, offered(never, retry), given or claim(), "host:1", secrets)


def raised(error: BaseException) -> BaseException:
    """The error with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - whatever it is
        return caught


counts = st.integers(1, 9)


class TestRetries:
    @pytest.mark.parametrize(
        ("most", "failed", "kind", "delay"),
        [
            (1, 0, "failed", 0),
            (2, 0, "retry", 2),
            (2, 1, "failed", 0),
            (3, 1, "retry", 4),
            (4, 2, "retry", 8),
            (4, 3, "failed", 0),
        ],
    )
    def test_the_services_budget(self, most: int, failed: int, kind: str, delay: float) -> None:
        retry = Retry(max_attempts=most, backoff_seconds=2)
        outcome = fails(TimeoutError(), claim(failed_attempts=failed), retry)
        assert (outcome.kind, outcome.delay_seconds, outcome.code) == (kind, delay, "network")

    @pytest.mark.parametrize(
        ("retries", "failed", "kind"),
        [
            (None, 0, "retry"),
            ("null", 0, "retry"),
            ("{}", 0, "retry"),
            ("{}", 2, "failed"),
            ('{"maxAttempts": 1}', 0, "failed"),
            ('{"maxAttempts": 5}', 3, "retry"),
            ('{"maxAttempts": 5}', 4, "failed"),
            ('{"attempt": 1}', 0, "retry"),
            ('{"attempt": 2}', 0, "failed"),
            ('{"attempt": 2, "maxAttempts": 4}', 0, "retry"),
            ('{"attempt": 2, "maxAttempts": 4}', 1, "failed"),
            ('{"attempt": 9, "maxAttempts": 4}', 0, "failed"),
        ],
    )
    def test_the_nodes_own_budget_wins(self, retries: str | None, failed: int, kind: str) -> None:
        outcome = fails(TimeoutError(), claim(retries=retries, failed_attempts=failed), Retry(max_attempts=3))
        assert outcome.kind == kind

    @pytest.mark.parametrize(
        "error", [ValueError("x"), BadParams("x"), BadOutput("x"), errors.LeaseLost("x")]
    )
    def test_what_cannot_pass_is_not_tried_again(self, error: Exception) -> None:
        assert fails(error, claim(retries='{"maxAttempts": 100}')).kind == "failed"

    @pytest.mark.parametrize(
        ("most", "failed", "kind"),
        [(1, 0, "failed"), (2, 0, "retry"), (100, 0, "retry"), (100, 1, "failed"), (100, 7, "failed")],
    )
    def test_an_untrue_file_is_made_again_once(self, most: int, failed: int, kind: str) -> None:
        retries = json.dumps({"maxAttempts": most})
        outcome = fails(UntrueOutput("x"), claim(retries=retries, failed_attempts=failed), Retry(most))
        assert (outcome.kind, outcome.code, outcome.elsewhere) == (kind, "bad_output", False)

    @pytest.mark.parametrize(
        ("error", "got_on", "kind", "spared"),
        [
            (EngineLost("x"), True, "retry", True),
            (EngineLost("x"), False, "failed", False),
            (TimeoutError(), True, "failed", False),
            (errors.OutOfMemory("x"), True, "failed", False),
        ],
    )
    def test_losing_comfyui_costs_nothing_once_the_work_has_got_on(
        self, error: Exception, got_on: bool, kind: str, spared: bool
    ) -> None:
        outcome = outcome_of_error(
            error, offered(never, Retry(1)), claim(failed_attempts=3), "host:1", got_on=got_on
        )
        assert (outcome.kind, outcome.spared) == (kind, spared)

    def test_a_lost_worker_before_does_not_count(self) -> None:
        assert fails(UntrueOutput("x"), claim(lost_attempts=2)).kind == "retry"

    @many
    @given(
        st.none() | st.fixed_dictionaries({}, optional={"attempt": counts, "maxAttempts": counts}),
        counts,
    )
    def test_a_node_is_never_tried_more_often_than_its_budget(
        self, given: dict[str, int] | None, most: int
    ) -> None:
        failed = 0
        while (
            fails(TimeoutError(), claim(retries=json.dumps(given), failed_attempts=failed), Retry(most)).kind
            == "retry"
        ):
            failed += 1
        asked = given or {}
        left = asked.get("maxAttempts", most) - asked.get("attempt", 0)
        assert failed + 1 == max(1, left)


class TestErrorText:
    def test_what_it_says(self) -> None:
        given = claim(retries='{"attempt": 2}', failed_attempts=1)
        outcome = fails(raised(BadInput("no sound", details={"seconds": 0})), given)
        error = json.loads(outcome.text)
        assert (error["message"], error["code"]) == ("no sound", "bad_input")
        details = error["details"]
        assert (details["type"], details["attempt"], details["worker"]) == ("BadInput", 4, "host:1")
        assert details["seconds"] == 0
        assert any("raise error" in line for line in details["traceback"])
        assert outcome.code == "bad_input"

    @pytest.mark.parametrize("error", [ValueError(), MemoryError(), KeyError()])
    def test_an_error_without_a_word_has_its_name(self, error: Exception) -> None:
        assert json.loads(fails(error).text)["message"] == type(error).__name__

    @many
    @given(st.text(st.characters()), json_values)
    def test_it_fits_into_a_graph(self, message: str, detail: Any) -> None:
        outcome = fails(raised(FarmError(message, details={"more": detail})))
        assert outcome.text.encode()
        error = json.loads(outcome.text)
        VALIDATORS["langgraph.v1"].validate({**GRAPH, "nodes": [{**NODE, "error": error}]})

    @pytest.mark.parametrize(
        "detail",
        [math.nan, math.inf, {1, 2}, b"x", object(), {1: 2, None: 3}, (1, (2,)), {"a": {"b": {math.nan}}}],
    )
    def test_details_that_are_not_json_become_text(self, detail: Any) -> None:
        error = json.loads(
            fails(FarmError("x", details={"more": detail})).text,
            parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
        )
        assert "more" in error["details"]

    def test_the_traceback_is_a_tail(self) -> None:
        def deeper(frames: int) -> None:
            if frames:
                deeper(frames - 1)
            else:
                raise ValueError("\n".join(f"line {number}" for number in range(100)))

        with pytest.raises(ValueError, match="line 99") as error:
            deeper(100)
        lines = json.loads(fails(error.value).text)["details"]["traceback"]
        assert len(lines) == 20
        assert lines[-1] == "line 99"

    def test_it_is_never_huge(self) -> None:
        assert len(fails(raised(ValueError("x" * 2_000_000))).text) < 1_000_000

    @pytest.mark.parametrize("kind", ["mute", "mute detail", "endless detail", "deep detail", "huge number"])
    def test_an_error_that_cannot_be_told_is_an_error_all_the_same(self, kind: str) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        endless: list[Any] = []
        endless.append(endless)
        deep: list[Any] = []
        for _ in range(5000):
            deep = [deep]
        error = {
            "mute": Mute(),
            "mute detail": FarmError("x", details={"cause": Mute()}),
            "endless detail": FarmError("x", details={"cause": endless}),
            "deep detail": FarmError("x", details={"cause": deep}),
            "huge number": FarmError("x", details={"cause": 10**5000}),
        }[kind]
        assert json.loads(fails(error).text)["code"] == "internal"


SECRETS = ("minioadmin", "s3cr3t/+&\"'key")


class TestSecrets:
    @pytest.mark.parametrize("secret", SECRETS)
    def test_they_are_nowhere_in_an_error(self, secret: str) -> None:
        try:
            try:
                raise ValueError(f"inner {secret}!")
            except ValueError as inner:
                raise FarmError(f"outer {secret}", details={"a": [secret, {"b": f"x{secret}x"}]}) from inner
        except FarmError as error:
            outcome = fails(error, secrets=SECRETS)
        told = json.loads(outcome.text)
        assert secret not in str(told)
        assert secret not in outcome.text
        assert told["message"] == "outer ***"
        assert told["details"]["a"] == ["***", {"b": "x***x"}]
        assert any("inner ***!" in line for line in told["details"]["traceback"])

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("redis://user:hunter2@redis:6379/0", "redis://user:***@redis:6379/0"),
            ("redis://:hunter2@redis", "redis://:***@redis"),
            ("to http://a:hunter2@b and http://c:hunter2@d", "to http://a:***@b and http://c:***@d"),
            ("http://host:9000/path@2", "http://host:9000/path@2"),
            ("password=hunter2", "password=***"),
            ("MINIO_SECRET_KEY=hunter2 MINIO_ENDPOINT=minio", "MINIO_SECRET_KEY=*** MINIO_ENDPOINT=minio"),
            ("Api-Key: hunter2", "Api-Key: ***"),
            ("access_key = hunter2", "access_key = ***"),
            ("X-Auth-Token: hunter2", "X-Auth-Token: ***"),
            ("nothing to hide", "nothing to hide"),
            ("", ""),
        ],
    )
    def test_what_looks_like_a_credential_is_masked(self, text: str, wanted: str) -> None:
        assert redact(text) == wanted

    @many
    @given(json_values)
    def test_other_values_stay_as_they_are(self, value: Any) -> None:
        assert json.loads(json.dumps(redact(value))) == json.loads(json.dumps(value))

    def test_a_secret_that_begins_with_another(self) -> None:
        assert redact("minio and minio123", ("minio", "minio123")) == "*** and ***"

    @pytest.mark.parametrize(
        "value",
        [
            {"password": "hunter2"},
            {"headers": {"x-api-key": "hunter2"}},
            "{'password': 'hunter2'}",
            '{"secret_key": "hunter2"}',
            "Authorization: Bearer hunter2",
        ],
    )
    def test_values_named_like_credentials_in_a_structure(self, value: Any) -> None:
        assert "hunter2" not in str(redact(value))

    def test_a_secret_as_a_key(self) -> None:
        assert "minioadmin" not in str(redact({"minioadmin": 1}, SECRETS))

    @pytest.mark.parametrize("text", ["a-" * 1500, "password" * 1500], ids=["dashes", "names"])
    def test_a_long_text_takes_no_time(self, text: str) -> None:
        start = time.process_time()
        redact(text)
        assert time.process_time() - start < 0.02
