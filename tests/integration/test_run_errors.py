"""Errors of a run, in its events."""

from __future__ import annotations

import worker
from tests.support.helpers import job, run_job, workflow
from worker.core.events import RunComplete, StepComplete


def test_an_error_names_its_execution_and_its_step() -> None:
    """Both in the completion of the step and in that of the run."""
    result = run_job("fn(() => { throw new Error('no') })")
    step = next(event for event in result.events if isinstance(event, StepComplete))
    end = result.events[-1]
    assert isinstance(end, RunComplete) and step.error and end.error
    for error in (step.error, end.error):
        assert (error.job_id, error.step_id) == ("a", step.step_id)


def test_an_error_of_a_condition_names_its_execution_and_its_step() -> None:
    result = worker.run(
        workflow(
            job("fn(s => s)", next={"b": {"condition": "nothing.there"}}), job("fn(s => s)", "b")
        )
    )
    step = next(event for event in result.events if isinstance(event, StepComplete))
    assert result.error is not None and result.error.type == "EdgeConditionError"
    assert (result.error.job_id, result.error.step_id) == ("a", step.step_id)
