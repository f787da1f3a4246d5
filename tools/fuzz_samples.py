"""Check of ``worker fuzz`` on the samples: it finds the failures that are known, and no others.

``python -m tools.fuzz_samples --seconds 60``. tests/data/sample-failures.json lists the failures of
each sample that its workflow does not handle. ``--update`` writes what was found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.cli.fuzz import fuzz_template
from worker.cli.fuzz_sources import read_context, read_samples
from worker.fuzzing.campaign import Budget, run_campaign
from worker.workflow.load import load, workflow_names

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "tests/data/sample-failures.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Workflow in graphs/ with its cases and its inputs."""

    file: Path
    workflow: str | None
    cases: Path
    inputs: list[Path]

    @property
    def name(self) -> str:
        return self.cases.name.removesuffix(".cases.yaml")


def samples() -> Iterator[Sample]:
    """Yield the samples with an input and cases, apart from those that end badly on purpose."""
    for cases in sorted((ROOT / "graphs").glob("*.cases.yaml")):
        name, _, key = cases.name.removesuffix(".cases.yaml").partition(".")
        file = next(
            f for f in (cases.with_name(f"{name}{s}") for s in (".yaml", ".json")) if f.exists()
        )
        inputs = sorted(cases.parent.glob(f"{cases.name.removesuffix('.cases.yaml')}.*input.json"))
        if inputs and len(workflow_names(file)) < 3:
            yield Sample(file=file, workflow=key or None, cases=cases, inputs=inputs)


def failures_of(
    sample: Sample, seconds: float, jobs: int, inputs: int | None = None
) -> tuple[set[str], int]:
    """Fuzz a sample; return the failures that end its run, and the number of inputs."""
    loaded = load(sample.file, workflow=sample.workflow)
    samples_read = read_samples(sample.inputs, 0)
    template = fuzz_template(loaded, read_context(sample.cases))
    budget = Budget(seconds=seconds, inputs=inputs)
    campaign = asyncio.run(run_campaign(template, samples_read.inputs, budget, jobs=jobs))
    failures = {
        f"{failure.type} at {failure.step or 'the run'}"
        for discovery in campaign.discoveries
        if discovery.is_problem
        for failure in discovery.ending.failures[-1:]
    }
    return failures, campaign.inputs


def main() -> int:
    """Fuzz the samples, and compare their failures with those that are known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="time for each sample")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--update", action="store_true", help="write the failures as known ones")
    arguments = parser.parse_args()
    known = json.loads(KNOWN.read_text("utf-8")) if KNOWN.exists() else {}
    found, wrong = {}, 0
    for sample in samples():
        name = sample.name
        failures, inputs = failures_of(sample, arguments.seconds, arguments.jobs)
        found[name] = sorted(failures)
        missing, new = set(known.get(name, ())) - failures, failures - set(known.get(name, ()))
        wrong += len(missing) + len(new)
        print(f"{name}: {inputs:,} inputs, {len(failures)} failures that nothing handles")
        for text, mark in ((missing, "known, not found"), (new, "new")):
            print(
                *(f"    {mark}: {failure}" for failure in sorted(text)),
                sep="\n",
                end="\n" * bool(text),
            )
    if arguments.update:
        KNOWN.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        return 0
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
