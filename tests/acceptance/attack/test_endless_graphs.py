"""Attacks by the shape of a workflow and by the size of what a run reports: a small file that has
more executions, or events, than any machine can hold."""

from __future__ import annotations

from typing import Any

import pytest

import worker
from tests.support.helpers import check_events, job, run_job, workflow
from worker.core.compile_plan import compile_plan
from worker.core.driver import drive
from worker.core.machine import (
    CompleteRun,
    Phase,
    Started,
    StepFinished,
    decide,
    initial_state,
)
from worker.core.outcome import Outcome
from worker.sandbox.limits import Limits
from worker.testing import WorkflowUnderTest


def diamonds(count: int, source: str = "fn(s => s);") -> worker.Workflow:
    """Diamonds in a row: each doubles the executions of what follows it."""
    steps: list[dict[str, Any]] = []
    for number in range(count):
        after = f"top{number + 1}" if number + 1 < count else "end"
        steps.append(job(source, f"top{number}", next={f"l{number}": True, f"r{number}": True}))
        steps += [job(source, f"{side}{number}", next=after) for side in "lr"]
    return workflow(*steps, job(source, "end"))


def test_a_row_of_diamonds_is_killed_after_its_executions() -> None:
    """Tries to run 2^40 executions of 120 steps, and to fill the memory with their events."""
    result = worker.run(diamonds(40), {}, limits=Limits(executions=50))
    assert (result.status, result.error_type) == ("killed", "StepLimitError")
    assert result.error_message is not None
    assert "has used up its limit of executions, and 'top" in result.error_message
    assert len(result.path) == 50
    check_events(result)


def test_the_limit_itself_is_allowed_and_the_next_execution_is_not() -> None:
    for executions, status in ((13, "success"), (12, "killed")):
        result = worker.run(diamonds(2), {}, limits=Limits(executions=executions))
        assert (result.status, len(result.path)) == (status, executions)


def test_steps_without_code_use_up_the_limit_too() -> None:
    """Tries to keep the machine busy for ever, without one execution that a driver could stop."""
    run = WorkflowUnderTest(workflow=diamonds(40, ""), limits=Limits(executions=100)).run()
    assert (run.status, run.error_type) == ("killed", "StepLimitError")


def test_the_defaults_end_a_row_of_diamonds_and_not_a_long_chain() -> None:
    """Tries the same with the limits that everybody has."""

    class Quick:
        completed: CompleteRun

        def run_step(self, effect: Any) -> Any:
            return Outcome(state=effect.input)

        def complete_step(self, effect: Any) -> None: ...

        evaluate_edges: Any = None

        def complete_run(self, effect: CompleteRun) -> None:
            self.completed = effect

    quick = Quick()
    drive(compile_plan(diamonds(10)), Started(input={}), quick, Limits().executions)
    assert quick.completed.error is None, "4,093 executions"
    assert Limits().executions == 250_000
    drive(compile_plan(diamonds(40, "")), Started(input={}), quick, 5_000)
    assert quick.completed.error is not None and quick.completed.leaves == ()


def dense(count: int, source: str) -> worker.Workflow:
    """Return steps of which each leads to all that follow it."""
    ids = [f"s{number}" for number in range(count)]
    return workflow(
        *(
            job(source, id, next=dict.fromkeys(ids[number + 1 :], True))
            for number, id in enumerate(ids)
        )
    )


def test_what_waits_is_bounded_by_the_executions_that_are_left() -> None:
    """Tries to fill the memory with activations: each of a few executions leads to 60 others."""
    state = initial_state(compile_plan(dense(60, "fn(s => s);")), 100)
    state, effects = decide(state, Started(input={}))
    waiting: list[int] = []
    while state.phase is not Phase.COMPLETED:
        state, effects = decide(state, StepFinished(outcome=Outcome(state={})))
        waiting.append(len(state.queue))
    last = effects[-1]
    assert isinstance(last, CompleteRun) and last.error is not None
    assert (len(waiting), last.error.type) == (100, "StepLimitError")
    assert 90 < max(waiting) <= 101


def test_events_of_a_dense_graph_share_the_names_of_the_steps_that_follow() -> None:
    """Tries to make events, which are kept, ten times larger in memory than their frames."""
    flow = dense(12, "fn(s => s);")
    result = worker.run(flow, {}, limits=Limits(executions=200))
    names = {id(edge.target) for step in flow.steps for edge in step.edges}
    following = [name for event in result.events for name in getattr(event, "next", ())]
    assert len(following) > 500
    assert names.issuperset(map(id, following))


@pytest.mark.parametrize(
    "source",
    [
        "fn(() => { for (let i = 0; i < 40; i++) console.log('x'.repeat(1e5)); return {}; });",
        "fn(() => ({ data: 'x'.repeat(3e6) }));",
    ],
    ids=["log lines", "an output"],
)
def test_a_run_is_killed_when_its_events_are_over_their_limit(source: str) -> None:
    """Tries to fill the disk and the memory of whoever keeps the events."""
    limits = Limits(events_mb=2, log_total_mb=500)
    result = run_job(source, limits=limits)
    assert (result.status, result.error_type) == ("killed", "StepLimitError")
    assert result.error_message == "the events of the run are over their limit of 2 MB"
    assert run_job(source, limits=Limits()).status == "success"


@pytest.mark.parametrize(
    "thrown",
    [
        "new Error('x'.repeat(4e7))",
        "Object.assign(new Error('m'), { name: 'x'.repeat(4e7) })",
        "'x'.repeat(4e7)",
        "new TypeError('x'.repeat(4e7))",
    ],
)
def test_an_error_text_of_40_mb_is_cut_before_anything_is_done_with_it(
    thrown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Tries to use seconds of time, and all memory, by the text of an error."""
    result = run_job(f"fn(() => {{ throw {thrown}; }});")
    assert result.status == "failed", "and not killed for its memory"
    assert len(result.error_message or "") < 110_000
    assert len(result.final_text or "") < 210_000
    assert capfd.readouterr().err == ""
