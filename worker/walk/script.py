"""Scripted steps: what an execution does instead of running its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.walk.jsontext import dumps
from worker.walk.outcome import Outcome, StepError, entry_of


@dataclass(frozen=True, kw_only=True)
class Act:
    """What the executions ``first`` to ``last`` (``None``: all later ones) of a step do.

    With an ``error`` they fail by it; otherwise they return ``returns``, JSON text, or pass their
    input on where that is ``None``. They take ``takes_s`` seconds of virtual time; infinity hangs.
    """

    first: int = 0
    last: int | None = None
    returns: str | None = None
    error: StepError | None = None
    takes_s: float = 0.0

    def covers(self, execution: int) -> bool:
        return self.first <= execution and (self.last is None or execution <= self.last)


Script = Mapping[str, tuple[Act, ...]]


def act_for(script: Script, step_id: str, execution: int) -> Act | None:
    """The act of an execution; ``None`` where its real code runs."""
    return next((act for act in script.get(step_id, ()) if act.covers(execution)), None)


def perform(act: Act, step_id: str, state: Mapping[str, Any]) -> Outcome:
    """The outcome of an act over the full input state."""
    kept = {key: value for key, value in state.items() if key not in ("configuration", "response")}
    if act.error is None:
        text = dumps(kept) if act.returns is None else act.returns
        returned = json.loads(text)
        errors = returned.get("errors") if isinstance(returned, dict) else None
        errored = isinstance(errors, dict) and bool(errors.get(step_id))
        something = bool(returned) or isinstance(returned, dict | list)
        return Outcome(state=text if something else None, errored=errored)
    if act.error.aborts:
        return Outcome(state=None, error=act.error)
    before = kept.get("errors")
    errors = {**(before if isinstance(before, dict) else {}), step_id: entry_of(act.error)}
    return Outcome(state=dumps({**kept, "errors": errors}), errored=True, error=act.error)
