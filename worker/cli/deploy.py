"""``worker deploy``: deploy the workflows and triggers of a project to a fleet."""

from __future__ import annotations

from pathlib import Path

import click

from worker.cli.connection import BrokerConnection
from worker.cli.options import PATH, as_json, client_options, command, option
from worker.fleet.client import Client
from worker.fleet.messaging.topics import check_name
from worker.sinks.terminal_text import printable
from worker.util.json import dumps

SHORT_VERSION = 12


@command()
@click.argument("file", type=PATH)
@option("--project", default="default", show_default=True, metavar="NAME",
        help="Project that the workflows belong to.")  # fmt: skip
@option("--triggers", type=PATH, metavar="FILE",
        help="Triggers for workflow files that others own, such as triggers.yaml.  "
        "[default: triggers.yaml beside FILE]")  # fmt: skip
@as_json
@client_options
def deploy(
    *,
    connection: BrokerConnection,
    file: Path,
    project: str,
    triggers: Path | None,
    as_json: bool,
) -> int:
    """Deploy the workflows of a project with their triggers.

    FILE is a project, a workflow or a checkout. All workflows are deployed, or none. New orders run
    the new versions, and the enabled triggers become live; runs that began end as they began.

    \b
    Without a policy, the broker's user 'operator' alone may deploy.

    \b
    Examples:
      worker deploy project.yaml --mqtt mqtt://operator@localhost
      worker deploy project.yaml --project north --triggers north-triggers.yaml
    """
    check_name(project, "--project")

    async def send(client: Client) -> int:
        for result in await client.deploy(file, project=project, triggers=triggers):
            if as_json:
                print(dumps(result))
                continue
            state = "deployed" if result["changed"] else "unchanged"
            print(f"{printable(result['name'])}: {state}, {result['version'][:SHORT_VERSION]}")
        return 0

    return connection.run(send)
