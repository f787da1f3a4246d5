"""``worker workflows``: list the workflows that orders can name."""

from __future__ import annotations

import click

from worker.cli.connection import BrokerConnection
from worker.cli.groups import LazyCommand, NounGroup
from worker.cli.options import as_json, client_options, command
from worker.cli.printing import print_list
from worker.fleet.client import Client
from worker.sinks.terminal_text import printable
from worker.util.json import dumps

NO_WORKFLOWS = "no workflows (worker control-plane --workflows DIR adds some)"
SECTIONS = {
    "Commands": (
        LazyCommand("list", "worker.cli.workflows:list_workflows", "List the workflows by name."),
        LazyCommand("pause", "worker.cli.pauses:pause", "Let the orders of a workflow wait."),
        LazyCommand(
            "resume",
            "worker.cli.pauses:resume",
            "Let the orders of a paused workflow run again.",
        ),
    )
}


@click.group(cls=NounGroup, sections=SECTIONS)
def workflows() -> None:
    """List the workflows that orders can name.

    `worker workflows` is `worker workflows list`.

    \b
    Examples:
      worker workflows list
    """


@command("list")
@as_json
@client_options
def list_workflows(*, connection: BrokerConnection, as_json: bool) -> int:
    """List the workflows by name.

    \b
    Examples:
      worker workflows list
      worker workflows list --json
    """

    async def request(client: Client) -> int:
        return print_list(
            await client.workflows(),
            lambda name: print(dumps({"name": name}) if as_json else printable(name)),
            if_empty="" if as_json else NO_WORKFLOWS,
        )

    return connection.run(request)
