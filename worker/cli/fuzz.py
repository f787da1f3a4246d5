"""``worker fuzz``: generate inputs from samples, and show those that end in a new way."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from worker.cli.entry import EXIT_INTERRUPTED
from worker.cli.files import write_file
from worker.cli.fuzz_output import as_json_lines, as_text
from worker.cli.fuzz_sources import Samples, read_context, read_samples
from worker.cli.options import (
    PATH,
    POSITIVE,
    as_json,
    command,
    jobs,
    option,
    pick_workflow,
    write_cases,
)
from worker.cli.progress import progress
from worker.cli.services import on_signals
from worker.cli.value_types import WholeNumberRange
from worker.cli.write_case_file import write_case_file
from worker.errors import UsageError
from worker.fuzzing.campaign import Budget, CampaignResult, Discovery, run_campaign
from worker.fuzzing.shape import learn
from worker.fuzzing.synthetic import SyntheticInputs
from worker.sinks.terminal_text import printable
from worker.testing.case import Case
from worker.testing.case_reader import read_case
from worker.util.json import dumps
from worker.util.plural import count_of
from worker.workflow.load import load
from worker.workflow.model import Workflow

# Generated inputs can make a job run without end. The default of a run, minutes, would use up the
# time of the whole campaign.
_TIMEOUT_S = 5.0


@command()
@click.argument("file", type=PATH, metavar="WORKFLOW")
@option("--from", "sources", type=PATH, multiple=True, required=True, metavar="FILE|DIR",
        help="Samples: dataclips (.json, .jsonl), recordings, or a JSON Schema.")  # fmt: skip
@pick_workflow
@option("--case", "case_file", type=PATH, metavar="FILE",
        help="Take replies, credentials and scripts from the first case of FILE.")  # fmt: skip
@option("--seconds", type=POSITIVE, default=30.0, show_default=True, metavar="N",
        help="Try inputs for this time.")  # fmt: skip
@option("--inputs", type=WholeNumberRange(min=1), metavar="N", help="Try at most N inputs.")
@option("--seed", type=WholeNumberRange(min=0), default=0, show_default=True, metavar="N",
        help="Another seed gives other inputs.")  # fmt: skip
@jobs
@write_cases(help="Write the inputs to FILE as cases for worker test.")
@option("--synthetic", type=WholeNumberRange(min=1), metavar="N",
        help="Run nothing: print N inputs of the samples' shape without their texts.")  # fmt: skip
@option("--output", "-o", type=PATH, metavar="FILE", help="Write the synthetic inputs to FILE.")
@as_json
def fuzz(
    *,
    file: Path,
    sources: tuple[Path, ...],
    workflow: str | None,
    case_file: Path | None,
    seconds: float,
    inputs: int | None,
    seed: int,
    jobs: int,
    write_cases: Path | None,
    synthetic: int | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """Generate inputs from samples; show new endings.

    The samples teach the shape of the input: fields, types, formats, ranges. Inputs inside of it
    and just outside run with stubbed or recorded replies. Listed are the endings that no sample
    has (status, error, place, path), each with the simplest input.

    \b
    Examples:
      worker fuzz referral.yaml --from referral.input.json
      worker fuzz project.yaml --workflow referral --from dataclips --seconds 60
      worker fuzz project.yaml --from recordings --write-cases fuzz.cases.yaml
      worker fuzz referral.yaml --from schema.json --case referral.cases.yaml --seed 7
      worker fuzz referral.yaml --from dataclips --synthetic 100 -o synthetic.jsonl

    \b
    Exit code: 0 no run fails in a new way, 1 one does,
    2 wrong usage or an unreadable file, 130 interrupted by Ctrl-C.
    """
    if output is not None and synthetic is None:
        raise UsageError("--output is for synthetic inputs: add --synthetic N")
    loaded = load(file, workflow=workflow)
    samples = read_samples(sources, seed)
    if synthetic is not None:
        _write_synthetic(samples, synthetic, seed, output)
        return 0
    context = read_context(case_file) if case_file is not None else samples.context
    template = fuzz_template(loaded, context)
    budget = Budget(seconds=seconds, inputs=inputs)
    with progress("fuzzing", inputs) as done:
        campaign = asyncio.run(_campaign(template, samples, budget, seed, jobs, done))
    if write_cases is not None and campaign.discoveries:
        _write_cases(write_cases, file, campaign, context, workflow)
    for line in as_json_lines(campaign) if as_json else as_text(campaign):
        print(line)
    if campaign.stopped:
        return EXIT_INTERRUPTED
    return int(any(discovery.is_problem for discovery in campaign.discoveries))


async def _campaign(
    template: Case,
    samples: Samples,
    budget: Budget,
    seed: int,
    jobs: int,
    done: Callable[[], object],
) -> CampaignResult:
    stop = asyncio.Event()
    # After a long search, what it found is what Ctrl-C is pressed for.
    on_signals(stop.set)
    return await run_campaign(
        template, samples.inputs, budget, seed=seed, jobs=jobs, progress=done, stop=stop
    )


def fuzz_template(workflow: Workflow, context: dict[str, Any]) -> Case:
    """Return the case whose input the generated ones replace."""
    case = read_case({"name": "fuzz", **context, "expect": {}}, workflow, "the context of the runs")
    timeout_s = min(case.limits.timeout_s, _TIMEOUT_S)
    return replace(case, limits=replace(case.limits, timeout_s=timeout_s))


# --- files ----------------------------------------------------------------------------------------


def _write_synthetic(samples: Samples, count: int, seed: int, output: Path | None) -> None:
    generator = SyntheticInputs(learn(samples.inputs), seed)
    lines = [dumps(generator.next()) for _ in range(count)]
    if output is None:
        print(*lines, sep="\n")
        return
    write_file(output, "".join(f"{line}\n" for line in lines).encode())
    print(f"wrote {count_of(count, 'input')} to {printable(str(output))}")


def _write_cases(
    target: Path, file: Path, campaign: CampaignResult, context: dict[str, Any], pick: str | None
) -> None:
    def build(name: str) -> dict[str, Any]:
        cases = [
            _case(number, discovery, context)
            for number, discovery in enumerate(campaign.discoveries, start=1)
        ]
        return {"workflow": name, **({"pick": pick} if pick else {}), "cases": cases}

    if file.is_dir() or not file.exists():
        raise UsageError(f"--write-cases needs the workflow as a file, found {os.fspath(file)}")
    write_case_file(target, build, file)


def _case(number: int, discovery: Discovery, context: dict[str, Any]) -> dict[str, Any]:
    ending = discovery.ending
    expect: dict[str, Any] = {"status": ending.status.value}
    if ending.error_type is not None:
        expect["error_type"] = ending.error_type
    expect["through"] = list(ending.path)
    return {
        "name": f"fuzz {number}: {', '.join(discovery.origin)}"[:200],
        # A copy for each case: shared values would become anchors in YAML.
        **json.loads(json.dumps(context)),
        "input": discovery.input,
        "expect": expect,
    }
