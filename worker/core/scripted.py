"""Scripted steps: what an execution does instead of running its code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker.core.outcome import Outcome, StepError, error_entry
from worker.core.status import ERROR_TYPES
from worker.util.json import dumps


@dataclass(frozen=True, kw_only=True)
class ScriptedStep:
    """What the executions ``first`` to ``last`` (``None``: all later ones) of a step do.

    With an ``error`` they fail by it; otherwise they return. The state that they return, or leave
    behind in failing, is ``returns``, JSON text, or their input where that is ``None``. They take
    ``takes_s`` seconds of virtual time; infinity hangs.
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
"""What a step can be made to fail with. The last two stand for exceptions: a credential or an
adaptor that could not be loaded."""


def find_scripted_step(script: Script, step_id: str, execution: int) -> ScriptedStep | None:
    """The act of an execution; ``None`` where its real code runs."""
    return next((act for act in script.get(step_id, ()) if act.covers(execution)), None)


def remaining_script(script: Script, executions: Mapping[str, int]) -> Script:
    """The script as a run sees it before which there were so many executions of each step."""
    return {step: tuple(_later(acts, executions.get(step, 0))) for step, acts in script.items()}


def _later(acts: tuple[ScriptedStep, ...], gone: int) -> Iterator[ScriptedStep]:
    for act in acts:
        if act.last is None or act.last >= gone:
            last = None if act.last is None else act.last - gone
            yield replace(act, first=max(0, act.first - gone), last=last)


def build_input(upstream: Any, defaults: dict[str, Any], configuration: Any) -> dict[str, Any]:
    """A step's input: its defaults under the upstream state, ``data`` merged one level deep."""
    state = {"configuration": None, **defaults}
    state |= upstream if isinstance(upstream, dict) else {}
    below, above = defaults.get("data"), state.get("data")
    if isinstance(below, dict) and isinstance(above, dict):
        state["data"] = {**below, **above}
    if state.get("data") is None:
        state["data"] = {}
    state["configuration"] = configuration
    return state


def truthy(value: Any) -> bool:
    """Whether JavaScript takes a JSON value for true: unlike Python, an empty object too."""
    return bool(value) or isinstance(value, dict | list)


def scripted_outcome(act: ScriptedStep, step_id: str, state: Mapping[str, Any]) -> Outcome:
    """The outcome of an act over the full input state."""
    kept = {key: value for key, value in state.items() if key not in ("configuration", "response")}
    if act.error is None:
        text = dumps(kept) if act.returns is None else act.returns
        returned = json.loads(text)
        errors = returned.get("errors") if isinstance(returned, dict) else None
        errored = isinstance(errors, dict) and truthy(errors.get(step_id))
        return Outcome(state=text if truthy(returned) else None, errored=errored)
    if act.error.aborts:
        return Outcome(state=None, error=act.error)
    left = kept if act.returns is None else json.loads(act.returns)
    left = left if isinstance(left, dict) else {}
    before = left.get("errors")
    errors = {**(before if isinstance(before, dict) else {}), step_id: error_entry(act.error)}
    return Outcome(state=dumps({**left, "errors": errors}), errored=True, error=act.error)
