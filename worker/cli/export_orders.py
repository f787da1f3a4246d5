"""``worker orders export`` and ``erase``: the history of orders, and its deletion."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.options import as_json, client_options, command, option
from worker.cli.printing import print_order
from worker.cli.query_filters import order_filters, query_fields
from worker.cli.short_ids import find_order_id
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.messaging.client_messages import OrderQuery
from worker.util.json import dumps
from worker.util.plural import count_of
from worker.util.private_files import open_private


@command()
@order_filters("orders")
@option("--output", "-o", metavar="FILE|-", default="-", help="Write to FILE.  [default: stdout]")
@client_options
def export(*, connection: BrokerConnection, output: str, **filters: Any) -> int:
    """Write the history of orders as JSON lines.

    One line for each run, with its order, plan, input, events and states. `worker import` makes
    recordings of it, for reports and replays.

    \b
    Examples:
      worker orders export --since 24h -o history.jsonl
      worker orders export --status failed --project north | jq .run.error_type
    """
    query = OrderQuery(**query_fields(filters))

    async def request(client: Client) -> int:
        count = 0
        with ExitStack() as stack:
            # States may be about people: nobody else may read the file.
            file = None if output == "-" else stack.enter_context(open_private(Path(output)))
            async for line in client.history(query):
                text = f"{dumps(line)}\n"
                sys.stdout.write(text) if file is None else file.write(text.encode())
                count += 1
        if output != "-":
            print(f"wrote {count_of(count, 'run')} to {output}", file=sys.stderr)
        return 0

    return connection.run(request)


@command()
@click.argument("order", shell_complete=complete.order_ids)
@option("--yes", is_flag=True, help="Change orders without a question.")
@as_json
@client_options
def erase(*, connection: BrokerConnection, order: str, yes: bool, as_json: bool) -> int:
    """Delete the states and logs of an order.

    They are deleted in the database, on the broker and in the outboxes of workers, also of those
    that connect later. The status and the times of the order stay.

    \b
    Examples:
      worker orders erase 5f0c9e --yes
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError("what is erased cannot be brought back: add --yes")

    async def request(client: Client) -> int:
        id = await find_order_id(client, order)
        if not yes:
            click.confirm(f"erase the states and logs of order {id}?", abort=True, err=True)
        print_order(await client.erase(id), as_json=as_json)
        return 0

    return connection.run(request)
