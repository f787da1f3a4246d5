"""Steps with the same source, which share the function that is compiled from it."""

from __future__ import annotations

import pytest

import worker
from tests.support.helpers import check_events, job, logs, workflow
from worker.core.events import StepComplete
from worker.runner.prepare import Options, prepare
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.javascript.runtime import JavaScript

FAILS = """fn(state => state);
fn(function named(state) {
  try { missing(); } catch (error) { console.log(error.stack); }
  return state.data.rows.length;
});"""


def chain(*sources: str) -> worker.Workflow:
    ids = [f"s{index}" for index in range(len(sources))]
    steps = [job(source, id, next={}) for id, source in zip(ids, sources, strict=True)]
    for step, following in zip(steps, ids[1:], strict=False):
        step["next"] = {following: True}
    return workflow(*steps)


def test_an_error_names_the_step_that_runs() -> None:
    result = worker.run(chain(FAILS, FAILS, "fn(s => s)", FAILS))
    check_events(result)
    failed = [e for e in result.events if isinstance(e, StepComplete) and e.error is not None]
    assert [event.job_id for event in failed] == ["s0", "s1", "s3"]
    for event, stack in zip(failed, logs(result), strict=True):
        assert event.error is not None and event.error.position is not None
        assert event.error.type == "TypeError" and event.error.job_id == event.job_id
        assert event.error.position.line == 4
        assert event.error.stack[0] == f"at named ({event.job_id}:4:26)"
        assert f"job:{event.job_id}:3:9" in stack and "missing is not defined" in stack
    assert result.final_state is not None
    assert set(result.final_state["errors"]) == {"s0", "s1", "s3"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import { absent } from '@openfn/language-common';\nfn(absent)", "absent"),
        ("import x from 'axios';\nfn(x)", "module not allowed: axios"),
    ],
    ids=["a name", "a module"],
)
def test_an_import_that_fails_is_placed_in_the_step_that_runs(source: str, message: str) -> None:
    steps = [job("fn(s => s)", "a", next={"b": "!state.data.second", "c": "state.data.second"}),
             job(source, "b"), job(source, "c")]  # fmt: skip
    for input, id in (({}, "b"), ({"data": {"second": True}}, "c")):
        result = worker.run(workflow(*steps), input)
        assert result.error is not None and message in result.error.message
        assert result.error.job_id == id
        assert result.error.position is not None and result.error.position.line == 1


def test_nothing_of_an_execution_stays_in_the_code() -> None:
    source = """const seen = [];
let count = 0;
const tag = strings => strings;
fn(state => {
  seen.push(count++, /x/g.lastIndex, Object.isFrozen(tag`a`));
  return { ...state, data: { all: [...(state.data.all ?? []), seen.join()] } };
});"""
    result = worker.run(chain(source, source, source))
    assert result.final_state["data"]["all"] == ["0,0,true"] * 3


def test_the_same_source_with_other_adaptors_is_other_code() -> None:
    source = "fn(state => ({ ...state, data: { ...state.data, has: typeof combine } }))"
    steps = [job(source, "a", next={"b": True}), {**job(source, "b"), "adaptor": "http@0.0.1"}]
    result = worker.run(workflow(*steps))
    assert (
        result.steps[0].status == "success" and result.steps[0].output["data"]["has"] == "function"
    )
    assert result.steps[1].error is not None and result.steps[1].error.type == "AdaptorError"


def test_a_source_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[str] = []
    evaluate = Engine.evaluate

    def counted(engine: Engine, source: str, file: str) -> None:
        files.append(file)
        evaluate(engine, source, file)

    monkeypatch.setattr(Engine, "evaluate", counted)
    request = prepare(chain(*["fn(s => s)"] * 50, "fn(s => ({...s}))"), {}, Options(), "r")
    assert JavaScript(Engine()).define(request.plan, request.jobs, request.conditions) is None
    assert files == ["job:s0", "job:s50"]
