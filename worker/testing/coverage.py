"""Which rules of a workflow were exercised: steps both succeeding and failing, edges both taken and
refused. An edge that is always followed need only be taken; one that never can be is left out, and
so are the edges of triggers, which a run does not report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.core.reachability import reachable_steps
from worker.errors import PlanError, UsageError
from worker.runner.prepare import Options, prepare
from worker.runner.result import Result
from worker.util.json import dumps
from worker.workflow.model import EdgeKind, Workflow

RAN = ("success", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Of one workflow: every rule that there is, and how often each was exercised.

    A rule reads ``step fetch failed`` or ``edge a->b refused``. ``aborts`` counts the error types
    that ended a run; no workflow is asked to show them.
    """

    workflow: str
    rules: tuple[str, ...]
    hits: dict[str, int]
    aborts: dict[str, int]

    @property
    def percent(self) -> float:
        covered = sum(rule in self.hits for rule in self.rules)
        return 100 * covered / len(self.rules) if self.rules else 100.0

    @property
    def missed(self) -> tuple[str, ...]:
        return tuple(rule for rule in self.rules if rule not in self.hits)


def rules_of(workflow: Workflow) -> Iterator[str]:
    """Every rule of a workflow that a run can exercise, in the order of the file.

    One that is refused before any step has none.
    """
    if _refused(workflow):
        return
    reached = reachable_steps(workflow)
    for step in workflow.steps:
        if not step.runs_code or step.id not in reached:
            continue
        yield from (f"step {step.id} {outcome}" for outcome in RAN)
        for edge in step.edges:
            if edge.can_be_taken:
                yield f"edge {edge.id} taken"
                if edge.kind is not EdgeKind.ALWAYS:
                    yield f"edge {edge.id} refused"


def _refused(workflow: Workflow) -> bool:
    try:
        prepare(workflow, {}, Options(), "")
    except PlanError:
        return True
    return False


def measure(workflow: Workflow, results: Iterable[Result]) -> Coverage:
    """The coverage of a workflow by runs of it."""
    rules = tuple(rules_of(workflow))
    known = set(rules)
    hits: dict[str, int] = {}
    aborts: dict[str, int] = {}
    for result in results:
        for rule in _exercised(workflow, result):
            if rule in known:
                hits[rule] = hits.get(rule, 0) + 1
        if result.error and result.error.aborts:
            aborts[result.error.type] = aborts.get(result.error.type, 0) + 1
    return Coverage(workflow=workflow.name, rules=rules, hits=hits, aborts=aborts)


def _exercised(workflow: Workflow, result: Result) -> Iterator[str]:
    steps = {step.id: step for step in workflow.steps}
    for entry in result.path:
        if entry.outcome in RAN:
            yield f"step {entry.step} {entry.outcome}"
            for edge in steps[entry.step].edges:
                verdict = "taken" if edge.target in entry.next else "refused"
                yield f"edge {edge.id} {verdict}"


def merge(one: Coverage, other: Coverage) -> Coverage:
    """The coverage of both sets of runs; the rules are those of ``one``, which is the newer."""
    hits = {
        rule: one.hits.get(rule, 0) + other.hits.get(rule, 0)
        for rule in one.rules
        if rule in one.hits or rule in other.hits
    }
    types = one.aborts.keys() | other.aborts.keys()
    aborts = {type: one.aborts.get(type, 0) + other.aborts.get(type, 0) for type in sorted(types)}
    return Coverage(workflow=one.workflow, rules=one.rules, hits=hits, aborts=aborts)


def table(coverage: Coverage) -> Iterator[str]:
    """The coverage for a person: the sum, and every rule that was missed."""
    covered = len(coverage.rules) - len(coverage.missed)
    yield f"{coverage.workflow}: {covered} of {len(coverage.rules)} rules, {coverage.percent:.0f} %"
    yield from (f"    missed: {rule}" for rule in coverage.missed)
    if coverage.aborts:
        seen = ", ".join(f"{type} ×{count}" for type, count in coverage.aborts.items())
        yield f"    aborts: {seen}"


def save(file: Path, coverages: Iterable[Coverage]) -> list[Coverage]:
    """Write coverages to a file, added to what it holds of the same workflows; gives the sums."""
    before = {one.workflow: one for one in _load(file)}
    sums = {one.workflow: one for one in coverages}
    for name, one in sums.items():
        if name in before:
            sums[name] = merge(one, before[name])
    merged = before | sums
    file.write_text(dumps({"version": 1, "workflows": [_fields(one) for one in merged.values()]}))
    return list(sums.values())


def _fields(one: Coverage) -> dict[str, object]:
    hits = {rule: one.hits.get(rule, 0) for rule in one.rules}
    return {"workflow": one.workflow, "percent": one.percent, "rules": hits, "aborts": one.aborts}


def _load(file: Path) -> list[Coverage]:
    if not file.exists():
        return []
    try:
        return [
            Coverage(
                workflow=str(one["workflow"]),
                rules=tuple(one["rules"]),
                hits={rule: int(count) for rule, count in one["rules"].items() if count},
                aborts={type: int(count) for type, count in one["aborts"].items()},
            )
            for one in json.loads(file.read_text("utf-8"))["workflows"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} exists and holds no coverage: choose another file") from error
