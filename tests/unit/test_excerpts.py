"""Errors of sources that do not compile: the step, the line and a caret below the place."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import worker
from worker.cli.validate import validate
from worker.compiler.compile_job import compile_job
from worker.errors import SOURCE_LINE_LIMIT, PlanError
from worker.runner.prepare import Options, prepare, rejection
from worker.sinks.terminal_text import excerpt, excerpt_of
from worker.workflow.load import load
from worker.workflow.model import Workflow

BROKEN_JOB = "fn(state => state);\nfn(state => { const key = ; });"


def _workflow(**step: object) -> Workflow:
    return load({"name": "w", "steps": [{"id": "read", **step}, {"id": "count"}]})


def _rejection(workflow: Workflow, options: Options) -> tuple[PlanError, object]:
    with pytest.raises(PlanError) as caught:
        prepare(workflow, {}, options, "run")
    return caught.value, rejection(workflow, options, caught.value)


def test_an_error_before_the_run_has_its_step_and_its_line() -> None:
    error, reason = _rejection(_workflow(expression=BROKEN_JOB), Options())
    assert reason.job_id == "read"  # type: ignore[attr-defined]
    assert list(excerpt_of(error)) == [
        "       2 | fn(state => { const key = ; });",
        "         |                           ^",
    ]


def test_a_condition_that_does_not_compile_shows_its_line() -> None:
    workflow = _workflow(expression="fn(s => s)", next={"count": "state.a >"})
    error, reason = _rejection(workflow, Options())
    assert (error.step, error.line, error.column) == ("read", 1, 10)
    assert reason.position.source_line == "state.a >"  # type: ignore[attr-defined]


def test_a_line_of_source_hides_the_credentials_of_the_run() -> None:
    source = "const key = 'hunter2-hunter2' ;;; const = 1"
    workflow = _workflow(expression=source, configuration={"password": "hunter2-hunter2"})
    _, reason = _rejection(workflow, Options())
    assert "hunter2" not in str(reason)


@pytest.mark.parametrize("before", range(480, 505, 4))
def test_a_line_is_cut_after_its_credentials_are_masked(before: int) -> None:
    """A part of a credential at the end of what is held would not be recognised."""
    source = f"const =;{' ' * before}'hunter2-hunter2'"
    workflow = _workflow(expression=source, configuration={"password": "hunter2-hunter2"})
    _, reason = _rejection(workflow, Options())
    assert "hunt" not in str(reason)
    assert len(reason.position.source_line) <= SOURCE_LINE_LIMIT  # type: ignore[attr-defined]


def test_a_credential_of_a_run_is_masked_where_its_line_is_cut() -> None:
    source = f"fn(s => s.x.y);{' ' * 475}// 'hunter2-hunter2'"
    workflow = _workflow(expression=source, configuration={"password": "hunter2-hunter2"})
    result = worker.run(workflow, {})
    assert result.error is not None and result.error.position is not None
    assert "fn(s => s.x.y)" in result.error.position.source_line
    assert "hunt" not in str(result.error)


def test_half_of_a_surrogate_pair_is_not_in_the_line() -> None:
    with pytest.raises(PlanError) as caught:
        compile_job("const a = 1;\nconst b = '\ud800'")
    assert (caught.value.line, caught.value.source_line) == (2, "const b = '?'")


def test_the_caret_stands_below_a_line_with_tabs() -> None:
    text, caret = excerpt(1, 4, "\t\tx y")
    assert text.index("y") - text.index("x") == 2
    assert caret == "         | \t\t ^"


@pytest.mark.parametrize(("blanks", "lines"), [(SOURCE_LINE_LIMIT - 20, 2), (SOURCE_LINE_LIMIT, 0)])
def test_no_caret_stands_below_what_an_error_does_not_hold(blanks: int, lines: int) -> None:
    with pytest.raises(PlanError) as caught:
        compile_job(f"const a = 1;{' ' * blanks}const = 1")
    assert len(list(excerpt_of(caught.value))) == lines


def test_validate_checks_the_global_functions(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("globals: export const a = ;\nsteps: [{id: read, expression: ''}]\n")
    result = CliRunner().invoke(validate, [str(file)])
    assert result.exit_code == 2
    assert "SyntaxError: globals: Unexpected token ';' (1:18)" in result.stderr
    assert "export const a = ;" in result.stderr
