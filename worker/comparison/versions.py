"""Two versions of a workflow, prepared to be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from worker.comparison.definitions import Change, definition_changes
from worker.comparison.failure_class import endings_scenario
from worker.comparison.lockstep import PAIRS_LIMIT, Comparison, Scenario, compare, shared_searches
from worker.comparison.match_steps import match_renamed_steps, rename_steps
from worker.core.compile_plan import compile_plan
from worker.core.machine import EdgesEvaluated
from worker.errors import PlanError, UsageError
from worker.explore.explorer import Ending, Explorer, Search, count_runs
from worker.explore.state_search import Witness
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
    with closing(Baseline(old)) as baseline:
        return baseline.diff(new, limit=limit)


class Baseline:
    """Old version that many new ones are compared with: what is found out of it serves them all."""

    def __init__(self, old: Workflow) -> None:
        """Prepare a version. Raises :class:`UsageError` if it cannot run."""
        self._old = old
        self._evaluate = _evaluator(old, "OLD")
        self._witnesses: dict[Search, list[Witness]] = {}

    def diff(self, new: Workflow, *, limit: int = PAIRS_LIMIT) -> VersionDiff:
        """Compare the old version with a new one, as :func:`diff_versions` does."""
        with closing(_evaluator(new, "NEW")) as evaluate:
            names = match_renamed_steps(self._old, new)
            old = self._explorer(names)
            explorer = Explorer(plan=compile_plan(new), evaluate=evaluate)
            comparison = compare(old, explorer, limit)
            explorer.searched = shared_searches(old, explorer.plan)
            return VersionDiff(
                renamed=names,
                changes=definition_changes(rename_steps(self._old, names), new),
                comparison=comparison,
                runs=count_runs(explorer),
            )

    def compare_endings(self, step: str, before: Ending, after: Ending) -> Scenario | None:
        """Compare runs in which a step ends as ``before`` with those in which it ends as ``after``.

        Return the shortest scenario; ``None`` where no run comes to the step.
        """
        return endings_scenario(self._explorer({}), step, before, after)

    def _explorer(self, names: Mapping[str, str]) -> Explorer:
        if not names:
            plan = compile_plan(self._old)
            return Explorer(plan=plan, evaluate=self._evaluate, witnesses=self._witnesses)
        own_names = {now: was for was, now in names.items()}

        def evaluate(step: str, states: Sequence[str]) -> Sequence[EdgesEvaluated]:
            own_states = [_rename_errors(state, own_names) for state in states]
            return self._evaluate(own_names.get(step, step), own_states)

        return Explorer(plan=compile_plan(rename_steps(self._old, names)), evaluate=evaluate)

    def close(self) -> None:
        """Release the process that evaluates the conditions."""
        self._evaluate.close()


def _evaluator(workflow: Workflow, name: str) -> RestartingEvaluator:
    try:
        return RestartingEvaluator(workflow, Options())
    except PlanError as error:
        raise UsageError(f"{name} cannot run: {error}") from error


def _rename_errors(state: str, names: Mapping[str, str]) -> str:
    """Give the entries of ``errors`` the ids that the steps have in the old version."""
    content = json.loads(state)
    if not isinstance(content.get("errors"), dict):
        return state
    errors = {names.get(id, id): error for id, error in content["errors"].items()}
    return dumps({**content, "errors": errors})
