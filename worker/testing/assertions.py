"""Comparison of the runs of a case with its expectation: each mismatch with its place and cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.core.events import RunLog, StepComplete, cost_of
from worker.runner.result import PathEntry, Result
from worker.sinks.run_summary import walked_path
from worker.sinks.terminal_text import format_cost, printable
from worker.testing.case import Expectation, ExpectedOutput
from worker.testing.cost_bound import CostBound
from worker.testing.jsonpath import NO_MATCH, query
from worker.util.plural import count_of
from worker.util.state_diff import differences, format_value
from worker.workflow.model import Edge, EdgeKind, Workflow


def mismatches(
    workflow: Workflow,
    expect: Expectation,
    results: Sequence[Result],
    collections: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    """Compare the runs of a case with its expectation, and yield a text for each mismatch.

    ``collections`` are the values by name and key after all runs.
    """
    yield from _of_run(workflow, expect, results[-1])
    yield from differences("collections", expect.collections, collections, exact=False)
    if expect.runs and len(expect.runs) != len(results):
        yield f"expected {count_of(len(expect.runs), 'run')}, found {len(results)}"
    for number, (run, result) in enumerate(zip(expect.runs, results, strict=False), start=1):
        yield from (f"run {number}: {text}" for text in _of_run(workflow, run, result))


def _of_run(workflow: Workflow, expect: Expectation, result: Result) -> Iterator[str]:
    # Each is one line but that of a path: messages of errors come from anywhere, and a system for
    # CI executes some lines.
    yield from map(printable, _end(expect, result))
    yield from _path(expect, result)
    yield from map(printable, _details(workflow, expect, result))


def _end(expect: Expectation, result: Result) -> Iterator[str]:
    if expect.status is not None and result.status is not expect.status:
        yield f"expected status {expect.status.value}, found {_ending(result)}{_walked(result)}"
    if expect.error_type is not None and result.error_type != expect.error_type:
        yield f"expected error type {expect.error_type}, found {result.error_type or 'no error'}"
    if (expect.error_message or "") not in (result.error_message or ""):
        yield f"expected {expect.error_message!r} in the error, found {result.error_message!r}"


def _details(workflow: Workflow, expect: Expectation, result: Result) -> Iterator[str]:
    yield from _edges(workflow, expect, result)
    yield from _state(expect, result)
    for output in expect.outputs:
        yield from _output(output, result)
    yield from _costs(expect, result)
    lines = log_lines(result)
    for text in expect.logs:
        if not any(text in line for line in lines):
            yield f"expected {text!r} in a log line, found it in none of {len(lines)}"


def _walked(result: Result) -> str:
    # The next question of whoever reads it: which edge handled the failure, or did not.
    walked = walked_path([e for e in result.events if isinstance(e, StepComplete)])
    return f", after {walked}" if walked else ""


def _costs(expect: Expectation, result: Result) -> Iterator[str]:
    if expect.cost is not None and (problem := _over(expect.cost, result.cost)):
        yield f"expected cost {problem}"
    for step, bound in expect.costs.items():
        if problem := _over(bound, cost_of_step(result, step)):
            yield f"expected cost of '{step}' {problem}"


def _over(bound: CostBound, cost: int | None) -> str:
    if cost is None:
        return f"{bound.text}, found none: no JavaScript ran"
    return "" if bound.holds(cost) else f"{bound.text}, found {format_cost(cost)} ({cost:,})"


def cost_of_step(result: Result, step: str) -> int | None:
    """Add up the instructions of all executions of a step; ``None`` if none were counted."""
    ran = (event for event in result.events if isinstance(event, StepComplete))
    costs = [cost_of(event) for event in ran if event.job_id == step]
    counted = [cost for cost in costs if cost is not None]
    return sum(counted) if counted else None


def log_lines(result: Result) -> list[str]:
    return [event.message for event in result.events if isinstance(event, RunLog)]


def _ending(result: Result) -> str:
    error = f" ({result.error_type}: {result.error_message})" if result.error else ""
    return f"{result.status.value}{error}"


# --- the path -------------------------------------------------------------------------------------


def _path(expect: Expectation, result: Result) -> Iterator[str]:
    actual = tuple(entry.step for entry in result.path)
    if expect.path is not None and actual != expect.path:
        # Two lines, aligned, so that the difference catches the eye.
        yield f"expected path {_arrows(expect.path)}\n       found path {_arrows(actual)}"
    if (missing := first_not_passed(expect.through, actual)) is not None:
        yield f"expected to pass through '{printable(missing)}', found path {_arrows(actual)}"
    for step in expect.never:
        if step in actual:
            yield f"expected '{printable(step)}' never to run, found path {_arrows(actual)}"


def first_not_passed(through: Sequence[str], actual: Sequence[str]) -> str | None:
    """Find the first step of ``through`` that ``actual`` does not contain in this order."""
    # One iterator for all steps: each search goes on where the last one stopped.
    rest = iter(actual)
    return next((step for step in through if step not in rest), None)


def _arrows(steps: tuple[str, ...]) -> str:
    return " → ".join(map(printable, steps)) or "(no step)"


def _edges(workflow: Workflow, expect: Expectation, result: Result) -> Iterator[str]:
    if not (expect.taken or expect.not_taken):
        return
    edges = {edge.id: edge for step in workflow.steps for edge in step.edges}
    # Reading a case checks the names, but a case may run with a changed copy of its workflow.
    stale = [name for name in (*expect.taken, *expect.not_taken) if name not in edges]
    if stale:
        yield f"stale: the workflow has no edge {stale[0]}"
        return
    for name in expect.taken:
        if not executions_before(result, edges[name], taken=True):
            yield f"expected edge {name} to be taken; {explain_not_taken(edges[name], result)}"
    for name in expect.not_taken:
        if taken := executions_before(result, edges[name], taken=True):
            yield f"expected edge {name} not to be taken; it was, after {_outcome(taken[0])}"
        elif not executions_before(result, edges[name], taken=False):
            # Nothing was decided about the edge, so the expectation would hold by accident.
            yield f"expected edge {name} not to be taken; '{edges[name].source}' never ran"


def executions_before(result: Result, edge: Edge, *, taken: bool) -> list[PathEntry]:
    """Select the executions of an edge's source after which it was taken, or was not."""
    ran = (entry for entry in result.path if entry.step == edge.source)
    return [entry for entry in ran if (edge.target in entry.next) is taken]


def explain_not_taken(edge: Edge, result: Result) -> str:
    ran = [entry for entry in result.path if entry.step == edge.source]
    if edge.disabled:
        return "it is disabled"
    if not ran:
        return f"'{edge.source}' never ran"
    # An aborted step ends the run before any of its edges is evaluated.
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
        actual = query(path, result.final_state)
        if actual is NO_MATCH:
            yield f"final state: expected {format_value(expected)} at {path}, found nothing"
        else:
            yield from differences(f"final state at {path}", expected, actual, exact=True)


def _output(output: ExpectedOutput, result: Result) -> Iterator[str]:
    actual = outputs_of(result, output.step)
    last = len(actual) - 1 if output.last is None else output.last
    if output.first >= len(actual):
        times = count_of(len(actual), "time")
        yield f"expected output {output.first} of '{output.step}', which ran {times}"
    for number in range(output.first, min(last, len(actual) - 1) + 1):
        which = f" {number}" if len(actual) > 1 else ""
        place = f"output{which} of '{output.step}'"
        yield from differences(place, output.value, actual[number], exact=False)


def outputs_of(result: Result, step: str) -> list[Any]:
    """Collect the outputs of a step by execution; ``None`` for one without output."""
    ran = (event for event in result.events if isinstance(event, StepComplete))
    dataclips = [event.output_dataclip for event in ran if event.job_id == step]
    return [None if dataclip is None else dataclip.value for dataclip in dataclips]
