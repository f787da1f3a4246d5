"""``worker submit``: submit a work order."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.files import read_input
from worker.cli.options import (
    WORKFLOW_PATH,
    as_json,
    check_stdin,
    client_options,
    command,
    input_state,
    option,
    pick_workflow,
    run_limits,
    start_at,
    stop_after,
    wait_for_run,
)
from worker.cli.order_terms import check_tags, order_terms, read_retry
from worker.cli.printing import follow_order, print_order, write_final_state
from worker.cli.short_ids import find_run_id
from worker.cli.targets import prepare_target
from worker.cli.value_types import WholeNumberRange
from worker.core.status import STATUSES, Status
from worker.errors import LoadError, UsageError
from worker.fleet.client import Client
from worker.fleet.messaging.messages import RunOptions
from worker.fleet.messaging.topics import check_name
from worker.sinks.terminal_text import shell_word
from worker.util.path_checks import exists
from worker.workflow.load import load
from worker.workflow.model import Workflow
from worker.workflow.save import to_execution_plan
from worker.workflow.step_names import find_step


@command()
@click.argument("file", type=WORKFLOW_PATH, required=False)
@option("--ref", "reference", metavar="NAME", shell_complete=complete.known_workflows,
        help="Workflow that the control plane knows, instead of FILE.")  # fmt: skip
@pick_workflow
@input_state
@option("--input-of", metavar="RUN", shell_complete=complete.run_ids,
        help="Use the input of a run: its id, or that of an order for its last run.")  # fmt: skip
@option("--project", default="default", show_default=True, metavar="NAME",
        help="Project whose limits apply.")  # fmt: skip
@option("--priority", type=WholeNumberRange(-100, 100), default=0, show_default=True, metavar="N",
        help="Runs with a higher priority start first.")  # fmt: skip
@start_at("--start")
@stop_after("--end")
@run_limits
@option("--order-id", metavar="ID",
        help="Idempotency key, such as patient-7: the same id twice makes one order, and is "
        "refused with other content.")  # fmt: skip
@order_terms
@option("--record", is_flag=True,
        help="Keep the requests of its runs, for worker runs record.")  # fmt: skip
@wait_for_run
@option("--output", "-o", metavar="FILE|-",
        help="Write the final state to FILE, as JSON; needs --wait.")  # fmt: skip
@as_json
@client_options
def submit(
    *,
    connection: BrokerConnection,
    file: Path | None,
    reference: str | None,
    workflow: str | None,
    input_file: str | None,
    input_json: str | None,
    input_of: str | None,
    project: str,
    priority: int,
    start_at: str,
    stop_after: str,
    order_id: str | None,
    record: bool,
    wait: bool,
    output: str | None,
    as_json: bool,
    not_before: datetime | None,
    start_by: datetime | None,
    unique: str | None,
    over_limit: Literal["reject", "queue"] | None,
    tags: tuple[str, ...],
    placement: tuple[str, ...],
    retries: int | None,
    retry_after: float | None,
    retry_from: Literal["start", "failed_step"] | None,
    retry_on: tuple[str, ...],
    **limits: Any,
) -> int:
    """Submit a work order for a workflow.

    FILE holds the workflow; --ref names one that the control plane knows.

    \b
    Examples:
      worker submit graphs/referral.yaml --input patient.json --wait
      worker submit --ref referral --input patient.json --wait --output result.json
      worker submit --ref referral --input patient.json --project north --json
      worker submit --ref referral --not-before 10m --start-by 2h --retries 3
      worker submit --ref referral --input patient.json --record --wait
      worker submit --ref referral --input-of 5f0c9e --wait

    \b
    Exit code: 0 accepted, 7 rejected;
    with --wait that of the run, as of worker run.
    """
    if output is not None and not wait:
        raise UsageError("--output needs the end of the run: add --wait")
    if as_json and output == "-":
        raise UsageError("--json and --output - both write to stdout: choose a file for --output")
    if output is not None:
        prepare_target(output)
    check_name(project, "--project")
    if order_id is not None:
        check_name(order_id, "--order-id")
    if (file is None) is (reference is None):
        raise UsageError("expected either a workflow FILE, or --ref NAME")
    # The order carries the whole plan: the control plane does not read the client's files.
    check_stdin(file, input_file)
    loaded = None if file is None else _load(file, workflow)
    if loaded is not None:
        start_at = find_step(loaded, start_at, "--start-at")
        stop_after = find_step(loaded, stop_after, "--stop-after")
    plan = None if loaded is None else to_execution_plan(loaded)
    retry = read_retry(retries, retry_after, retry_from, retry_on)
    check_tags(tags)
    if input_of is not None and (input_file or input_json) is not None:
        raise UsageError("--input-of has the input: leave out --input and --input-json")
    state = read_input(input_file, input_json)
    options = RunOptions(start=start_at, end=stop_after, record=record, **limits)

    async def request(client: Client) -> int:
        input = state
        if input_of is not None:
            input = await client.input(await find_run_id(client, input_of))
        order = await client.submit(
            workflow=reference, plan=plan, input=input, project=project, priority=priority,
            options=options, order_id=order_id, not_before=not_before, start_by=start_by,
            unique=unique, over_limit=over_limit, tags=tags, retry=retry,
            placement=tuple(check_name(label, "--placement") for label in placement),
        )  # fmt: skip
        if not wait or order["last_run"] is None:
            print_order(order, as_json=as_json)
            return STATUSES[Status.REJECTED].exit_code if order["status"] == "rejected" else 0
        to_stderr = output == "-"
        code = await follow_order(client, order["last_run"], as_json=as_json, to_stderr=to_stderr)
        if output is not None:
            # By the order: a lost run may have been followed by another one.
            await write_final_state(client, order["order_id"], output)
        return code

    return connection.run(request)


def _load(file: Path, workflow: str | None) -> Workflow:
    try:
        return load(file, workflow=workflow)
    except LoadError as error:
        if file.suffix or exists(file):
            raise
        hint = f"--ref {shell_word(str(file))} submits what the control plane knows by this name"
        raise UsageError(f"{error} ({hint})") from error
