"""Scripted steps: results that replace the execution of a step's code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from worker.core.outcome import Outcome, StepError, own_error, scripted_entry
from worker.core.status import ERROR_TYPES
from worker.util.json import dumps


class ScriptedStep(Struct, frozen=True, kw_only=True):
    """Result of the executions ``first`` to ``last`` (``None``: and all later ones) of a step.

    With an ``error`` they fail with it; otherwise they succeed. The state after them is
    ``returns``, JSON text, or their input if that is ``None``. They take ``takes_s`` seconds of
    virtual time; an infinite time hangs.
    """

    first: int = 0
    last: int | None = None
    returns: str | None = None
    error: StepError | None = None
    takes_s: float = 0.0

    def covers(self, execution: int) -> bool:
        return self.first <= execution and (self.last is None or execution <= self.last)


Script = Mapping[str, tuple[ScriptedStep, ...]]

FAILURES = (*ERROR_TYPES, "CredentialError", "AdaptorError")
"""Error types that a step can be scripted to fail with. The last two give the status exception:
a credential or an adaptor that could not be loaded."""


def find_scripted_step(script: Script, step_id: str, execution: int) -> ScriptedStep | None:
    """Find the script of an execution; ``None`` if its real code is to run."""
    return next((step for step in script.get(step_id, ()) if step.covers(execution)), None)


def remaining_script(script: Script, executions: Mapping[str, int]) -> Script:
    """Shift a script past the executions per step of earlier runs."""
    return {id: tuple(_remaining(steps, executions.get(id, 0))) for id, steps in script.items()}


def _remaining(steps: tuple[ScriptedStep, ...], done: int) -> Iterator[ScriptedStep]:
    for step in steps:
        if step.last is None or step.last >= done:
            last = None if step.last is None else step.last - done
            yield replace(step, first=max(0, step.first - done), last=last)


def build_input(
    upstream: Any,
    defaults: Mapping[str, Any],
    configuration: Mapping[str, Any],
    credentials: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Merge a step's input: upstream state over defaults, ``data`` one level deep.

    The configuration is that of the workflow, the upstream state and the step; the later wins.
    """
    above = _spread(upstream)
    data = above.get("data")
    # A list or a text stands alone. Jobs may rely on state.data.
    if not (isinstance(data, list) or (data and not isinstance(data, dict))):
        data = {**_spread(defaults.get("data")), **(data or {})}
    merged = {**(credentials or {}), **_spread(above.get("configuration")), **configuration}
    return {**defaults, **above, "configuration": merged, "data": data}


def _spread(value: Any) -> dict[str, Any]:
    """Return the properties that JavaScript's ``{...value}`` gives of a JSON value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str | list):
        return {str(index): item for index, item in enumerate(value)}
    return {}


def truthy(value: Any) -> bool:
    """Return whether a JSON value is true in JavaScript."""
    # Unlike in Python, an empty object or array is.
    return bool(value) or isinstance(value, dict | list)


def scripted_outcome(
    script: ScriptedStep, step_id: str, state: Callable[[], Mapping[str, Any]]
) -> Outcome:
    """Apply a script to an execution; ``state`` returns its full input state."""
    if script.error is None:
        return _succeeded(
            step_id, dumps(_rest(state())) if script.returns is None else script.returns
        )
    if script.error.aborts:
        return Outcome(state=None, error=script.error)
    output = _rest(state()) if script.returns is None else json.loads(script.returns)
    return _failed(script.error, step_id, output if isinstance(output, dict) else {})


def _rest(state: Mapping[str, Any]) -> dict[str, Any]:
    # OpenFn removes these two keys from every output; credentials would leave the run otherwise.
    return {key: value for key, value in state.items() if key not in ("configuration", "response")}


def _succeeded(step_id: str, text: str) -> Outcome:
    # Most states need not be parsed: an object is true, and has no errors without the word.
    if text.startswith("{") and "errors" not in text and "\\u" not in text:
        return Outcome(state=text)
    returned = json.loads(text)
    errors = returned.get("errors") if isinstance(returned, dict) else None
    written = errors.get(step_id) if isinstance(errors, dict) else None
    errored = truthy(written)
    error = own_error(written, step_id) if errored else None
    # As with real code, a falsy value counts as nothing returned.
    return Outcome(state=text if truthy(returned) else None, errored=errored, error=error)


def _failed(error: StepError, step_id: str, output: Mapping[str, Any]) -> Outcome:
    before = output.get("errors")
    errors = {**(before if isinstance(before, dict) else {}), step_id: scripted_entry(error)}
    return Outcome(state=dumps({**output, "errors": errors}), errored=True, error=error)
