"""Scripted steps: the input that they get, and what of it may reach their state."""

from __future__ import annotations

import json
from typing import Any

import pytest

import worker
from worker.core.outcome import StepError
from worker.core.scripted import (
    ScriptedStep,
    build_input,
    find_scripted_step,
    remaining_script,
    scripted_outcome,
    truthy,
)
from worker.testing import WorkflowUnderTest

SECRET = "correct-horse-battery"


def test_the_configuration_is_merged_from_the_workflow_the_input_and_the_step() -> None:
    upstream = {"configuration": {"a": 2, "b": 2}, "data": {"n": 1}}
    defaults = {"configuration": {"password": SECRET}, "data": {"m": 2}}
    merged = build_input(upstream, defaults, {"b": 3}, {"a": 1, "c": 1})
    assert merged == {"configuration": {"a": 2, "b": 3, "c": 1}, "data": {"m": 2, "n": 1}}
    assert build_input(None, {}, {"user": "ann"}) == {"configuration": {"user": "ann"}, "data": {}}


@pytest.mark.parametrize(
    ("upstream", "input"),
    [
        ("ok", {"0": "o", "1": "k", "data": {"d": 1}}),
        ([5], {"0": 5, "data": {"d": 1}}),
        (True, {"data": {"d": 1}}),
        ({"data": [1]}, {"data": [1]}),
        ({"data": "text"}, {"data": "text"}),
        ({"data": 0}, {"data": {"d": 1}}),
        ({"data": ""}, {"data": {"d": 1}}),
        ({"data": None}, {"data": {"d": 1}}),
    ],
)
def test_upstream_states_of_any_kind_are_merged(upstream: Any, input: dict[str, Any]) -> None:
    assert build_input(upstream, {"data": {"d": 1}}, {}) == {"configuration": {}, **input}


def test_no_scripted_state_holds_a_credential() -> None:
    state = {"configuration": {"password": SECRET}, "response": {"body": SECRET}, "data": {}}
    error = StepError(type="JobError", message="no", name="JobError")
    for script in (ScriptedStep(), ScriptedStep(error=error)):
        assert SECRET not in str(scripted_outcome(script, "a", lambda: state).state)


@pytest.mark.parametrize(
    ("returns", "state", "errored"),
    [
        ('{"data":1}', '{"data":1}', False),
        ("{}", "{}", False),
        ("[]", "[]", False),
        ("0", None, False),
        ("null", None, False),
        ('{"errors":{"a":{}}}', '{"errors":{"a":{}}}', True),
        ('{"errors":{"b":{}}}', '{"errors":{"b":{}}}', False),
        ('{"errors":{"a":null}}', '{"errors":{"a":null}}', False),
        ('{"\\u0065rrors":{"a":1}}', '{"\\u0065rrors":{"a":1}}', True),
    ],
)
def test_what_a_step_returns_decides_whether_it_errored(
    returns: str, state: str | None, errored: bool
) -> None:
    def unused() -> dict[str, object]:
        pytest.fail("the input is not needed, and parsing it takes time")

    outcome = scripted_outcome(ScriptedStep(returns=returns), "a", unused)
    assert (outcome.state, outcome.errored) == (state, errored)


def test_a_scripted_run_never_shows_the_credential_of_its_step() -> None:
    step = {
        "adaptor": "common@1",
        "expression": "fn(s => s);",
        "configuration": {"password": SECRET},
    }
    workflow = worker.load({"steps": [{"id": "a", **step, "next": "b"}, {"id": "b", **step}]})
    run = WorkflowUnderTest(workflow=workflow).with_step("a").with_step("b").run({"data": {"n": 1}})
    assert run.steps == ["a", "b"] and run.final_state == {"data": {"n": 1}}
    assert SECRET not in json.dumps(run.final_state) + repr(run.result.events)


def test_an_empty_object_or_list_is_true_as_in_javascript() -> None:
    assert truthy({}) and truthy([]) and truthy("x") and truthy(1)
    assert not truthy(None) and not truthy(0) and not truthy("") and not truthy(False)


def test_a_script_covers_the_executions_that_it_names() -> None:
    early, late = ScriptedStep(first=0, last=1, returns="1"), ScriptedStep(first=3, returns="2")
    script = {"a": (early, late)}
    covered = [find_scripted_step(script, "a", execution) for execution in range(6)]
    assert covered == [early, early, None, late, late, late]
    assert find_scripted_step(script, "b", 0) is None


def test_what_is_left_of_a_script_counts_from_where_a_run_begins() -> None:
    script = {"a": (ScriptedStep(first=0, last=1), ScriptedStep(first=3), ScriptedStep(last=4))}
    left = remaining_script(script, {"a": 1})
    assert left == {"a": (ScriptedStep(last=0), ScriptedStep(first=2), ScriptedStep(last=3))}
    left = remaining_script(script, {"a": 4, "b": 1})
    assert left == {"a": (ScriptedStep(first=0), ScriptedStep(last=0))}
    assert remaining_script(script, {}) == script


def test_a_script_takes_no_time_unless_it_names_one() -> None:
    assert ScriptedStep().takes_s == 0 and ScriptedStep().covers(0)


@pytest.mark.parametrize(
    ("type", "state"),
    [
        ("JobError", {"data": {}, "errors": {"b": 1, "a": {"message": "no"}}}),
        ("TimeoutError", None),
    ],
)
def test_a_scripted_error_fails_the_step_or_aborts_the_run(
    type: str, state: dict[str, Any] | None
) -> None:
    error = StepError(type=type, message="no", name=type)
    outcome = scripted_outcome(
        ScriptedStep(error=error), "a", lambda: {"data": {}, "errors": {"b": 1}, "response": {}}
    )
    assert outcome.error == error
    if state is None:
        assert (outcome.state, outcome.errored) == (None, False)
        return
    written = json.loads(outcome.state or "")
    assert written["errors"]["a"]["message"] == "no" and written["errors"]["b"] == 1
    assert written["data"] == {} and "response" not in written and outcome.errored


def test_a_step_without_a_script_of_its_own_returns_its_input() -> None:
    state = {"configuration": {}, "response": 1, "data": {"n": 1}, "errors": {"b": 1}}
    outcome = scripted_outcome(ScriptedStep(), "a", lambda: state)
    assert json.loads(outcome.state or "") == {"data": {"n": 1}, "errors": {"b": 1}}
    assert not outcome.errored


def test_an_error_that_a_step_wrote_itself_names_the_step() -> None:
    returns = '{"errors":{"a":{"message":"no","name":"Odd"}}}'
    outcome = scripted_outcome(ScriptedStep(returns=returns), "a", dict)
    assert outcome.error == StepError(type="JobError", message="no", name="Odd", job_id="a")


def test_a_workflow_under_test_is_shown_by_its_name() -> None:
    step = {"id": "a", "expression": "export default [s => s]"}
    assert repr(WorkflowUnderTest(workflow=worker.load({"name": "intake", "steps": [step]}))) == (
        "<workflow 'intake'>"
    )
