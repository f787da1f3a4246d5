"""``worker workflows pause`` and ``resume``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.options import as_json, client_options, command, option
from worker.cli.waiting import allowed, format_target
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.sinks.terminal_text import printable
from worker.util.json import dumps
from worker.workflow.documents.data import did_you_mean

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
        if workflow is not None:
            await _warn_of_unknown(client, workflow)
        done = await client.pause(workflow, project=project)
        return _print(done, "paused", as_json=as_json)

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
        done = await client.resume(workflow, project=project)
        for rest in await client.pauses():
            if rest["workflow"] in (done["workflow"], None) and rest["project"] in (project, None):
                target = format_target(rest["workflow"], rest["project"])
                click.echo(f"still paused: {target}", err=True)
        # Control planes of an older version do not report it.
        verb = "resumed" if done.get("was_paused", True) else "not paused:"
        return _print(done, verb, as_json=as_json)

    _check(workflow, project)
    return connection.run(request)


def _check(workflow: str | None, project: str | None) -> None:
    if workflow is None and project is None:
        raise UsageError("expected a WORKFLOW, --project NAME, or both")


async def _warn_of_unknown(client: Client, workflow: str) -> None:
    """Print a warning for a name of no workflow: the plan of an order may have it, or nothing."""
    known = await allowed(client.workflows)
    if known is not None and workflow not in known:
        hint = did_you_mean(workflow, known)
        text = f"warning: the control plane has no workflow '{printable(workflow)}'{hint}"
        click.echo(text, err=True)


def _print(done: Mapping[str, Any], verb: str, *, as_json: bool) -> int:
    if as_json:
        print(dumps({key: done[key] for key in ("workflow", "project", "paused")}))
    else:
        print(f"{verb} {format_target(done['workflow'], done['project'])}")
    return 0
