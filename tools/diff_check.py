"""Check of ``worker diff``: each mutant of many workflows is told apart, or is shown to be equal.

``python -m tools.diff_check --generated 50 --runs 20``. A scenario counts if the runs that it
scripts end otherwise. A mutant without one counts as equal if random runs of both end alike.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import random
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import worker
from worker.comparison.lockstep import Comparison, Scenario
from worker.comparison.versions import Baseline
from worker.core.outcome import StepError
from worker.core.scripted import ScriptedStep
from worker.explore.export_cases import case_file
from worker.runner.pool import background
from worker.testing.case import Case, Expectation
from worker.testing.case_reader import read_case
from worker.testing.in_process import InProcessRunner, NeedsSandbox
from worker.testing.mutants import Mutant, mutants_of
from worker.testing.schedule import scheduled_runs
from worker.workflow.load import load, workflow_names
from worker.workflow.model import Workflow

GRAPHS = Path(__file__).resolve().parent.parent / "graphs"
FIELDS = ("age", "kind", "count", "late")
ATOMS = (
    "state.data.age > 5", "state.data.count >= 10", "state.data.kind === 'x'",
    "state.data.late", "state.data.count < 3", "!state.errors",
)  # fmt: skip
KINDS = ("on_job_success", "on_job_failure", True)
ERRORS = ("JobError", "TypeError", "ReferenceError", "OomError")


@dataclass(slots=True)
class Verdicts:
    """Numbers of mutants by what was shown of them, and the names of those that are wrong."""

    told_apart: int = 0
    equal: int = 0
    not_scriptable: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def mutants(self) -> int:
        return self.told_apart + self.equal + self.not_scriptable + len(self.wrong)

    def add(self, other: Verdicts) -> None:
        """Add the numbers of another workflow."""
        self.told_apart += other.told_apart
        self.equal += other.equal
        self.not_scriptable += other.not_scriptable
        self.wrong += other.wrong


# --- workflows ------------------------------------------------------------------------------------


def samples() -> Iterator[Workflow]:
    """Yield the workflows in graphs/."""
    for file in sorted((*GRAPHS.glob("*.yaml"), *GRAPHS.glob("*.json"))):
        if ".cases." in file.name or ".input." in file.name:
            continue
        for name in workflow_names(file) or [None]:
            yield load(file, workflow=name)


def generated(number: int) -> Workflow:
    """Return a workflow of 4 to 7 steps, the same each time for a number."""
    chance = random.Random(number)
    ids = [f"s{n}" for n in range(chance.randint(4, 7))]
    targets: dict[str, list[str]] = {id: [] for id in ids}
    # Each step can be reached: what changes behind one that cannot be is no difference.
    for at, id in enumerate(ids[1:], start=1):
        targets[chance.choice(ids[:at])].append(id)
    for at, id in enumerate(ids):
        if others := [other for other in ids[at + 1 :] if other not in targets[id]]:
            targets[id] += chance.sample(others, chance.randint(0, 1))
    steps = [
        {
            "id": id,
            "adaptor": "common",
            "expression": "fn(s => s);",
            "next": {target: _condition(chance) for target in targets[id]},
        }
        for id in ids
    ]
    return load({"workflow": {"name": f"generated {number}", "steps": steps}})


def _condition(chance: random.Random) -> Any:
    if chance.random() < 0.5:
        return chance.choice(KINDS)
    first, second = chance.choice(ATOMS), chance.choice(ATOMS)
    return first if chance.random() < 0.5 else f"{first} {chance.choice(['&&', '||'])} {second}"


# --- verdicts -------------------------------------------------------------------------------------


def check_mutants(workflow: Workflow, runs: int, verdicts: Verdicts) -> None:
    """Compare a workflow with itself and with each of its mutants, and check each answer."""
    try:
        baseline = Baseline(workflow)
    except worker.UsageError:
        # A sample of a workflow that is refused before any step.
        return
    with closing(baseline):
        if baseline.diff(workflow).differs:
            verdicts.wrong.append(f"{workflow.name}: differs from itself")
        for mutant in mutants_of(workflow):
            comparison = baseline.diff(mutant.workflow).comparison
            _check(workflow, mutant, comparison, runs, verdicts)


def _check(
    workflow: Workflow, mutant: Mutant, comparison: Comparison, runs: int, verdicts: Verdicts
) -> None:
    if comparison.scenarios:
        _confirm(workflow, mutant, comparison.scenarios, verdicts)
    elif comparison.complete and _end_alike(workflow, mutant, runs):
        verdicts.equal += 1
    else:
        verdicts.wrong.append(f"{workflow.name}: {mutant.name}: differs, and no scenario shows it")


def _confirm(
    workflow: Workflow, mutant: Mutant, scenarios: Sequence[Scenario], verdicts: Verdicts
) -> None:
    rows = [scenario.old_run.run() for scenario in scenarios]
    cases = case_file(workflow, "w", rows, None)["cases"]
    if not cases:
        verdicts.not_scriptable += 1
    elif _differ(workflow, mutant, (read_case(case, workflow, "w") for case in cases)):
        verdicts.told_apart += 1
    else:
        verdicts.wrong.append(f"{workflow.name}: {mutant.name}: no scenario differs when it runs")


def _differ(workflow: Workflow, mutant: Mutant, cases: Iterable[Case]) -> bool:
    """Return True if the two end otherwise in one of the cases."""
    shared = background()
    # A runner of its own: it keeps a process for the conditions of each of its workflows.
    with closing(InProcessRunner(shared.pool, shared.loop)) as runner:
        versions = workflow, mutant.workflow
        for case in cases:
            first, second = (_ending(runner, replace(case, workflow=v)) for v in versions)
            if first != second:
                return True
    return False


def _ending(runner: InProcessRunner, case: Case) -> object:
    run = next(scheduled_runs(case))
    try:
        result = runner.run(run)
    except NeedsSandbox:
        arguments = (case.workflow, run.input, run.options)
        result = background().run(*arguments, run_id=run.run_id, host=run.host)
    return result.status, result.error_type, result.path, result.final_text


def _end_alike(workflow: Workflow, mutant: Mutant, runs: int) -> bool:
    chance = random.Random(mutant.name)
    return not _differ(workflow, mutant, (_random_case(workflow, chance) for _ in range(runs)))


def _random_case(workflow: Workflow, chance: random.Random) -> Case:
    conditions = [edge.expression for step in workflow.steps for edge in step.edges]
    return Case(
        name="random",
        workflow=workflow,
        input=_state(conditions, chance),
        script={s.id: (_outcome(conditions, chance),) for s in workflow.steps if s.runs_code},
        expect=Expectation(),
        limits=worker.Limits(),
        start_at="",
        stop_after="",
    )


def _outcome(conditions: Sequence[str], chance: random.Random) -> ScriptedStep:
    type = chance.choice(ERRORS) if chance.random() < 0.3 else ""
    return ScriptedStep(
        first=0,
        last=None,
        returns=json.dumps(_state(conditions, chance)),
        error=StepError(type=type, message="random", name=type) if type else None,
        takes_s=0.0,
    )


def _state(conditions: Sequence[str], chance: random.Random) -> dict[str, Any]:
    text = " ".join(conditions)
    names = [*dict.fromkeys(re.findall(r"data\??\.(\w+)", text)), *FIELDS]
    numbers = [int(n) + d for n in re.findall(r"\b\d{1,9}\b", text) for d in (-1, 0, 1)]
    words = re.findall(r"['\"](\w*)['\"]", text)
    values = [None, True, False, 0, "", "x", [], *numbers, *words]
    return {"data": {name: chance.choice(values) for name in names if chance.random() < 0.8}}


def _verdicts_on(workflow: Workflow, runs: int) -> Verdicts:
    verdicts = Verdicts()
    check_mutants(workflow, runs, verdicts)
    return verdicts


def main() -> int:
    """Check the samples and generated workflows, and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generated", type=int, default=50, help="how many workflows to generate")
    parser.add_argument("--runs", type=int, default=20, help="random runs of an equal mutant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many processes")
    arguments = parser.parse_args()
    began, verdicts = time.monotonic(), Verdicts()
    workflows = [*samples(), *map(generated, range(arguments.generated))]
    check = functools.partial(_verdicts_on, runs=arguments.runs)
    # Forked processes would share the connections to the pool of this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=context) as executor:
        for workflow, part in zip(workflows, executor.map(check, workflows), strict=True):
            verdicts.add(part)
            print(f"{workflow.name}: {verdicts.mutants} mutants so far", file=sys.stderr)
    print(*verdicts.wrong, sep="\n", end="\n" if verdicts.wrong else "")
    print(
        f"{verdicts.mutants} mutants: {verdicts.told_apart} told apart, {verdicts.equal} equal, "
        f"{verdicts.not_scriptable} told apart by what no case can script, "
        f"{len(verdicts.wrong)} wrong ({time.monotonic() - began:.0f} s)"
    )
    return int(bool(verdicts.wrong))


if __name__ == "__main__":
    sys.exit(main())
