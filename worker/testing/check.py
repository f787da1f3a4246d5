"""Whether a run is what its case expects, and if not, where and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from worker.plan.workflow import Edge, EdgeKind, Workflow
from worker.runner import Options, PathEntry, Pool, Result
from worker.testing.scenario import Case, Expectation
from worker.walk.events import RunLog


async def run_case(pool: Pool, case: Case) -> tuple[Result, list[str]]:
    """Run a case; the list says what is not as expected, and is empty where all is."""
    result = await pool.run(case.workflow, case.input, options_of(case))
    return result, list(mismatches(case.workflow, case.expect, result))


def options_of(case: Case) -> Options:
    """How a case's workflow is to be run."""
    return Options(limits=case.limits, script=case.script, start=case.start, end=case.end)


def mismatches(workflow: Workflow, expect: Expectation, result: Result) -> Iterator[str]:
    """What is not as expected, in words."""
    if expect.status is not None and result.status is not expect.status:
        yield f"expected status {expect.status.value}, found {_ending(result)}"
    if expect.error_type is not None and result.error_type != expect.error_type:
        yield f"expected error type {expect.error_type}, found {result.error_type or 'no error'}"
    if expect.error_message is not None and expect.error_message not in (
        result.error_message or ""
    ):
        yield f"expected {expect.error_message!r} in the error, found {result.error_message!r}"
    yield from _path(expect, result)
    yield from _edges(workflow, expect, result)
    yield from _state(expect, result)
    lines = [event.message for event in result.events if isinstance(event, RunLog)]
    for text in expect.logs:
        if not any(text in line for line in lines):
            yield f"expected {text!r} in a log line, found it in none of {len(lines)}"


def _ending(result: Result) -> str:
    error = f" ({result.error_type}: {result.error_message})" if result.error else ""
    return f"{result.status.value}{error}"


def _path(expect: Expectation, result: Result) -> Iterator[str]:
    actual = tuple(entry.step for entry in result.path)
    if expect.path is not None and actual != expect.path:
        yield f"expected path {_arrows(expect.path)}\n       found path {_arrows(actual)}"
    rest = iter(actual)
    missing = [step for step in expect.through if step not in rest]
    if missing:
        yield f"expected to pass through '{missing[0]}', found path {_arrows(actual)}"
    for step in expect.never:
        if step in actual:
            yield f"expected never to visit '{step}', found path {_arrows(actual)}"


def _arrows(steps: tuple[str, ...]) -> str:
    return " → ".join(steps) or "(no step)"


def _edges(workflow: Workflow, expect: Expectation, result: Result) -> Iterator[str]:
    edges = {edge.id: edge for step in workflow.steps for edge in step.edges}
    gone = [name for name in (*expect.taken, *expect.refused) if name not in edges]
    if gone:
        yield f"stale: the workflow has no edge {gone[0]}"
        return
    for name in expect.taken:
        if not _executions(result, edges[name], taken=True):
            yield f"expected edge {name} to be taken; {why_not(edges[name], result)}"
    for name in expect.refused:
        if taken := _executions(result, edges[name], taken=True):
            yield f"expected edge {name} to be refused; it was taken after {_outcome(taken[0])}"
        elif not _executions(result, edges[name], taken=False):
            yield f"expected edge {name} to be refused; '{edges[name].source}' never ran"


def _executions(result: Result, edge: Edge, *, taken: bool) -> list[PathEntry]:
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


def _state(expect: Expectation, result: Result) -> Iterator[str]:
    if expect.state is not None:
        yield from _differences("final state", expect.state, result.final_state, exact=False)
    if expect.state_exact is not None:
        yield from _differences("final state", expect.state_exact, result.final_state, exact=True)


def _differences(path: str, expected: Any, actual: Any, *, exact: bool) -> Iterator[str]:
    """Field by field; without ``exact``, objects may hold more than is expected."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        for key in expected:
            if key not in actual:
                yield f"{path}.{key}: expected {_short(expected[key])}, found nothing"
            else:
                yield from _differences(f"{path}.{key}", expected[key], actual[key], exact=exact)
        for key in actual if exact else ():
            if key not in expected:
                yield f"{path}.{key}: expected nothing, found {_short(actual[key])}"
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for at, (want, have) in enumerate(zip(expected, actual, strict=True)):
            yield from _differences(f"{path}[{at}]", want, have, exact=exact)
    elif expected != actual or isinstance(expected, bool) is not isinstance(actual, bool):
        yield f"{path}: expected {_short(expected)}, found {_short(actual)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"
