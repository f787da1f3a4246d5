"""``worker workers``: list the workers of a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from worker.cli.connection import BrokerConnection
from worker.cli.groups import LazyCommand, NounGroup
from worker.cli.options import as_json, client_options, command
from worker.cli.printing import print_list
from worker.fleet.client import Client
from worker.sinks.terminal_text import printable
from worker.util.json import dumps
from worker.util.plural import count_of

SECTIONS = {
    "Commands": (
        LazyCommand("list", "worker.cli.workers:list_workers", "List workers with their load."),
    )
}


@click.group(cls=NounGroup, sections=SECTIONS)
def workers() -> None:
    """List the workers of a fleet.

    `worker workers` is `worker workers list`.

    \b
    Examples:
      worker workers list
    """


@command("list")
@as_json
@client_options
def list_workers(*, connection: BrokerConnection, as_json: bool) -> int:
    """List workers with their load.

    \b
    Examples:
      worker workers list
      worker workers list --json | jq 'select(.online) | .name'
    """

    async def request(client: Client) -> int:
        return print_list(
            await client.workers(),
            lambda worker: print(dumps(worker) if as_json else _line(worker)),
            if_empty="" if as_json else "no workers",
        )

    return connection.run(request)


def _line(worker: Mapping[str, Any]) -> str:
    online = "draining" if worker["draining"] else "online"
    presence = online if worker["online"] else "offline"
    labels = [word.removeprefix("label:") for word in worker["offers"] if word.startswith("label:")]
    load = _load(worker) if worker["online"] or worker["leases"] else ""
    columns = [f"{presence:<8}", printable(worker["name"]), load, *map(printable, labels)]
    return "  ".join(filter(None, columns))


def _load(worker: Mapping[str, Any]) -> str:
    held = len(worker["leases"])
    if worker["online"]:
        return f"{held} of {count_of(worker['capacity'], 'slot')} in use"
    # Its lease may still go on: it can return, or its runs are lost.
    return f"holds {count_of(held, 'run')}"
