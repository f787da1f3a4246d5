"""``worker cancel``: cancel a run, or many orders."""

from __future__ import annotations

import sys
from typing import Any

import click

from worker.cli import complete
from worker.cli.bulk import change_many, check_alone, many_orders
from worker.cli.connection import BrokerConnection
from worker.cli.options import as_json, client_options, command
from worker.cli.printing import print_run
from worker.cli.short_ids import find_id
from worker.core.status import STATUSES, Status
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.sinks.terminal_text import printable


@command()
@click.argument("run", required=False, shell_complete=complete.run_ids)
@many_orders("cancel")
@as_json
@client_options
def cancel(*, connection: BrokerConnection, run: str | None, as_json: bool, **many: Any) -> int:
    """Cancel a run, or many orders, and wait.

    RUN is the id of a run, or of a work order for its last run. Without it the options choose the
    orders; those that have ended stay as they are.

    \b
    Examples:
      worker cancel 5f0c9e
      worker cancel --workflow Referral --status pending --dry-run
      worker cancel --project north --since 1h --yes

    \b
    Exit code: 0 cancelled, 1 RUN ended in another way first.
    """
    check_alone(run, many)
    if run is None:
        return change_many(connection, "cancel", as_json=as_json, **many)
    return _cancel_run(connection, run, as_json=as_json)


def _cancel_run(connection: BrokerConnection, run: str, *, as_json: bool) -> int:
    """Cancel a run and wait until it ends. Return the exit code."""

    async def request(client: Client) -> int:
        try:
            fields = await client.cancel(await find_id(client, run))
        except ControlError as error:
            if error.code != "conflict":
                raise
            print(f"error: {printable(str(error))}", file=sys.stderr)
            return 1
        # A run that executes is cancelled when its worker has confirmed it.
        if not STATUSES[Status(fields["status"])].final:
            fields = await client.wait(fields["run_id"])
        fields.pop("plan", None)
        fields.pop("steps", None)
        print_run(fields, as_json=as_json)
        return 0 if fields["status"] == "cancelled" else 1

    return connection.run(request)
