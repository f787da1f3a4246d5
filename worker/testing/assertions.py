"""Whether the runs of a case are what it expects, and if not, where and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from worker.core.events import RunLog, StepComplete
from worker.runner.result import PathEntry, Result
from worker.testing.case import Expectation, Output
from worker.testing.jsonpath import NOTHING, ask
from worker.util.state_diff import differences, format_value
from worker.workflow.model import Edge, EdgeKind, Workflow


def mismatches(workflow: Workflow, expect: Expectation, results: Sequence[Result]) -> Iterator[str]:
    """What is not as expected in the runs of a case, in words."""
    yield from _of_run(workflow, expect, results[-1])
    if expect.runs and len(expect.runs) != len(results):
        yield f"expected {len(expect.runs)} runs, found {len(results)}"
    for number, (one, result) in enumerate(zip(expect.runs, results, strict=False), start=1):
        yield from (f"run {number}: {text}" for text in _of_run(workflow, one, result))


def _of_run(workflow: Workflow, expect: Expectation, result: Result) -> Iterator[str]:
    if expect.status is not None and result.status is not expect.status:
        yield f"expected status {expect.status.value}, found {_ending(result)}"
    if expect.error_type is not None and result.error_type != expect.error_type:
        yield f"expected error type {expect.error_type}, found {result.error_type or 'no error'}"
    if not holds_message(expect, result):
        yield f"expected {expect.error_message!r} in the error, found {result.error_message!r}"
    yield from _path(expect, result)
    yield from _edges(workflow, expect, result)
    yield from _state(expect, result)
    for output in expect.outputs:
        yield from _output(output, result)
    lines = log_lines(result)
    for text in expect.logs:
        if not any(text in line for line in lines):
            yield f"expected {text!r} in a log line, found it in none of {len(lines)}"


def log_lines(result: Result) -> list[str]:
    """What a run logged."""
    return [event.message for event in result.events if isinstance(event, RunLog)]


def holds_message(expect: Expectation, result: Result) -> bool:
    return (expect.error_message or "") in (result.error_message or "")


def _ending(result: Result) -> str:
    error = f" ({result.error_type}: {result.error_message})" if result.error else ""
    return f"{result.status.value}{error}"


# --- the path -------------------------------------------------------------------------------------


def _path(expect: Expectation, result: Result) -> Iterator[str]:
    actual = tuple(entry.step for entry in result.path)
    if expect.path is not None and actual != expect.path:
        yield f"expected path {_arrows(expect.path)}\n       found path {_arrows(actual)}"
    if (missing := not_passed(expect.through, actual)) is not None:
        yield f"expected to pass through '{missing}', found path {_arrows(actual)}"
    for step in expect.never:
        if step in actual:
            yield f"expected never to visit '{step}', found path {_arrows(actual)}"


def not_passed(through: Sequence[str], actual: Sequence[str]) -> str | None:
    """The first step that is not passed in this order."""
    rest = iter(actual)
    return next((step for step in through if step not in rest), None)


def _arrows(steps: tuple[str, ...]) -> str:
    return " → ".join(steps) or "(no step)"


def _edges(workflow: Workflow, expect: Expectation, result: Result) -> Iterator[str]:
    edges = {edge.id: edge for step in workflow.steps for edge in step.edges}
    gone = [name for name in (*expect.taken, *expect.refused) if name not in edges]
    if gone:
        yield f"stale: the workflow has no edge {gone[0]}"
        return
    for name in expect.taken:
        if not executions(result, edges[name], taken=True):
            yield f"expected edge {name} to be taken; {why_not(edges[name], result)}"
    for name in expect.refused:
        if taken := executions(result, edges[name], taken=True):
            yield f"expected edge {name} to be refused; it was taken after {_outcome(taken[0])}"
        elif not executions(result, edges[name], taken=False):
            yield f"expected edge {name} to be refused; '{edges[name].source}' never ran"


def executions(result: Result, edge: Edge, *, taken: bool) -> list[PathEntry]:
    """The executions after which an edge was taken, or was not."""
    ran = (entry for entry in result.path if entry.step == edge.source)
    return [entry for entry in ran if (edge.target in entry.next) is taken]


def why_not(edge: Edge, result: Result) -> str:
    """Why an edge was not taken."""
    ran = [entry for entry in result.path if entry.step == edge.source]
    if edge.disabled:
        return "it is disabled"
    if not ran:
        return f"'{edge.source}' never ran"
    if ran[-1].outcome not in ("success", "failed"):
        return f"'{edge.source}' ended as {_outcome(ran[-1])}, and the run with it"
    match edge.kind:
        case EdgeKind.EXPRESSION:
            reason = f"its condition is false: {edge.expression}"
        case EdgeKind.NEVER:
            reason = "it is never followed"
        case _:
            reason = f"its condition is {edge.kind.value}"
    return f"'{edge.source}' ended as {_outcome(ran[-1])}, and {reason}"


def _outcome(entry: PathEntry) -> str:
    return f"{entry.outcome}{f' ({entry.error_type})' if entry.error_type else ''}"


# --- states ---------------------------------------------------------------------------------------


def _state(expect: Expectation, result: Result) -> Iterator[str]:
    if expect.state is not None:
        yield from differences("final state", expect.state, result.final_state, exact=False)
    if expect.state_exact is not None:
        yield from differences("final state", expect.state_exact, result.final_state, exact=True)
    for path, expected in expect.state_at.items():
        found = ask(path, result.final_state)
        if found is NOTHING:
            yield f"final state: expected {format_value(expected)} at {path}, found nothing"
        else:
            yield from differences(f"final state at {path}", expected, found, exact=True)


def _output(output: Output, result: Result) -> Iterator[str]:
    ran = outputs_of(result, output.step)
    last = len(ran) - 1 if output.last is None else output.last
    if output.first >= len(ran):
        yield f"expected output {output.first} of '{output.step}', which ran {len(ran)} times"
    for number in range(output.first, min(last, len(ran) - 1) + 1):
        which = f" {number}" if len(ran) > 1 else ""
        place = f"output{which} of '{output.step}'"
        yield from differences(place, output.value, ran[number], exact=False)


def outputs_of(result: Result, step: str) -> list[Any]:
    """What the executions of a step gave back, in order."""
    ran = (event for event in result.events if isinstance(event, StepComplete))
    clips = [event.output_dataclip for event in ran if event.job_id == step]
    return [None if clip is None else clip.value for clip in clips]
