"""``worker alerts``: list and acknowledge the alerts of a fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.groups import LazyCommand, NounGroup
from worker.cli.options import as_json, client_options, command, option
from worker.cli.printing import print_list, print_run
from worker.cli.short_ids import find_run_id
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.sinks.terminal_text import printable
from worker.util.json import dumps
from worker.workflow.documents.data import did_you_mean

_MAX_NAMED = 5

SECTIONS = {
    "Commands": (
        LazyCommand("list", "worker.cli.fleet_alerts:list_alerts", "List alerts, newest first."),
        LazyCommand("acknowledge", "worker.cli.fleet_alerts:acknowledge", "Take care of an alert."),
    )
}


@click.group(cls=NounGroup, sections=SECTIONS)
def alerts() -> None:
    """List and acknowledge the alerts of a fleet.

    An alert is a run that ended as exception or lost. `worker alerts` is `worker alerts list`.

    \b
    Examples:
      worker alerts list --open
      worker alerts acknowledge 5f0c9e-1
    """


@command("list")
@option("--open", "only_open", is_flag=True, help="Only those that nobody has acknowledged.")
@as_json
@client_options
def list_alerts(*, connection: BrokerConnection, only_open: bool, as_json: bool) -> int:
    """List alerts, newest first.

    \b
    Examples:
      worker alerts list --open
      worker alerts list --json | jq .error_message
    """

    async def request(client: Client) -> int:
        listed = await client.alerts()
        chosen = [alert for alert in listed if not (only_open and alert["acknowledged"])]
        return print_list(
            chosen,
            lambda alert: print(dumps(alert)) if as_json else _print_alert(alert),
            if_empty="" if as_json else "no alerts",
        )

    return connection.run(request)


def _print_alert(alert: Mapping[str, Any]) -> None:
    print_run({**alert, "created": alert["at"], "attempt": 1}, as_json=False)
    if alert["acknowledged"]:
        print(f"    acknowledged by {printable(alert['acknowledged_by'] or 'somebody')}")


@command()
@click.argument("run", required=False, shell_complete=complete.run_ids)
@client_options
def acknowledge(*, connection: BrokerConnection, run: str | None) -> int:
    """Take care of an alert.

    RUN is the id of a run that ended as exception or lost, or of its order; without it, the command
    names the open alerts. Your name on the broker stands beside the alert.

    \b
    Examples:
      worker alerts acknowledge 5f0c9e-1
    """

    async def request(client: Client) -> int:
        if run is None:
            raise UsageError(f"argument RUN is missing{open_alerts('', await client.alerts())}")
        try:
            id = await find_run_id(client, run)
            await client.acknowledge(id)
        except ControlError as error:
            if error.code != "unknown":
                raise
            text = f"there is no alert of '{printable(run)}'"
            raise UsageError(f"{text}{open_alerts(run, await client.alerts())}") from error
        print(f"acknowledged {id}")
        return 0

    return connection.run(request)


def open_alerts(text: str, alerts: Sequence[Mapping[str, Any]]) -> str:
    """Return the end of a message: the open alert whose id is near a text, or the newest ones."""
    ids = [str(alert["run_id"]) for alert in alerts if not alert["acknowledged"]]
    if not ids:
        return "; no alert is open"
    if near := did_you_mean(text, ids):
        return near
    more = ", … (worker alerts list --open)" if len(ids) > _MAX_NAMED else ""
    return f"; open are {', '.join(map(printable, ids[:_MAX_NAMED]))}{more}"
