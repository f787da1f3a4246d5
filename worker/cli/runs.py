"""``worker runs``: list and show runs."""

from __future__ import annotations

from typing import Any

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.groups import LazyCommand, NounGroup
from worker.cli.options import as_json, client_options, command, option
from worker.cli.printing import follow as follow_run
from worker.cli.printing import print_list, print_log, print_run, print_step, write_final_state
from worker.cli.query_filters import print_remaining, query_fields, query_filters
from worker.cli.short_ids import find_run_id
from worker.cli.waiting import find_reason
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.messaging.client_messages import RunQuery
from worker.util.machine_clock import now_us

SECTIONS = {
    "Commands": (
        LazyCommand("list", "worker.cli.runs:list_runs", "List runs, newest first."),
        LazyCommand("show", "worker.cli.runs:show", "Show a run, its state and log, or follow it."),
        LazyCommand("retry", "worker.cli.retry:retry", "Run a work order again, or many."),
        LazyCommand(
            "record", "worker.cli.record_run:record",
            "Write the recording of a run that has ended.",
        ),
        LazyCommand(
            "cancel",
            "worker.cli.cancel:cancel",
            "Cancel a run, or many orders, and wait.",
        ),
    )
}  # fmt: skip


@click.group(cls=NounGroup, sections=SECTIONS)
def runs() -> None:
    """List, show, record, retry and cancel runs.

    `worker runs` lists. `worker runs ID` shows one: ID is that of a run, or that of an order for
    its last run. `worker retry` and `worker cancel` need no `runs`.

    \b
    Examples:
      worker runs
      worker runs list --status failed
      worker runs show 5f0c9e --follow
      worker runs record 5f0c9e recordings
    """


@command("list")
@query_filters("runs")
@as_json
@client_options
def list_runs(*, connection: BrokerConnection, as_json: bool, **filters: Any) -> int:
    """List runs, newest first.

    \b
    Examples:
      worker runs list --status failed --since 24h
      worker runs list --project north --json | jq .worker
    """

    async def request(client: Client) -> int:
        query = RunQuery(**query_fields(filters))
        listed = await client.runs(query)
        code = print_list(
            listed,
            lambda run: print_run(run, as_json=as_json),
            if_empty="" if as_json else "no runs",
        )
        await print_remaining(client, query, len(listed), "runs")
        return code

    return connection.run(request)


@command()
@click.argument("run", shell_complete=complete.run_ids)
@option("--follow", "-f", is_flag=True, help="Show its events until it ends.")
@option("--output", "-o", metavar="FILE|-", help="Write its final state to FILE, as JSON.")
@option("--state", "state", is_flag=True, help="Print its final state: --output -.")
@option("--logs", is_flag=True, help="Print its log lines.")
@as_json
@client_options
def show(
    *,
    connection: BrokerConnection,
    run: str,
    follow: bool,
    output: str | None,
    state: bool,
    logs: bool,
    as_json: bool,
) -> int:
    """Show a run, its state and log, or follow it.

    RUN is the id of a run, or of a work order for its last run; its first characters are enough.

    \b
    Examples:
      worker runs show 5f0c9e --follow
      worker runs show 5f0c9e --output state.json
      worker runs 5f0c9e --state | jq .data
      worker runs 5f0c9e --logs

    \b
    Exit code with --follow: that of the run, as of worker run.
    """
    if state and output not in (None, "-"):
        raise UsageError("--state prints the final state and --output writes it: leave one out")
    if as_json and (state or output == "-"):
        raise UsageError("--json and the final state both go to stdout: choose a file for --output")

    async def request(client: Client) -> int:
        id = await find_run_id(client, run)
        code = await follow_run(client, id, as_json=as_json) if follow else 0
        if not follow and not state and output != "-" and not logs:
            await _print_with_steps(client, id, as_json=as_json)
        if logs:
            await print_log(client, id, as_json=as_json)
        if state or output is not None:
            await write_final_state(client, id, output or "-")
        return code

    return connection.run(request)


async def _print_with_steps(client: Client, id: str, *, as_json: bool) -> None:
    fields = await client.run(id)
    fields.pop("plan")
    steps = fields.pop("steps")
    print_run(fields | ({"steps": steps} if as_json else {}), as_json=as_json)
    # Its delay is printed with it.
    delayed = (fields.get("not_before") or 0) > now_us()
    if not as_json and fields["status"] == "pending" and not delayed:
        print(f"    waits: {await find_reason(client, fields)}")
    for step in () if as_json else steps:
        print_step(step)
