"""Endings of runs: what tells one from another, and what a run has come through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.core.events import StepComplete
from worker.core.outcome import StepError
from worker.core.status import Status
from worker.runner.result import Result

_SHORTEST_VALUE = 3

# Their messages name the place in an expression; a line can have several. Messages that jobs write
# themselves repeat the input in any form, so they are left out.
_ENGINE_ERRORS = ("TypeError", "ReferenceError", "RangeError", "SyntaxError")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailure:
    """Error of a step: its type, and its line in the step's source (0: none).

    ``message`` is that of an error of the engine, without values of the input.
    """

    step: str
    type: str
    line: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnding:
    """Way in which a run ended. Two runs with equal endings show the same of a workflow.

    ``path`` holds each step once, in the order of their first executions.
    """

    status: Status
    error_type: str | None
    failures: tuple[StepFailure, ...]
    path: tuple[str, ...]


def ending_of(result: Result, input: Any) -> RunEnding:
    """Return the ending of a run with this input."""
    texts = sorted(set(_texts(input)), key=len, reverse=True)
    failures = [
        _failure(event.error, event.job_id, texts)
        for event in result.events
        if isinstance(event, StepComplete) and event.error is not None
    ]
    if not failures and result.error is not None:
        # Of no step: a workflow that does not compile, a condition that throws.
        failures = [_failure(result.error, result.error.job_id or "", texts)]
    return RunEnding(
        status=result.status,
        error_type=result.error_type,
        failures=tuple(dict.fromkeys(failures)),
        path=tuple(dict.fromkeys(entry.step for entry in result.path)),
    )


def _failure(error: StepError, step: str, texts: list[str]) -> StepFailure:
    line = error.position.line if error.position else 0
    message = _general(error.message, texts) if error.type in _ENGINE_ERRORS else ""
    return StepFailure(step=step, type=error.type, line=line, message=message)


def _general(message: str, texts: list[str]) -> str:
    """Replace what a message repeats of the input."""
    for text in texts:
        # As a whole word alone: a key of the input may be a part of a word of the engine.
        if text in message:
            message = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", "…", message)
    # A field that is null and a field that is absent are the same mistake.
    return re.sub(
        r"(?<!')\d+", "#", message.replace("properties of null", "properties of undefined")
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and len(value) >= _SHORTEST_VALUE:
        yield value
    children = value.values() if isinstance(value, dict) else value
    for item in children if isinstance(value, dict | list) else ():
        yield from _texts(item)


def features_of(result: Result, ending: RunEnding) -> frozenset[object]:
    """Return what a run has come through: steps with their outcomes, edges, places of errors."""
    return frozenset(
        [
            *((entry.step, entry.outcome, entry.next) for entry in result.path),
            *ending.failures,
            (ending.status, ending.error_type),
        ]
    )
