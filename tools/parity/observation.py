"""What is observed of a run, here and there, in the same terms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from worker.core.events import RunLog
from worker.runner.result import Result


class StepSeen(Struct, frozen=True, kw_only=True):
    """An execution: its outcome, the steps that it selected, and its output as JSON."""

    step: str
    outcome: str
    next: tuple[str, ...]
    state: str | None


class Observation(Struct, frozen=True, kw_only=True):
    """The path of a run, its status, its final state as JSON, its log, and what aborted it."""

    path: tuple[StepSeen, ...]
    status: str = "crashed"
    final: str | None = None
    log: tuple[tuple[str, str], ...] = ()
    error: tuple[str, str] | None = None
    refused_for: str = ""
    """Step whose source does not compile, where that kept the run from starting."""


def observed_here(result: Result) -> Observation:
    """Describe a run of this project."""
    aborted = result.error is not None and result.error.aborts
    return Observation(
        path=tuple(
            StepSeen(
                step=step.step,
                outcome=step.status.value,
                next=step.next,
                state=None if step.error and step.error.aborts else json.dumps(step.output),
            )
            for step in result.steps
        ),
        status=result.status.value,
        final=None if aborted else json.dumps(result.final_state),
        log=tuple(
            (e.level, e.message)
            for e in result.events
            if isinstance(e, RunLog) and e.source == "JOB"
        ),
        error=(result.error.type, result.error.message) if aborted and result.error else None,
        refused_for=_refused_for(result),
    )


def _refused_for(result: Result) -> str:
    error = result.error
    is_refused = error is not None and error.type == "SyntaxError" and not result.steps
    return (error.job_id or "") if error is not None and is_refused else ""


# OpenFn's severities and names, in the words of the table of statuses.
_OUTCOMES = {"fail": "failed", "crash": "crashed", "kill": "killed"}


def observed_there(answer: Mapping[str, Any]) -> Observation:
    """Describe an answer of OpenFn's runtime; the document decides the status."""
    error = answer["error"]
    if error is None and answer["escaped"]:
        error = {**answer["escaped"][0], "name": "ExecutionError", "severity": "crash"}
    steps = [_step_there(step) for step in answer["steps"]]
    if error is not None and len(answer["started"]) > len(steps):
        # It crashed in a place that reports nothing.
        outcome = _outcome_of(error)
        steps.append(StepSeen(step=answer["started"][-1], outcome=outcome, next=(), state=None))
    elif error is not None and steps and error["name"] == "EdgeConditionError":
        steps[-1] = StepSeen(step=steps[-1].step, outcome="crashed", next=(), state=None)
    return Observation(
        path=tuple(steps),
        status=_outcome_of(error) if error else _status(steps),
        final=None if error else json.dumps(_final(answer["final"], steps)),
        log=tuple((level, text) for level, text in answer["lines"]),
        error=_error_there(error) if error else None,
    )


def _final(state: Any, path: Sequence[StepSeen]) -> Any:
    """Return the final state as the worker around the runtime reports it."""
    # Several leaves are a map; the worker then removes those without any data. Two differences are
    # rows of the table: `{}` stays here, and so does a map of nothing but such leaves.
    # The last execution is a leaf also where `end` kept what it selected from running.
    leaves = sum(not step.next for step in path[:-1]) + 1
    if leaves < 2 or not isinstance(state, dict) or not _is_map(state, path):
        return state
    return {key: leaf for key, leaf in state.items() if not _is_without_data(leaf)} or state


def _is_map(state: Mapping[str, Any], path: Sequence[StepSeen]) -> bool:
    steps = {step.step for step in path}
    return len(state) > 1 and all(key in steps or key.rpartition("-")[0] in steps for key in state)


def _is_without_data(leaf: Any) -> bool:
    if not isinstance(leaf, dict) or leaf.keys() != {"data"}:
        return False
    data = leaf["data"]
    return data in ({}, [], "") or isinstance(data, int | float)


def _step_there(step: Mapping[str, Any]) -> StepSeen:
    error, state = step["error"], step["state"]
    if error is not None and error["severity"] != "fail":
        return StepSeen(step=step["step"], outcome=_outcome_of(error), next=(), state=None)
    errors = state.get("errors") if isinstance(state, dict) else None
    # The worker around the runtime fails a step that wrote its own error.
    failed = error is not None or (
        isinstance(errors, dict) and _is_truthy(errors.get(step["step"]))
    )
    return StepSeen(
        step=step["step"],
        outcome="failed" if failed else "success",
        next=tuple(step["next"]),
        state=json.dumps(state),
    )


def _is_truthy(value: Any) -> bool:
    """Return whether JavaScript takes a value for true."""
    return bool(value) or isinstance(value, list | dict)


def _outcome_of(error: Mapping[str, Any]) -> str:
    return "killed" if error["name"] in ("SecurityError", "ImportError") else "crashed"


def _status(path: Sequence[StepSeen]) -> str:
    """Return the status by the leaf rule: an execution that led to no other decides."""
    queue: list[int] = []
    followed = [False] * len(path)
    for index, step in enumerate(path):
        if queue:
            followed[queue.pop(0)] = True
        queue += [index] * len(step.next)
    leaves = [step for step, has_led in zip(path, followed, strict=True) if not has_led]
    return "failed" if any(step.outcome == "failed" for step in leaves) else "success"


def _error_there(error: Mapping[str, Any]) -> tuple[str, str]:
    name, message, subtype = error["name"], error["message"], error.get("subtype")
    if message.startswith("Failed to compile edge condition"):
        return "EdgeConditionError", message
    if subtype in ("InvalidOperationError", "InvalidExportsError"):
        return "ValidationError", message
    if name == "RuntimeCrash" and subtype:
        return subtype, message.removeprefix(f"{subtype}: ")
    return name, message
