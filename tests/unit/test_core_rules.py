"""Small rules of the core that decide what a run does, as tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import worker
from worker.core.compile_plan import compile_plan
from worker.core.events import AnyEvent, StepComplete, decode_event
from worker.core.execution import executions
from worker.core.outcome import (
    Outcome,
    Position,
    StepError,
    error_entry,
    job_entry,
    own_error,
    scripted_entry,
)
from worker.errors import PlanError

# --- where a run starts ---------------------------------------------------------------------------


def without_ids(**options: Any) -> worker.Workflow:
    steps = [{"name": "First", "expression": "fn(s => s)"}, {"id": "b", "expression": "fn(s => s)"}]
    return worker.load({"workflow": {"steps": steps}, "options": options})


def test_a_caller_starts_at_a_generated_id_and_the_file_does_not() -> None:
    generated = without_ids().steps[0].id
    assert compile_plan(without_ids(), start=generated).start == generated
    with pytest.raises(PlanError, match=f"cannot start at '{generated}'"):
        compile_plan(without_ids(start=generated))


# --- errors of steps in states --------------------------------------------------------------------

RANGE = StepError(type="RangeError", message="too far", source="runtime")
OTHER = StepError(type="AdaptorError", message="no", source="runtime", details={"code": 5})


def test_a_scripted_error_with_details_is_an_adaptors_whatever_its_type() -> None:
    error = StepError(type="RangeError", message="too far", details={"code": 5})
    assert scripted_entry(error) == {
        "source": "runtime", "name": "AdaptorError", "severity": "fail", "message": "too far",
        "details": {"message": "too far", "code": 5},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("type", "reason", "aborts"),
    [
        ("RangeError", "fail", False), ("SyntaxError", "crash", True), ("OomError", "kill", True),
        ("KeyError", "exception", True),
    ],
)  # fmt: skip
def test_the_type_of_an_error_decides_its_reason(type: str, reason: str, aborts: bool) -> None:
    error = StepError(type=type, message="m")
    assert (error.reason, error.aborts) == (reason, aborts)


@pytest.mark.parametrize(
    ("convert", "error", "entry"),
    [
        (job_entry, RANGE, {"name": "RuntimeError", "subtype": "RangeError", "message": "RangeError: too far"}),
        (job_entry, OTHER, {"name": "JobError", "message": "no"}),
        (scripted_entry, RANGE, {"name": "RuntimeError", "subtype": "RangeError", "message": "RangeError: too far"}),
        (scripted_entry, OTHER, {"name": "AdaptorError", "message": "no", "details": {"message": "no", "code": 5}}),
        (error_entry, OTHER, {"name": "AdaptorError", "message": "no", "subtype": OTHER.name, "details": {"code": 5}}),
        (error_entry, StepError(type="JobError", message="m", source="runtime", name="KeyError", position=Position(line=2, column=3)),
         {"name": "JobError", "message": "m", "subtype": "KeyError", "position": {"line": 2, "column": 3}}),
    ],
)  # fmt: skip
def test_an_error_in_a_state(
    convert: Callable[[StepError], dict[str, Any]], error: StepError, entry: dict[str, Any]
) -> None:
    actual = convert(error)
    assert actual == {"source": error.source, "severity": error.reason, **entry}


@pytest.mark.parametrize(
    ("entry", "message", "name"),
    [
        ({"message": "m", "name": "n"}, "m", "n"),
        ({"message": 5, "name": ["n"]}, "", ""),
        ({}, "", ""),
        ("m", "", ""),
        (None, "", ""),
    ],
)
def test_an_error_that_a_step_wrote_itself(entry: Any, message: str, name: str) -> None:
    error = own_error(entry, "a")
    assert error == StepError(type="JobError", message=message, name=name, job_id="a")


def test_an_outcome_has_no_error_of_its_own_unless_it_says_so() -> None:
    assert not Outcome(state="{}").errored


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("details", [{}, {"a": {"b": [1, {"c": "]"}]}}])
@pytest.mark.parametrize("levels", [1, 5000])
def test_a_state_of_any_depth_follows_other_objects(details: Any, levels: int) -> None:
    state = "[" * levels + "]" * levels
    error = {"type": "JobError", "message": "m", "details": details}
    fields = {"type": "step:complete", "run_id": "r", "seq": 3, "timestamp": 0, "job_id": "a"}
    fields |= {"step_id": "s", "reason": "fail", "error": error, "output_dataclip_id": "o"}
    event = decode_event(f'{json.dumps(fields)[:-1]}, "output_dataclip":{state}}}')
    assert isinstance(event, StepComplete)
    assert event.output_dataclip is not None
    assert (event.job_id, event.output_dataclip.text) == ("a", state)


def event_of(type: str, seq: int, step_id: str, **fields: Any) -> AnyEvent:
    head = {"type": type, "run_id": "r", "seq": seq, "timestamp": 0, "job_id": "a"}
    return decode_event(json.dumps(head | {"step_id": step_id} | fields))


def test_executions_are_put_together_from_events() -> None:
    log = {"source": "JOB", "level": "info", "message": "m"}
    output = {"output_dataclip_id": "o", "output_dataclip": {"n": 1}}
    began = {"input_dataclip_id": "i", "execution": 0, "job_name": "A"}
    events = [
        event_of("run:log", 1, "none", **log),
        event_of("step:start", 2, "x", **began),
        event_of("run:log", 3, "x", **log),
        event_of("step:complete", 4, "none", reason="success"),
        event_of("step:complete", 5, "x", reason="success", **output),
        event_of("step:start", 6, "y", **began | {"input_dataclip_id": "o", "execution": 1}),
        event_of("step:complete", 7, "y", reason="success", output_dataclip_id="w", withheld=True),
        event_of("step:start", 8, "z", **began | {"input_dataclip_id": "w", "execution": 2}),
    ]
    first, second, third = executions(events)
    assert [execution.job_id for execution in (first, second, third)] == ["a"] * 3
    assert [execution.number for execution in (first, second, third)] == [0, 1, 2]
    assert (first.complete, first.logs, first.input) == (events[4], (events[2],), None)
    assert second.complete == events[6] and second.logs == ()
    assert second.input is not None and second.input.value == {"n": 1}
    assert third.complete is None and third.input is None
