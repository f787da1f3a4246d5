"""``worker workflows pause`` and ``resume``."""

from __future__ import annotations

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.options import as_json, client_options, command, option
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.sinks.terminal_text import printable
from worker.util.json import dumps

_project = option("--project", metavar="NAME",
                  help="Only in this project; without a workflow the whole project.")  # fmt: skip


@command()
@click.argument("workflow", required=False, shell_complete=complete.known_workflows)
@_project
@as_json
@client_options
def pause(
    *, connection: BrokerConnection, workflow: str | None, project: str | None, as_json: bool
) -> int:
    """Let the orders of a workflow wait.

    Runs that a worker has go on; new orders are accepted, and wait until `worker workflows resume`.

    \b
    Examples:
      worker workflows pause Referral
      worker workflows pause Referral --project north
      worker workflows pause --project north
    """

    async def request(client: Client) -> int:
        await client.pause(workflow, project=project)
        return _print(workflow, project, paused=True, as_json=as_json)

    _check(workflow, project)
    return connection.run(request)


@command()
@click.argument("workflow", required=False, shell_complete=complete.known_workflows)
@_project
@as_json
@client_options
def resume(
    *, connection: BrokerConnection, workflow: str | None, project: str | None, as_json: bool
) -> int:
    """Let the orders of a paused workflow run again.

    It ends the pause that was made with the same WORKFLOW and --project.

    \b
    Examples:
      worker workflows resume Referral
      worker workflows resume --project north
    """

    async def request(client: Client) -> int:
        await client.resume(workflow, project=project)
        for rest in await client.pauses():
            if rest["workflow"] in (workflow, None) and rest["project"] in (project, None):
                click.echo(f"still paused: {_place(rest['workflow'], rest['project'])}", err=True)
        return _print(workflow, project, paused=False, as_json=as_json)

    _check(workflow, project)
    return connection.run(request)


def _check(workflow: str | None, project: str | None) -> None:
    if workflow is None and project is None:
        raise UsageError("expected a WORKFLOW, --project NAME, or both")


def _print(workflow: str | None, project: str | None, *, paused: bool, as_json: bool) -> int:
    if as_json:
        print(dumps({"workflow": workflow, "project": project, "paused": paused}))
    else:
        print(f"{'paused' if paused else 'resumed'} {_place(workflow, project)}")
    return 0


def _place(workflow: str | None, project: str | None) -> str:
    if workflow is None:
        return f"project {printable(project or '')}"
    return printable(workflow) + (f" in project {printable(project)}" if project else "")
