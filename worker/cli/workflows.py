"""``worker workflows``: list, show and roll back the workflows of a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.groups import LazyCommand, NounGroup
from worker.cli.options import as_json, client_options, command, option
from worker.cli.printing import print_list
from worker.cli.waiting import allowed, format_target
from worker.fleet.client import Client
from worker.sinks.terminal_text import format_time, printable
from worker.util.json import dumps

NO_WORKFLOWS = "no workflows (worker deploy and worker control-plane --workflows DIR add some)"
NO_DEAD_LETTERS = "no dead letters"
SECTIONS = {
    "Commands": (
        LazyCommand("list", "worker.cli.workflows:list_workflows", "List the workflows by name."),
        LazyCommand(
            "pause", "worker.cli.pause_workflows:pause", "Let the orders of a workflow wait."
        ),
        LazyCommand(
            "resume",
            "worker.cli.pause_workflows:resume",
            "Let the orders of a paused workflow run again.",
        ),
        LazyCommand(
            "show", "worker.cli.workflows:show", "Show a deployed workflow with its triggers."
        ),
        LazyCommand(
            "history",
            "worker.cli.workflows:history",
            "List the deployments of a workflow, newest first.",
        ),
        LazyCommand(
            "rollback",
            "worker.cli.workflows:rollback",
            "Deploy an earlier version of a workflow again.",
        ),
        LazyCommand(
            "dead-letters",
            "worker.cli.workflows:dead_letters",
            "List the messages that no order was made of, with the reasons.",
        ),
    )
}


@click.group(cls=NounGroup, sections=SECTIONS)
def workflows() -> None:
    """List, show and roll back the workflows of a fleet.

    `worker workflows` is `worker workflows list`, `worker workflows NAME` shows one.

    \b
    Examples:
      worker workflows list
      worker workflows show Referral --project north
      worker workflows rollback Referral
    """


@command("list")
@as_json
@client_options
def list_workflows(*, connection: BrokerConnection, as_json: bool) -> int:
    """List the workflows by name.

    Each has its other names beside it, such as its key in a project.

    \b
    Examples:
      worker workflows list
      worker workflows list --json
    """

    async def request(client: Client) -> int:
        keys = await client.workflow_keys()

        def print_workflow(name: str) -> None:
            others = f" ({', '.join(keys[name])})" if keys[name] else ""
            row = {"name": name, "keys": keys[name]}
            print(dumps(row) if as_json else printable(f"{name}{others}"))

        code = print_list(list(keys), print_workflow, if_empty="" if as_json else NO_WORKFLOWS)
        for pause in () if as_json else await allowed(client.pauses) or ():
            print(f"paused: {format_target(pause['workflow'], pause['project'])}")
        return code

    return connection.run(request)


of_project = option(
    "--project",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Project that the workflow belongs to.",
)


@command()
@click.argument("name", shell_complete=complete.known_workflows)
@of_project
@as_json
@client_options
def show(*, connection: BrokerConnection, name: str, project: str, as_json: bool) -> int:
    """Show a deployed workflow with its triggers.

    \b
    Examples:
      worker workflows show Referral
      worker workflows show Referral --project north --json
    """

    async def request(client: Client) -> int:
        workflow = await client.deployed_workflow(name, project=project)
        if as_json:
            print(dumps(workflow))
            return 0
        print(_deployment(workflow))
        for trigger in workflow["triggers"]:
            print(f"  {_trigger(trigger)}")
        return 0

    return connection.run(request)


@command()
@click.argument("name", shell_complete=complete.known_workflows)
@of_project
@as_json
@client_options
def history(*, connection: BrokerConnection, name: str, project: str, as_json: bool) -> int:
    """List the deployments of a workflow, newest first.

    \b
    Examples:
      worker workflows history Referral
    """

    async def request(client: Client) -> int:
        return print_list(
            await client.workflow_history(name, project=project),
            lambda row: print(dumps(row) if as_json else _deployment(row)),
            if_empty="",
        )

    return connection.run(request)


@command()
@click.argument("name", shell_complete=complete.known_workflows)
@of_project
@option("--to-version", default="", metavar="VERSION",
        help="A version's beginning, as history lists it.  [default: the one before]")  # fmt: skip
@as_json
@client_options
def rollback(
    *, connection: BrokerConnection, name: str, project: str, to_version: str, as_json: bool
) -> int:
    """Deploy an earlier version of a workflow again.

    \b
    Examples:
      worker workflows rollback Referral
      worker workflows rollback Referral --to-version 3f08a1
    """

    async def request(client: Client) -> int:
        result = await client.rollback(name, project=project, version=to_version)
        print(dumps(result) if as_json else f"{printable(name)}: {result['version'][:12]}")
        return 0

    return connection.run(request)


@command("dead-letters")
@option("--project", metavar="NAME", help="Only dead letters of this project.")
@as_json
@client_options
def dead_letters(*, connection: BrokerConnection, project: str | None, as_json: bool) -> int:
    """List the messages that no order was made of, with the reasons.

    \b
    Examples:
      worker workflows dead-letters
      worker workflows dead-letters --project north --json | jq .reason
    """

    async def request(client: Client) -> int:
        return print_list(
            await client.dead_letters(project=project),
            lambda letter: print(dumps(letter) if as_json else _dead_letter(letter)),
            if_empty="" if as_json else NO_DEAD_LETTERS,
        )

    return connection.run(request)


def _deployment(row: Mapping[str, Any]) -> str:
    client = f" by {row['client']}" if row["client"] else ""
    return (
        f"{printable(row['name'])}  {row['version'][:12]}  {row['action']} "
        f"{row['number']}  {format_time(row['at'])}{client}"
    )


def _trigger(trigger: Mapping[str, Any]) -> str:
    keys = ("topic", "expression", "path", "timezone")
    address = " ".join(trigger[key] for key in keys if key in trigger)
    state = "live" if trigger["live"] else "disabled"
    due = f", next {format_time(trigger['next_tick'])}" if trigger["next_tick"] else ""
    return printable(
        f"{trigger['name']}: {trigger['type']} {address} ({state}, fired {trigger['fired']}{due})"
    )


def _dead_letter(letter: Mapping[str, Any]) -> str:
    return printable(
        f"{format_time(letter['at'])}  {letter['workflow']}  {letter['topic']}  "
        f"{letter['reason']}: {letter['message']}"
    )
