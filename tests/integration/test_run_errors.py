"""Errors of a run, in its events."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

import worker
from tests.support.helpers import job, run_job, workflow
from worker.cli.single_run import hint_for
from worker.core.events import RunComplete, StepComplete
from worker.sinks.run_summary import summarize
from worker.view.report.error_view import error_view
from worker.workflow.model import Language


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


CONDITION_THROWS = """\
workflow:
  steps:
    - {id: a, expression: "export default [() => { throw new Error('boom') }]", next: {
        b: {condition: state.nothing.there}}}
    - {id: b, expression: "export default [s => s]"}
"""


def test_an_error_of_a_condition_after_a_failure_has_both_places(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(CONDITION_THROWS)
    loaded = worker.load(file)
    result = worker.run(loaded)
    condition, at, cause, place, source, caret = summarize(loaded, result.events)[2:]
    assert condition.startswith("  EdgeConditionError: the condition of a->b threw TypeError")
    assert at == f"    at {file}:4:12 (edge a->b): state.nothing.there"
    assert (cause, place) == ("    caused by JobError: boom", "    at a:1:31")
    assert source.index("throw") < caret.index("^")
    assert result.error is not None
    view = error_view(result.error, loaded.steps[0])
    assert view.notes[0] == "condition of a->b (line 4 of the workflow): state.nothing.there"
    assert view.place == "a:1:31" and view.lines[0].caret == 31


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "fn(s => s);\neach(null, fn(s => s));",
            "dataSource argument for each operation is invalid.",
        ),
        ("const path = dataPath(5);\nfn(s => s);", "path2.match is not a function"),
    ],
)
def test_an_adaptors_error_before_the_operations_has_no_place(source: str, message: str) -> None:
    """OpenFn looks its line up in the job's source map, and does not find it."""
    entry = run_job(source).final_state["errors"]["a"]
    assert entry["message"] == f"TypeError: {message}"
    assert entry["pos"] == {"line": None, "column": None}
    assert entry["step"] == "a"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("source(undefined)(s)", 'You must supply a "path" property when providing an object'
         " argument to JSONPath.evaluate()."),
        ("source(7)(s)", "expr.replaceAll is not a function"),
        ("composeNextState({ references: 5 }, 2)", "state.references is not iterable"),
    ],
)  # fmt: skip
def test_errors_of_common_have_the_words_of_the_published_one(call: str, message: str) -> None:
    entry = run_job(f"fn(s => ({{ ...s, value: {call} }}));").final_state["errors"]["a"]
    assert entry["message"] == message


@pytest.mark.parametrize(
    ("language", "hint"),
    [(Language.JAVASCRIPT, "jobs can import their own adaptors"), (Language.PYTHON, "Python steps can import __future__")],
)  # fmt: skip
def test_the_hint_of_a_module_that_is_not_allowed_fits_the_language(
    language: Language, hint: str
) -> None:
    source = "import { get } from '@openfn/language-http';\nget('x');"
    loaded = workflow(job(source))
    result = worker.run(loaded)
    assert result.error_type == "ImportError"
    steps = tuple(structs.replace(step, language=language) for step in loaded.steps)
    assert hint_for(structs.replace(loaded, steps=steps), result, ()).startswith(hint)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ([], ""),
        (["registri", "sms"], "has no 'registry'; did you mean 'registri'?"),
        (["sms", "mail"], "has no 'registry' (it has: sms, mail)"),
    ],
)
def test_a_credential_that_was_not_given_is_compared_with_those_that_were(
    given: list[str], hint: str
) -> None:
    loaded = workflow({**job("fn(s => s)"), "configuration": "registry"})
    result = worker.run(loaded)
    assert result.error_type == "CredentialError"
    assert hint_for(loaded, result, given).endswith(hint)
    assert bool(hint_for(loaded, result, given)) == bool(given)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_source_of_an_error_is_its_line_without_the_end(end: str) -> None:
    source = end.join(["fn(s => {", "  throw s.x.y;", "});"])
    result = worker.run(workflow({**job(source), "name": "A step"}))
    entry = result.final_state["errors"]["a"]
    assert (entry["pos"]["line"], entry["pos"]["src"]) == (2, "  throw s.x.y;")
