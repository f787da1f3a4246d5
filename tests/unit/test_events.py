"""Events as JSON lines: what is written is what is read."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    RunLog,
    RunStart,
    StepComplete,
    StepStart,
    error_from_dict,
    error_to_dict,
    event_clip,
    event_fields,
    from_dict,
    to_json,
)
from worker.core.outcome import Position, StepError
from worker.core.status import ERROR_TYPES, STATUS_OF_REASON, Status

# --- any event ----------------------------------------------------------------------------------

TEXT = st.text(max_size=20)
COUNT = st.integers(0, 2**53)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), TEXT
    ).filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
CLIPS = st.none() | st.dictionaries(TEXT, JSON, max_size=3).map(Dataclip.of)
ENVELOPE: dict[str, st.SearchStrategy[Any]] = {
    "run_id": TEXT,
    "seq": COUNT,
    "timestamp": COUNT,
}
ERRORS = st.recursive(
    st.none(),
    lambda cause: st.builds(
        StepError,
        type=st.sampled_from([*ERROR_TYPES, "KeyError"]),
        message=TEXT,
        name=TEXT,
        source=st.sampled_from(["runtime", "compiler", "edge"]),
        step_id=st.none() | st.text(min_size=1, max_size=5),
        position=st.none()
        | st.builds(
            Position, line=st.integers(1, 9999), column=st.integers(1, 9999), source_line=TEXT
        ),
        stack=st.lists(TEXT, max_size=3).map(tuple),
        details=st.dictionaries(TEXT, JSON, max_size=3),
        cause=cause,
    ),
    max_leaves=3,
)
ENDS: dict[str, st.SearchStrategy[Any]] = {
    "reason": st.sampled_from(list(STATUS_OF_REASON)),
    "error": ERRORS,
    "withheld": st.booleans(),
    "mem": COUNT,
    "duration": COUNT,
}
RUN_STARTS = st.builds(
    RunStart, **ENVELOPE, workflow=TEXT, versions=st.dictionaries(TEXT, TEXT, max_size=3)
)
STEP_STARTS = st.builds(
    StepStart,
    **ENVELOPE,
    step_id=TEXT,
    job_id=TEXT,
    job_name=TEXT,
    input_dataclip_id=TEXT,
    execution=COUNT,
)
RUN_LOGS = st.builds(
    RunLog,
    **ENVELOPE,
    source=st.sampled_from(["JOB", "ADA", "R/T", "CMP", "VER"]),
    level=st.sampled_from(["debug", "info", "warn", "error"]),
    message=TEXT,
    step_id=TEXT,
    job_id=TEXT,
)
STEP_COMPLETES = st.builds(
    StepComplete,
    **ENVELOPE,
    **ENDS,
    step_id=TEXT,
    job_id=TEXT,
    output_dataclip_id=st.none() | TEXT,
    output_dataclip=CLIPS,
    next=st.lists(TEXT, max_size=3).map(tuple),
)
RUN_COMPLETES = st.builds(
    RunComplete, **ENVELOPE, **ENDS, final_dataclip_id=st.none() | TEXT, final_state=CLIPS
)
EVENTS = st.one_of(RUN_STARTS, STEP_STARTS, RUN_LOGS, STEP_COMPLETES, RUN_COMPLETES)


@given(EVENTS)
def test_an_event_survives_the_round_trip_through_json(event: AnyEvent) -> None:
    assert from_dict(json.loads(to_json(event))) == event


@given(EVENTS)
def test_an_event_is_one_line(event: AnyEvent) -> None:
    assert "\n" not in to_json(event)


@given(EVENTS)
def test_every_field_of_an_event_is_written(event: AnyEvent) -> None:
    written = json.loads(to_json(event))
    assert {"type", *(field.name for field in fields(event))} <= set(written)
    assert written["type"] == event.type


@given(ERRORS.filter(lambda error: error is not None))
def test_an_error_survives_the_round_trip_through_a_dict(error: StepError) -> None:
    assert error_from_dict(json.loads(json.dumps(error_to_dict(error)))) == error


# --- the wire -----------------------------------------------------------------------------------

FAILURE = StepError(
    type="JobError",
    message="unknown patient",
    name="PatientError",
    step_id="fetch-patient",
    position=Position(line=3, column=7, source_line="throw new PatientError()"),
)


def step_complete(**changes: Any) -> StepComplete:
    values: dict[str, Any] = {
        "run_id": "r",
        "seq": 2,
        "timestamp": 1_700_000_000_000_000,
        "step_id": "u",
        "job_id": "fetch-patient",
        "reason": "success",
    }
    return StepComplete(**(values | changes))


def test_an_error_is_flattened_as_the_wire_has_it_and_kept_whole() -> None:
    written = event_fields(step_complete(reason="fail", error=FAILURE))
    assert (written["error_type"], written["error_message"]) == ("JobError", "unknown patient")
    assert written["error"]["position"]["line"] == 3


def test_the_fields_of_an_error_are_null_where_there_is_none() -> None:
    written = event_fields(step_complete())
    assert (written["error_type"], written["error_message"], written["error"]) == (None,) * 3


def test_a_dataclip_stands_in_the_line_as_it_is() -> None:
    """Numbers are not read and printed again on the way out."""
    clip = Dataclip('{"dose":1.50,"big":12345678901234567890}')
    assert f'"output_dataclip":{clip.text}' in to_json(step_complete(output_dataclip=clip))


def test_only_completions_carry_a_dataclip() -> None:
    log = RunLog(run_id="r", seq=0, timestamp=0, source="JOB", level="info", message="m")
    assert event_clip(log) is None
    assert event_clip(step_complete()) == ("output_dataclip", None)


@pytest.mark.parametrize(("reason", "status"), STATUS_OF_REASON.items())
def test_a_run_completion_tells_its_status(reason: str, status: Status) -> None:
    assert RunComplete(run_id="r", seq=9, timestamp=0, reason=reason).status is status


def test_a_dataclip_is_its_text() -> None:
    assert Dataclip('{"a":1}') == Dataclip.of({"a": 1})
    assert Dataclip('{"a":1}') != Dataclip('{"a":2}')
    assert Dataclip("{}") != "{}"


def test_a_dataclip_keeps_letters_of_every_script_readable() -> None:
    assert Dataclip.of({"nom": "Aïssatou ሰላም"}).text == '{"nom":"Aïssatou ሰላም"}'


def test_a_dataclip_is_parsed_once() -> None:
    clip = Dataclip('{"data":{}}')
    assert clip.value is clip.value


def test_a_long_dataclip_is_abridged_when_shown() -> None:
    assert len(repr(Dataclip.of("x" * 10_000))) < 120


# --- what is not an event -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="empty"),
        pytest.param({"type": "run:paused"}, id="an unknown type"),
        pytest.param({"type": ["run:start"]}, id="a type that is a list"),
        pytest.param({"type": "run:complete", "run_id": "r"}, id="fields missing"),
        pytest.param([], id="a list"),
        pytest.param(None, id="nothing"),
        pytest.param(
            {"type": "run:complete", "run_id": "r", "seq": 0, "timestamp": 0, "reason": "fail"}
            | {"error": {"type": "JobError"}},
            id="an error without a message",
        ),
        pytest.param(
            {"type": "run:complete", "run_id": "r", "seq": 0, "timestamp": 0, "reason": "fail"}
            | {"error": "boom"},
            id="an error that is a text",
        ),
    ],
)
def test_anything_else_is_a_value_error(fields: Any) -> None:
    with pytest.raises(ValueError, match="not an event of a run"):
        from_dict(fields)


def test_fields_that_this_version_does_not_know_are_ignored() -> None:
    written = json.loads(to_json(step_complete())) | {"novelty": 1}
    assert from_dict(written) == step_complete()


# --- text as JavaScript writes it ---------------------------------------------------------------


def test_a_dataclip_with_a_number_as_javascript_prints_it_survives_the_round_trip() -> None:
    event = step_complete(output_dataclip=Dataclip('{"dose":1e-7}'))
    assert from_dict(json.loads(to_json(event))) == event


def test_half_an_emoji_in_a_log_message_can_be_written_to_a_file() -> None:
    log = RunLog(run_id="r", seq=0, timestamp=0, source="JOB", level="info", message="\ud83d")
    assert json.loads(to_json(log).encode())["message"] == "\ud83d"
