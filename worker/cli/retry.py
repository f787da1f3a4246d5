"""``worker retry``: run a work order again, or many."""

from __future__ import annotations

import sys
from typing import Any

import click

from worker.cli import complete
from worker.cli.bulk import change_many, check_alone, many_orders
from worker.cli.connection import BrokerConnection
from worker.cli.options import as_json, client_options, command, option, start_at, wait_for_run
from worker.cli.printing import follow_order, print_run
from worker.cli.short_ids import find_id
from worker.fleet.client import Client
from worker.sinks.terminal_text import printable, shell_word


@command()
@click.argument("order", required=False, shell_complete=complete.order_ids)
@start_at("--from", default=None, help="Start at this step, with its recorded input.")
@option("--latest", is_flag=True,
        help="Use the workflow as the control plane has it by now.")  # fmt: skip
@wait_for_run
@many_orders("retry")
@as_json
@client_options
def retry(
    *,
    connection: BrokerConnection,
    order: str | None,
    start_at: str | None,
    latest: bool,
    wait: bool,
    as_json: bool,
    **many: Any,
) -> int:
    """Run a work order again, or many.

    ORDER is the id of an order or of one of its runs. The status of the order is that of the new
    run. An order that was rejected runs for the first time, if its project's limit allows it now.
    Without ORDER the options choose the orders, without those that succeeded or were cancelled
    unless --status names these; they run in the order in which they were received.

    \b
    Examples:
      worker retry 5f0c9e
      worker retry 5f0c9e --start-at upsert-record --wait
      worker retry 5f0c9e --latest
      worker retry --status failed --workflow Referral --since 2h --dry-run
      worker retry --status lost --project north --yes

    \b
    Exit code with --wait: that of the run, as of worker run.
    """
    check_alone(order, many, start_at=start_at, latest=latest, wait=wait)
    if order is None:
        return change_many(connection, "retry", as_json=as_json, **many)
    return _retry_order(
        connection, order, start_at=start_at, latest=latest, wait=wait, as_json=as_json
    )


def new_run(order_id: str, run_id: str) -> str:
    """Return a notice: which run a retry made, and how to see it and the runs before."""
    run, order = shell_word(run_id), shell_word(order_id)
    return (
        f"new run {printable(run_id)}: worker runs show {run} --follow shows it, "
        f"worker orders show {order} all runs of the order"
    )


def _retry_order(
    connection: BrokerConnection,
    order: str,
    *,
    start_at: str | None,
    latest: bool,
    wait: bool,
    as_json: bool,
) -> int:
    async def request(client: Client) -> int:
        retried = await client.retry(
            await find_id(client, order), from_step=start_at, latest=latest
        )
        if not as_json:
            print(new_run(retried["order_id"], retried["last_run"]), file=sys.stderr)
        if wait:
            return await follow_order(client, retried["last_run"], as_json=as_json)
        print_run(retried["run"], as_json=as_json)
        return 0

    return connection.run(request)
