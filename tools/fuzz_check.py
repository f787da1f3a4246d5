"""Check of ``worker fuzz``: defects planted in generated workflows are found.

``python -m tools.fuzz_check --workflows 10``. Each workflow reads a field of its samples as if all
inputs were like them; the fuzzer has to come to the failure of that step. The same workflow with
the field guarded must not fail there.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from typing import Any

from worker.testing import CampaignResult, fuzz_workflow
from worker.workflow.load import load
from worker.workflow.model import Workflow

INPUTS = 400
# By the name of the defect: what the step does with a field, and the same with a guard.
DEFECTS = {
    "a field that may be missing": ("{f}.trim().length", "({f} ?? '').toString().length"),
    "a list that may be empty": ("{f}[0].id", "[].concat({f} ?? [])[0]?.id"),
    "a date of another format": (
        "(() => {{ if (!/^\\d{{4}}-/.test({f})) throw new RangeError('date'); return {f}; }})()",
        "String({f}).slice(0, 4)",
    ),
    "a number as text": ("{f}.toFixed(1)", "Number({f})"),
}
VALUES: dict[str, list[Any]] = {
    "a field that may be missing": ["Kilifi ", "Kaloleni", " Malindi"],
    "a list that may be empty": [[{"id": 1}], [{"id": 2}, {"id": 3}], [{"id": 4}]],
    "a date of another format": ["2025-03-14", "2024-12-01", "2025-07-30"],
    "a number as text": [3, 12.5, 40],
}
NOISE: dict[str, list[Any]] = {
    "note": ["first visit", "seen before", "referred"],
    "age": [4, 31, 62],
    "active": [True, False, True],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """Workflow with a defect in its step ``step``, and samples that do not show it."""

    defect: str
    step: str
    workflow: Workflow
    samples: list[dict[str, Any]]


def plant(number: int, *, guarded: bool = False) -> Planted:
    """Return a workflow with a defect, the same each time for a number; ``guarded`` mends it."""
    chance = random.Random(number)
    defect = list(DEFECTS)[number % len(DEFECTS)]
    groups = [f"group{n}" for n in range(chance.randint(1, 3))]
    group, name = chance.choice(groups), f"field{chance.randint(1, 9)}"
    samples = [_sample(groups, group, name, VALUES[defect][n], n) for n in range(3)]
    planted = f"step{chance.randint(1, 3)}"
    code = DEFECTS[defect][guarded].format(f=f"s.data?.{group}?.{name}")
    steps = []
    for n in range(1, 5):
        id = f"step{n}"
        source = f"const read = (s) => {code};\n" if id == planted else ""
        value = "read(s)" if id == planted else str(n)
        source += f"fn(s => ({{ ...s, out{n}: {value} }}));"
        next = {f"step{n + 1}": True} if n < 4 else {}
        steps.append({"id": id, "adaptor": "common", "expression": source, "next": next})
    workflow = load({"workflow": {"name": f"planted {number}", "steps": steps}})
    return Planted(defect=defect, step=planted, workflow=workflow, samples=samples)


def _sample(groups: list[str], group: str, name: str, value: Any, n: int) -> dict[str, Any]:
    data = {each: {key: values[n] for key, values in NOISE.items()} for each in groups}
    data[group][name] = value
    return {"data": data}


def fails_at(campaign: CampaignResult, step: str) -> bool:
    """Return True if an input made this step fail."""
    return any(
        failure.step == step for each in campaign.discoveries for failure in each.ending.failures
    )


def fuzz(planted: Planted, seed: int, inputs: int = INPUTS) -> bool:
    """Fuzz a workflow; return True if an input made the step with the defect fail."""
    campaign = fuzz_workflow(
        planted.workflow, planted.samples, seconds=60, inputs=inputs, seed=seed
    )
    return fails_at(campaign, planted.step)


def is_found(number: int) -> bool:
    """Return True if the defect is found, and nothing at that step once it is guarded."""
    return fuzz(plant(number), number) and not fuzz(plant(number, guarded=True), number)


def main() -> int:
    """Plant the defects, fuzz, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflows", type=int, default=10)
    arguments = parser.parse_args()
    began, missed = time.monotonic(), 0
    for number in range(arguments.workflows):
        found = is_found(number)
        missed += not found
        print(f"{'✓' if found else '✗'} workflow {number}: {plant(number).defect}")
    print(f"{arguments.workflows - missed} found, {missed} not ({time.monotonic() - began:.0f} s)")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
