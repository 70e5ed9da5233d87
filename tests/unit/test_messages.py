"""Every message is what the wire contract says, for any job id and any data."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.graph.messages import Messages, utc_now
from tests.unit.examples import many, some
from tests.unit.graphs import json_values
from tests.unit.test_schemas import NOW, VALIDATORS

messages = Messages(now=lambda: NOW)
job_ids = st.text(min_size=1).filter(lambda job: ":" not in job)


@many
@given(job_ids, st.floats(0, 1))
def test_progress(job: str, fraction: float) -> None:
    message = json.loads(messages.progress_message(job, fraction))
    VALIDATORS["progress-update"].validate(message)
    assert message == {"jobId": job, "progress": pytest.approx(fraction, abs=1e-6), "created": NOW}


@many
@given(job_ids, st.floats(0, 1))
def test_progress_whose_number_only_the_scripts_know(job: str, fraction: float) -> None:
    before, after = messages.progress_parts(job)
    assert before + f"{fraction:.6f}" + after == messages.progress_message(job, fraction)


@pytest.mark.parametrize("status", ["advertised", "queued", "running", "completed", "failed"])
@some
@given(job=job_ids)
def test_status(job: str, status: str) -> None:
    message = json.loads(messages.status_message(job, status))
    VALIDATORS["status-update"].validate(message)
    assert message == {"jobId": job, "status": status, "created": NOW}


class TestData:
    @many
    @given(job_ids, json_values.filter(lambda data: not isinstance(data, str)))
    def test_structured_data_becomes_json_text(self, job: str, data: Any) -> None:
        message = json.loads(messages.data_message(job, data))
        VALIDATORS["data-update"].validate(message)
        assert (message["jobId"], message["created"]) == (job, NOW)
        assert json.loads(message["data"]) == data

    @many
    @given(job_ids, st.text(st.characters()))
    def test_text_stays_as_it_is(self, job: str, data: str) -> None:
        message = json.loads(messages.data_message(job, data))
        VALIDATORS["data-update"].validate(message)
        assert message == {"jobId": job, "data": data, "created": NOW}

    @pytest.mark.parametrize("data", ["", "{}", '{"frame": 1}', "not JSON", "NaN", "\ud800", "\x00"])
    def test_whatever_the_text_is(self, data: str) -> None:
        text = messages.data_message("j", data)
        assert json.loads(text)["data"] == data
        assert text.encode()

    @pytest.mark.parametrize("data", [math.nan, math.inf, -math.inf, [math.nan], {"a": {"b": math.inf}}])
    def test_what_is_not_finite_is_refused(self, data: Any) -> None:
        with pytest.raises(ValueError, match="JSON compliant"):
            messages.data_message("j", data)

    @pytest.mark.parametrize("data", [object(), {1, 2}, b"x", {"a": object()}])
    def test_what_is_not_json_is_refused(self, data: Any) -> None:
        with pytest.raises(TypeError):
            messages.data_message("j", data)


class TestChannels:
    @many
    @given(job_ids)
    def test_the_control_plane_finds_the_job_in_the_channel(self, job: str) -> None:
        for channel in (
            messages.progress_channel(job), messages.status_channel(job), messages.data_channel(job),
        ):  # fmt: skip
            assert channel.split(":")[2:] == [job]

    def test_bases_are_a_setting(self) -> None:
        other = Messages("p", "s", "d")
        names = (other.progress_channel("j"), other.status_channel("j"), other.data_channel("j"))
        assert names == ("p:j", "s:j", "d:j")


def test_the_clock_has_an_offset() -> None:
    assert datetime.fromisoformat(utc_now()).utcoffset() is not None
    VALIDATORS["status-update"].validate(json.loads(Messages().status_message("j", "running")))
