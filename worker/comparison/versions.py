"""Two versions of a workflow, prepared to be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from worker.comparison.definitions import Change, definition_changes
from worker.comparison.lockstep import PAIRS_LIMIT, Comparison, compare
from worker.comparison.match_steps import match_renamed_steps, rename_steps
from worker.core.compile_plan import compile_plan
from worker.core.machine import EdgesEvaluated
from worker.errors import PlanError, UsageError
from worker.explore.explorer import EvaluateStates, Explorer, count_runs
from worker.runner.prepare import Options
from worker.runner.restarting_evaluator import RestartingEvaluator
from worker.util.json import dumps
from worker.workflow.model import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDiff:
    """Differences between two versions.

    ``renamed`` maps the ids of renamed steps, from old to new; scenarios and changes have the new
    ids. ``runs`` is the number of runs of the new version in every combination of outcomes,
    ``None`` if there are too many to count.
    """

    renamed: Mapping[str, str]
    changes: tuple[Change, ...]
    comparison: Comparison
    runs: int | None

    @property
    def differs(self) -> bool:
        return bool(self.changes or self.comparison.scenarios)


def diff_versions(old: Workflow, new: Workflow, *, limit: int = PAIRS_LIMIT) -> VersionDiff:
    """Walk two versions of a workflow through every outcome, and return their differences.

    At most ``limit`` situations are looked at. Conditions are evaluated in the sandbox; nothing
    else runs. Raises :class:`UsageError` for a version that cannot run.
    """
    with closing(_evaluator(old, "OLD")) as first, closing(_evaluator(new, "NEW")) as second:
        return _diff(old, new, first, second, limit)


def _evaluator(workflow: Workflow, name: str) -> RestartingEvaluator:
    try:
        return RestartingEvaluator(workflow, Options())
    except PlanError as error:
        raise UsageError(f"{name} cannot run: {error}") from error


def _diff(
    old: Workflow,
    new: Workflow,
    evaluate_old: EvaluateStates,
    evaluate_new: EvaluateStates,
    limit: int,
) -> VersionDiff:
    names = match_renamed_steps(old, new)
    before = rename_steps(old, names)
    own_names = {now: was for was, now in names.items()}

    def evaluate_renamed(step: str, states: Sequence[str]) -> Sequence[EdgesEvaluated]:
        own_states = [_rename_errors(state, own_names) for state in states] if names else states
        return evaluate_old(own_names.get(step, step), own_states)

    explorer = Explorer(plan=compile_plan(new), evaluate=evaluate_new)
    comparison = compare(
        Explorer(plan=compile_plan(before), evaluate=evaluate_renamed), explorer, limit
    )
    return VersionDiff(
        renamed=names,
        changes=definition_changes(before, new),
        comparison=comparison,
        runs=count_runs(explorer),
    )


def _rename_errors(state: str, names: Mapping[str, str]) -> str:
    """Give the entries of ``errors`` the ids that the steps have in the old version."""
    content = json.loads(state)
    if not isinstance(content.get("errors"), dict):
        return state
    errors = {names.get(id, id): error for id, error in content["errors"].items()}
    return dumps({**content, "errors": errors})
