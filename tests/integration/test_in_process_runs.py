"""Scripted runs in this process: the same as in a process of their own, and as safe."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Iterator
from dataclasses import replace as replace_case
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from tests.support.helpers import check_events
from worker.core.outcome import StepError
from worker.core.scripted import ScriptedStep
from worker.runner.pool import background
from worker.runner.result import Result
from worker.testing.case import Case
from worker.testing.case_reader import load_cases
from worker.testing.in_process import InProcessRunner, NeedsSandbox
from worker.testing.schedule import scheduled_runs

JOB = {"adaptor": "common@1", "expression": "fn(s => s);"}


@pytest.fixture
def runner() -> Iterator[InProcessRunner]:
    kept = background()
    runner = InProcessRunner(kept.pool, kept.loop)
    yield runner
    runner.close()


def cases(folder: Path, condition: str, *listed: dict[str, Any]) -> list[Case]:
    steps = [
        {"id": "a", **JOB, "next": {"b": {"condition": condition}, "c": "on_job_failure"}},
        {"id": "b", **JOB},
        {"id": "c", **JOB},
    ]
    (folder / "w.yaml").write_text(yaml.safe_dump({"steps": steps}))
    file = folder / "w.cases.yaml"
    named = [{"name": str(number), "expect": {}, **case} for number, case in enumerate(listed)]
    file.write_text(yaml.safe_dump({"workflow": "w.yaml", "cases": named}))
    return load_cases(file)


def in_a_process(case: Case) -> Result:
    turn = next(scheduled_runs(case))
    return background().run(case.workflow, turn.input, turn.options, run_id=turn.run_id)


def facts(result: Result) -> list[dict[str, Any]]:
    """The events less what memory they took."""
    fields = [
        {name: getattr(event, name) for name in event.__struct_fields__ if name != "mem"}
        for event in result.events
    ]
    return [{**one, "kind": event.type} for one, event in zip(fields, result.events, strict=True)]


ACTS: dict[str, Any] = {
    "returns": {"returns": {"data": {"x": 1}}},
    "passes on": {},
    "returns nothing": {"returns": None},
    "fails": {"fails": "JobError", "message": "404", "details": {"code": 4}},
    "leaves": {"fails": "TypeError", "leaves": {"data": {"x": 1}, "errors": {"z": {}}}},
    "crashes": {"fails": "ReferenceError"},
    "is lost": {"fails": "LostAfterStart"},
    "takes": {"takes": 12.5},
    "hangs": {"hangs": True},
}
FAILS = ScriptedStep(error=StepError(type="JobError", message="no"))
CONDITIONS = ["state.data.x > 0", "!state.errors", "(state.data.y = 2)", "state.none.x", "Math.random() < 2 && Date.now() > 0"]  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_a_run_without_a_process_reports_what_the_same_run_in_one_reports(
    tmp_path: Path, runner: InProcessRunner, act: Any, condition: str
) -> None:
    steps = {"a": act, "b": {"returns": {"n": 1}}, "c": {"fails": "JobError"}}
    (case,) = cases(tmp_path, condition, {"steps": steps, "input": {"data": {"z": 1}}})
    staged = runner.run(next(scheduled_runs(case)))
    check_events(staged)
    assert facts(staged) == facts(in_a_process(case))
    assert staged.final_text == in_a_process(case).final_text


def test_a_run_that_comes_to_real_code_is_left_to_a_process(
    tmp_path: Path, runner: InProcessRunner
) -> None:
    (case,) = cases(tmp_path, "true", {"steps": {"a": {}}})
    with pytest.raises(NeedsSandbox):
        runner.run(next(scheduled_runs(case)))


@pytest.mark.parametrize(
    ("condition", "type"),
    [
        ("(() => { const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1)); })()", "OomError"),
        ("'x'.repeat(1e6).concat(state.data).at(0) === new Function('return 1')", "EdgeConditionError"),
        ("process.exit()", "EdgeConditionError"),
    ],
)  # fmt: skip
def test_conditions_are_held_to_their_limits_outside_of_this_process(
    tmp_path: Path, runner: InProcessRunner, condition: str, type: str
) -> None:
    case, after = cases(
        tmp_path, condition, {"steps": {"a": {}, "b": {}, "c": {}}, "memory": 64}, {"steps": {"a": {"fails": "OomError"}}}
    )  # fmt: skip
    staged = runner.run(next(scheduled_runs(case)))
    assert staged.error_type == type and staged.path[-1].step == "a"
    assert runner.run(next(scheduled_runs(after))).error_type == "OomError"


@pytest.mark.slow
def test_a_condition_that_never_returns_is_a_timeout(
    tmp_path: Path, runner: InProcessRunner
) -> None:
    (case,) = cases(
        tmp_path, "!state.errors && (() => { for (;;); })()", {"steps": {"a": {}, "b": {}, "c": {}}}
    )
    staged = runner.run(next(scheduled_runs(case)))
    assert (staged.status, staged.error_type) == ("killed", "TimeoutError")
    # The next question is put to a new process.
    failing = replace_case(case, script={**case.script, "a": (FAILS,)})
    assert runner.run(next(scheduled_runs(failing))).path[-1].step == "c"


def test_code_that_does_not_compile_refuses_the_run(
    tmp_path: Path, runner: InProcessRunner
) -> None:
    (case,) = cases(tmp_path, "true", {"steps": {"a": {}, "b": {}, "c": {}}})
    broken = replace(case.workflow.steps[1], source="fn(s => { let a; let a; });")
    steps = (case.workflow.steps[0], broken, case.workflow.steps[2])
    refused = replace_case(case, workflow=replace(case.workflow, steps=steps))
    assert runner.run(next(scheduled_runs(refused))).status == "crashed"


async def test_evaluators_end_with_the_runner(tmp_path: Path) -> None:
    (case,) = cases(tmp_path, "true", {"steps": {"a": {}, "b": {}, "c": {}}})
    shared = background()
    await asyncio.to_thread(background().run, case.workflow)
    before = children(shared.pool.zygote_pid)
    runner = InProcessRunner(shared.pool, shared.loop)
    await asyncio.to_thread(runner.run, next(scheduled_runs(case)))
    (evaluator,) = children(shared.pool.zygote_pid) - before
    with os.fdopen(os.pidfd_open(evaluator)) as ended:
        runner.close()
        assert select.select([ended], [], [], 30)[0]


def children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
