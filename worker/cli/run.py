"""``worker run``: one workflow from its file to its final status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from worker.cli.options import (
    PATH,
    WORKFLOW_PATH,
    check_only,
    check_stdin,
    command,
    fuel,
    input_state,
    isolation,
    no_python,
    only_step,
    openfn_ways,
    option,
    permissions,
    pick_workflow,
    run_limits,
    start_at,
    stop_after,
)
from worker.cli.value_types import OneOf, WholeNumberRange
from worker.errors import UsageError

EPILOG = """
\b
Examples:
  worker run graphs/referral.yaml --input graphs/referral.input.json
  worker run project.yaml --workflow "Case referral" --timeout 30 --memory 128
  worker run job.js --adaptor http --input state.json --output -
  worker run . --workflow case-referral     (a project checkout)
  worker run project.yaml --record on-failure
  worker run sync.yaml --collections ./collections
  worker run sync.yaml --cache-steps --start-at transform
  worker run sync.yaml --autoinstall --sanitize remove
  worker run project.yaml --fuel --fuel-limit 50M
  worker run project.yaml --flaky 5
  worker run project.yaml --only fetch-patient --input state.json --output -
  curl ... | worker run plan.json --input - --json > events.jsonl

\b
Exit code: 0 success, 1 failed, 3 crashed, 4 killed, 5 exception or lost,
6 cancelled, 2 wrong usage or an unreadable file, 70 a defect of worker,
71 a full disk or a missing permission.
"""


@command(epilog=EPILOG)
@click.argument("file", type=WORKFLOW_PATH)
@pick_workflow
@option("--adaptor", "-a", "adaptors", multiple=True, metavar="NAME[@VERSION]",
        help="Adaptor of a job alone (job.js).")  # fmt: skip
@input_state
@start_at("--start")
@stop_after("--end")
@only_step
@run_limits
@fuel
@permissions
@openfn_ways
@no_python
@isolation
@option("--record", metavar="FILE|on-failure[:DIR]",
        help="Record the run and its requests in FILE, for worker replay; or, if it does not "
             "succeed, in DIR.  [default of DIR: recordings]")  # fmt: skip
@option("--scrub", multiple=True, metavar="REGEX",
        help="Keep what this matches out of the recording.")  # fmt: skip
@option("--flaky", type=WholeNumberRange(min=1, max=1_000), metavar="N",
        help="Run it N times more at other times, with other random numbers and with other delays "
             "of its replies, and show what differs.")  # fmt: skip
@option("--cache-steps", is_flag=True,
        help="Keep outputs of steps in .cli-cache; --start-at continues from them.")  # fmt: skip
@option("--autoinstall", is_flag=True,
        help="Install the adaptors of @openfn/ that are missing, from npm.")  # fmt: skip
@option("--allow-adaptor", "allow_adaptors", multiple=True, metavar="NAME",
        help="Let --autoinstall install this adaptor too.")  # fmt: skip
@option("--sanitize", type=OneOf(["none", "remove", "summarize", "obfuscate"]), default="none",
        show_default=True, help="What to show of objects that jobs log.")  # fmt: skip
@option("--output", "-o", metavar="FILE|-", help="Write the final state to FILE, as JSON.")
@option("--output-stdout", "-O", is_flag=True, help="Print the final state: --output -.")
@option("--journal", type=PATH, metavar="FILE", help="Write all events to FILE, one a line.")
@option("--json", "as_json", is_flag=True,
        help="Print events to stdout, one a line, and logs to stderr.")  # fmt: skip
@option("--quiet", "-q", is_flag=True, help="Print nothing of the run.")
@option("--debug", is_flag=True, help="Print debug lines of the run too.")
def run(
    *,
    file: Path,
    workflow: str | None,
    adaptors: tuple[str, ...],
    input_file: str | None,
    input_json: str | None,
    start_at: str,
    stop_after: str,
    only: str,
    output: str | None,
    output_stdout: bool,
    journal: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
    credentials: Path | None,
    no_python: bool,
    isolation: str,
    collections: str | None,
    permissive_globals: bool,
    payload: str | None,
    record: str | None,
    allow_hosts: tuple[str, ...],
    scrub: tuple[str, ...],
    counts_fuel: bool,
    flaky: int | None,
    cache_steps: bool,
    autoinstall: bool,
    allow_adaptors: tuple[str, ...],
    sanitize: str,
    **limits: Any,
) -> int:
    """Run a workflow to its end and show every step.

    FILE is a project.yaml (version 3 or 4.0), one workflow of it, an execution plan as JSON or
    YAML, a Lightning run, a deploy state, a project checkout (its folder, or the name of one of its
    workflows), or a job alone (job.js).
    """
    check_only(only, start_at, stop_after)
    check_stdin(file, input_file)
    if output_stdout and output not in (None, "-"):
        raise UsageError("-O prints the final state and --output writes it: leave one out")
    output = "-" if output_stdout else output
    if as_json and output == "-":
        raise UsageError("--json and --output - both write to stdout: choose a file for --output")
    if scrub and record is None:
        raise UsageError("--scrub needs a recording: add --record FILE")
    if flaky is not None and (record is not None or as_json):
        raise UsageError(
            "--flaky records the run for itself and prints text: leave out --record and --json"
        )
    if allow_adaptors and not autoinstall:
        raise UsageError("--allow-adaptor is about --autoinstall: add that, or leave it out")
    # The help needs none of what a run imports.
    from worker.cli.single_run import Output, RecordingOutput, RunInput, run_file

    request = RunInput(
        workflow=workflow,
        adaptors=adaptors,
        input_file=input_file,
        input_json=input_json,
        start=start_at,
        end=stop_after,
        only=only,
        credentials=credentials,
        allow_python=not no_python,
        isolation=isolation,
        allow_hosts=allow_hosts,
        collections=collections,
        fuel=counts_fuel,
        cache_steps=cache_steps,
        installs=allow_adaptors if autoinstall else None,
        limits=limits,
        workflow_options={
            **({"permissive_globals": True} if permissive_globals else {}),
            **({"payload": payload} if payload else {}),
        },
    )
    outputs = Output(
        final_state=output,
        journal=journal,
        as_json=as_json,
        quiet=quiet,
        debug=debug,
        sanitize=sanitize,
        recording=None if record is None else RecordingOutput.parse(record, scrub),
    )
    if flaky is None:
        return run_file(file, request, outputs)
    from msgspec.structs import replace

    from worker.cli.flaky_report import run_and_vary

    def run_recorded(target: Path) -> int:
        recording = RecordingOutput(path=target, on_failure=False, patterns=scrub)
        return run_file(file, request, replace(outputs, recording=recording))

    return run_and_vary(run_recorded, flaky)
