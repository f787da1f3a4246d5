"""Coverage of a workflow's rules by runs: steps that succeed and fail, edges taken and not taken.

An edge that is always followed need only be taken. Not counted are edges that can never be
followed, and those of triggers, which a run does not report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.core.reachability import reachable_steps
from worker.errors import LoadError, PlanError, UsageError
from worker.runner.prepare import Options, prepare
from worker.runner.result import Result
from worker.util.json import dumps
from worker.util.whole_files import write_whole
from worker.workflow.documents.document import parse_json, read_text
from worker.workflow.model import EdgeKind, Workflow

# Only after these the edges of a step are evaluated; every other outcome ends the run.
OUTCOMES = ("success", "failed")
TAKEN = "taken"
NOT_TAKEN = "not taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Rules of one workflow, and the number of times that each was exercised.

    A rule reads ``step fetch failed`` or ``edge a->b not taken``. ``aborts`` counts the error types
    that ended a run; they are no rules, as any step of any workflow can abort.
    """

    workflow: str
    rules: tuple[str, ...]
    hits: dict[str, int]
    aborts: dict[str, int]

    @property
    def percent(self) -> float:
        """Share of the rules that were exercised; 100 where there are none."""
        covered = sum(rule in self.hits for rule in self.rules)
        return 100 * covered / len(self.rules) if self.rules else 100.0

    @property
    def missed(self) -> tuple[str, ...]:
        return tuple(rule for rule in self.rules if rule not in self.hits)


def rules_of(workflow: Workflow) -> Iterator[str]:
    """List every rule that a run can exercise, in the order of the file.

    A workflow that cannot run has none.
    """
    if not _can_run(workflow):
        return
    reached = reachable_steps(workflow)
    for step in workflow.steps:
        if not step.runs_code or step.id not in reached:
            continue
        yield from (f"step {step.id} {outcome}" for outcome in OUTCOMES)
        for edge in step.edges:
            if edge.can_be_taken:
                yield f"edge {edge.id} {TAKEN}"
                if edge.kind is not EdgeKind.ALWAYS:
                    yield f"edge {edge.id} {NOT_TAKEN}"


def _can_run(workflow: Workflow) -> bool:
    try:
        prepare(workflow, {}, Options(), "")
    except PlanError:
        return False
    return True


def measure(workflow: Workflow, results: Iterable[Result]) -> Coverage:
    """Measure the coverage of a workflow by runs of it."""
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
        if entry.outcome in OUTCOMES:
            yield f"step {entry.step} {entry.outcome}"
            for edge in steps[entry.step].edges:
                yield f"edge {edge.id} {TAKEN if edge.target in entry.next else NOT_TAKEN}"


def merge(newer: Coverage, older: Coverage) -> Coverage:
    """Add the coverage of two sets of runs.

    The rules are those of ``newer``: a step that was renamed since must not count as missed.
    """
    hits = {
        rule: newer.hits.get(rule, 0) + older.hits.get(rule, 0)
        for rule in newer.rules
        if rule in newer.hits or rule in older.hits
    }
    types = sorted(newer.aborts.keys() | older.aborts.keys())
    aborts = {type: newer.aborts.get(type, 0) + older.aborts.get(type, 0) for type in types}
    return Coverage(workflow=newer.workflow, rules=newer.rules, hits=hits, aborts=aborts)


def coverage_lines(coverage: Coverage) -> Iterator[str]:
    """Format the share, every missed rule and the aborts, for a person."""
    covered = len(coverage.rules) - len(coverage.missed)
    yield f"{coverage.workflow}: {covered} of {len(coverage.rules)} rules, {coverage.percent:.0f} %"
    yield from (f"    missed: {rule}" for rule in coverage.missed)
    if coverage.aborts:
        counts = ", ".join(f"{type} ×{count}" for type, count in coverage.aborts.items())
        yield f"    aborts: {counts}"


# --- the file -------------------------------------------------------------------------------------


def save(file: Path, coverages: Iterable[Coverage]) -> list[Coverage]:
    """Add coverages to those in a file, and return the sums."""
    before = {coverage.workflow: coverage for coverage in _load(file)}
    sums = {coverage.workflow: coverage for coverage in coverages}
    for name, coverage in sums.items():
        if name in before:
            sums[name] = merge(coverage, before[name])
    # Workflows that this test run did not run keep what earlier test runs counted.
    fields = [_fields(coverage) for coverage in (before | sums).values()]
    write_whole(file, dumps({"version": 1, "workflows": fields}).encode())
    return list(sums.values())


def _fields(coverage: Coverage) -> dict[str, object]:
    return {
        "workflow": coverage.workflow,
        "percent": coverage.percent,
        # Zeros too, so that the file names what was missed.
        "rules": {rule: coverage.hits.get(rule, 0) for rule in coverage.rules},
        "aborts": coverage.aborts,
    }


def _load(file: Path) -> list[Coverage]:
    if not file.exists():
        return []
    try:
        return [_parse(fields) for fields in parse_json(read_text(file), str(file))["workflows"]]
    # Everything that JSON of another shape can raise. The file is not overwritten: it is the
    # user's, and holds something else.
    except (LoadError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} exists and holds no coverage: choose another file") from error


def _parse(fields: dict[str, dict[str, int]]) -> Coverage:
    counts = {_current(rule): int(count) for rule, count in fields["rules"].items()}
    return Coverage(
        workflow=str(fields["workflow"]),
        rules=tuple(counts),
        hits={rule: count for rule, count in counts.items() if count},
        aborts={type: int(count) for type, count in fields["aborts"].items()},
    )


def _current(rule: str) -> str:
    # Files of versions before 0.2.0 read "edge a->b refused"; remove with case_keys.ALIASES.
    return f"{rule.removesuffix(' refused')} {NOT_TAKEN}" if rule.endswith(" refused") else rule
