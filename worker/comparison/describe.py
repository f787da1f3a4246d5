"""Scenarios in plain English."""

from __future__ import annotations

import json

from worker.comparison.lockstep import Ended, Scenario
from worker.core.status import Status
from worker.explore.explorer import Choice, Ending, ExploredRun
from worker.explore.export_cases import describe_run
from worker.sinks.terminal_text import one_line, printable
from worker.util.json import dumps

_STATE_LENGTH = 200


def describe_scenario(scenario: Scenario) -> str:
    """Describe the choices that lead to a difference, in one line."""
    *before, last = scenario.choices or [None]
    decided = last is not None and last.witness is not None
    described = before if decided else [*before, *([last] if last else [])]
    run = ExploredRun(
        choices=tuple(filter(None, described)), path=(), status=Status.SUCCESS, error_type=None
    )
    when = [] if decided and not _describes_failure(run) else [describe_run(run)]
    if last is not None and decided:
        when.append(f"{last.step} gives {_state(last)}")
    return one_line(f"when {', and '.join(when)}" if scenario.choices else "always", 400)


def _describes_failure(run: ExploredRun) -> bool:
    return any(choice.ending is not Ending.SUCCEEDS for choice in run.choices)


def describe_ends(scenario: Scenario) -> tuple[str, str]:
    """Describe how the old and the new version end, in one line each."""
    old, new = scenario.old, scenario.new
    same = old.path == new.path and old.status == new.status
    return _ending(old, scenario.shared, same), _ending(new, scenario.shared, same)


def _ending(end: Ended, shared: int, with_leaves: bool) -> str:
    error = f" ({end.error_type})" if end.error_type else ""
    rest = " → ".join(end.path[shared:])
    way = f"runs {one_line(rest, 400)}, " if rest else "runs no other step, "
    leaves = f", with the final state of {', '.join(end.leaves)}" if with_leaves else ""
    handled = f", and handles the failure of {', '.join(end.handled)}" if end.handled else ""
    return f"{way}ends as {end.status}{error}{printable(leaves)}{printable(handled)}"


def _state(choice: Choice) -> str:
    """Return the deciding state without the entry that a failing step adds itself."""
    state = json.loads(choice.witness or "null")
    if isinstance(state, dict) and isinstance(state.get("errors"), dict):
        errors = {step: error for step, error in state["errors"].items() if step != choice.step}
        state = {key: value for key, value in state.items() if key != "errors"}
        state |= {"errors": errors} if errors else {}
    return one_line(dumps(state), _STATE_LENGTH)
