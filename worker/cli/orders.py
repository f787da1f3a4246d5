"""``worker orders``: list and show work orders."""

from __future__ import annotations

from typing import Any

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.groups import LazyCommand, NounGroup
from worker.cli.options import as_json, client_options, command, option
from worker.cli.printing import print_action, print_list, print_order, print_run
from worker.cli.query_filters import next_page, print_remaining, query_fields, query_filters
from worker.cli.short_ids import find_order_id
from worker.fleet.client import Client
from worker.fleet.messaging.client_messages import OrderQuery

SECTIONS = {
    "Commands": (
        LazyCommand("list", "worker.cli.orders:list_orders", "List work orders, newest first."),
        LazyCommand("show", "worker.cli.orders:show", "Show a work order with its runs."),
        LazyCommand("submit", "worker.cli.submit:submit", "Submit a work order for a workflow."),
        LazyCommand(
            "export",
            "worker.cli.export_orders:export",
            "Write the history of orders as JSON lines.",
        ),
        LazyCommand(
            "erase", "worker.cli.export_orders:erase", "Delete the states and logs of an order."
        ),
        LazyCommand("retry", "worker.cli.retry:retry", "Run a work order again, or many."),
        LazyCommand(
            "cancel",
            "worker.cli.cancel:cancel",
            "Cancel a run, or many orders, and wait.",
        ),
    )
}


@click.group(cls=NounGroup, sections=SECTIONS)
def orders() -> None:
    """List, show and change work orders.

    `worker orders` lists, `worker orders ORDER` shows one; `worker submit`, `worker retry` and
    `worker cancel` need no `orders`.

    \b
    Examples:
      worker orders
      worker orders list --status failed
      worker orders show 5f0c9e
    """


@command("list")
@query_filters("orders")
@option("--beyond", metavar="ID", help="The page after this one, the last of the page before.")
@as_json
@client_options
def list_orders(
    *, connection: BrokerConnection, beyond: str | None, as_json: bool, **filters: Any
) -> int:
    """List work orders, newest first.

    \b
    Examples:
      worker orders list --status failed --since 7d
      worker orders list --project north --json | jq .status
    """

    async def request(client: Client) -> int:
        query = OrderQuery(**query_fields(filters))
        if beyond is not None:
            query = next_page(query, await client.order(await find_order_id(client, beyond)))
        listed = await client.orders(query)
        code = print_list(
            listed,
            lambda order: print_order(order, as_json=as_json),
            if_empty="" if as_json else "no orders",
        )
        await print_remaining(client, query, len(listed), "orders")
        return code

    return connection.run(request)


@command()
@click.argument("order", shell_complete=complete.order_ids)
@as_json
@client_options
def show(*, connection: BrokerConnection, order: str, as_json: bool) -> int:
    """Show a work order with its runs.

    \b
    Examples:
      worker orders show 5f0c9e
      worker orders 5f0c9e --json
    """

    async def request(client: Client) -> int:
        fields = await client.order(await find_order_id(client, order))
        runs, actions = fields.pop("all_runs"), fields.get("actions", [])
        print_order(fields, as_json=as_json)
        for run in runs:
            print_run(run, as_json=as_json)
        for action in () if as_json else actions:
            print_action(action)
        return 0

    return connection.run(request)
