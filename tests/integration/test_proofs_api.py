"""Proofs for tests in Python: differences, mutants, generated inputs, audits, strategies."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings

import worker
from tests.support.command import ROOT
from tests.support.helpers import job, workflow
from worker.testing import (
    WorkflowUnderTest,
    audit_run,
    diff_workflows,
    find_flaky,
    fuzz_workflow,
    load_cases,
    mutants_of,
    mutation_test,
    strategies,
    synthetic_inputs,
)

REFERRAL = ROOT / "graphs/referral.yaml"
BEFORE = workflow(job("fn(s => s);", next={"b": "state.data.n > 5"}), job("fn(s => s);", "b"))
AFTER = workflow(job("fn(s => s);", next={"b": "state.data.n >= 5"}), job("fn(s => s);", "b"))
SAMPLES: list[dict[str, Any]] = [
    {"data": {"age": 4, "name": "Amina", "visits": [{"on": "2025-03-14", "kind": "first"}]}},
    {"data": {"age": 31, "name": "Otieno", "visits": [], "phone": "+254700000123"}},
    {"data": {"age": 31.5, "name": None, "visits": [{"on": "2025-01-02", "kind": "next"}]}},
]
SHAPE = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "object",
            "required": ["age", "name", "visits"],
            "additionalProperties": False,
            "properties": {
                "age": {"type": "number", "minimum": 4, "maximum": 31.5},
                "name": {"type": ["string", "null"]},
                "phone": {"type": "string"},
                "visits": {
                    "type": "array",
                    "maxItems": 1,
                    "items": {
                        "required": ["on", "kind"],
                        "properties": {"on": {"pattern": r"^\d{4}-\d\d-\d\d$"}},
                    },
                },
            },
        }
    },
}


def test_a_diff_is_false_where_nothing_differs_and_explains_itself() -> None:
    same = diff_workflows(BEFORE, BEFORE)
    assert not same and same.complete
    assert repr(same) == f"no difference in {same.situations} situations"
    diff = WorkflowUnderTest(workflow=BEFORE).diff(AFTER)
    assert diff
    assert '"n":5' in diff.scenarios[0].when
    assert repr(diff).startswith(f"{diff.scenarios[0].when}: OLD runs no other step")
    assert diff.changes == ("changed edge a->b: state.data.n > 5 → state.data.n >= 5",)


def test_a_diff_takes_a_path_too() -> None:
    assert not WorkflowUnderTest(workflow=worker.load(REFERRAL)).diff(REFERRAL)


def test_each_mutant_has_one_change() -> None:
    names = [mutant.name for mutant in WorkflowUnderTest(workflow=BEFORE).mutants()]
    assert "a->b flipped" in names
    assert "a->b with state.data.n >= 5" in names


@pytest.mark.slow
def test_a_mutation_test_lists_the_survivors_with_a_scenario() -> None:
    [case] = [c for c in load_cases(REFERRAL.with_suffix(".cases.yaml")) if "known p" in c.name][:1]
    inputs = [{"data": {"n": n}} for n in (1, 7)]
    expect = [replace(case.expect, path=None, status=None, never=(), through=through)
              for through in ((), ("b",))]  # fmt: skip
    cases = [
        replace(case, name=str(n), workflow=BEFORE, input=input, expect=expectation)
        for n, (input, expectation) in enumerate(zip(inputs, expect, strict=True))
    ]
    result = mutation_test(cases)
    assert result.killed and result.percent < 100
    assert "a->b always taken" in [survivor.name for survivor in result.survivors]
    assert "OLD runs no other step" in repr(result)
    with pytest.raises(worker.UsageError, match="one or more cases of one workflow"):
        mutation_test([])


@pytest.mark.slow
def test_fuzzing_finds_a_field_that_may_be_missing() -> None:
    flow = workflow(job("fn(s => ({ data: s.data.visits.map(v => v.on.slice(0, 4)) }));"))
    campaign = WorkflowUnderTest(workflow=flow).fuzz(SAMPLES, inputs=32, seed=1)
    errors = {failure.message for d in campaign.discoveries for failure in d.ending.failures}
    assert any("'slice'" in error or "'map'" in error for error in errors), errors
    with pytest.raises(worker.UsageError, match="at least one input"):
        fuzz_workflow(flow, [])


def test_an_audit_names_the_event_that_breaks_a_rule() -> None:
    run = WorkflowUnderTest(workflow=BEFORE).with_fuel().run({"data": {"n": 9}})
    assert run.breach is None and run.cost
    events = list(run.result.events)
    events[2] = msgspec.structs.replace(events[2], seq=7)
    breach = audit_run(events)
    assert breach is not None and (breach.index, breach.law) == (2, 1)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(strategies.inputs(SAMPLES))
def test_inputs_have_the_shape_of_the_samples(input: dict[str, Any]) -> None:
    jsonschema.validate(input, SHAPE)


@pytest.mark.slow
def test_unusual_inputs_leave_the_shape_at_one_place() -> None:
    seen: set[bool] = set()

    @settings(max_examples=60, deadline=None, database=None)
    @given(strategies.unusual_inputs(SAMPLES))
    def collect(input: dict[str, Any]) -> None:
        seen.add(jsonschema.Draft202012Validator(SHAPE).is_valid(input))

    collect()
    assert False in seen
    with pytest.raises(worker.UsageError, match="at least one input"):
        strategies.inputs([])


@pytest.mark.slow
def test_what_depends_on_chance_is_found_and_synthetic_inputs_name_nobody() -> None:
    [case] = [c for c in load_cases(REFERRAL.with_suffix(".cases.yaml")) if "known p" in c.name][:1]
    flow = workflow(job("fn(s => ({ n: Math.random() < 0.5 }));"))
    expect = replace(case.expect, path=None, status=None, never=(), through=())
    varied = replace(case, name="dice", workflow=flow, input={}, script={}, http=(), expect=expect)
    [flaky] = find_flaky([varied], 9)
    assert (flaky.cause.value, flaky.fails) == ("other random numbers", False)
    inputs = synthetic_inputs(SAMPLES, 20, seed=3)
    assert len(inputs) == 20 and not re.search("Amina|Otieno|254700000123", repr(inputs))
    with pytest.raises(worker.UsageError, match="at least one input"):
        synthetic_inputs([], 1)


def test_mutants_can_run() -> None:
    assert all(worker.run(mutant.workflow, {"data": {"n": 1}}) for mutant in mutants_of(BEFORE))
