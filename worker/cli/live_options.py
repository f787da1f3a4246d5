"""The commands that show what a fleet is doing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.cli.fleet_options import client_options

if TYPE_CHECKING:
    from worker.cli.connection import BrokerConnection


@click.command()
@client_options
@click.option("--json", "as_json", is_flag=True, help="Every change as a line of JSON.")
def watch(place: BrokerConnection, patience: float, as_json: bool) -> None:
    """Watch a fleet: orders, runs, workers, throughput and alerts, as they change.

    On a terminal it is a screen that keeps itself up to date; elsewhere every change of a run's
    status is a line. Ctrl-C ends it.

    \b
    Examples:
      worker watch --mqtt mqtt://broker.example
      worker watch --mqtt mqtt://broker.example --json | jq .status
    """
    from worker.cli.watch import watch as watch_fleet

    sys.exit(watch_fleet(place.client(wait_s=patience), str(place), as_json=as_json))


@click.command()
@client_options
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Where to listen. Others can reach anything but loopback.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8420, show_default=True,
              help="0 for any that is free.")  # fmt: skip
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE",
              help="What to sign in with, in place of a new token each time."
                   "  [env: WORKER_DASHBOARD_TOKEN, the token itself]")  # fmt: skip
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME:PORT",
              help="Answer to this name too: that of a tunnel or a proxy.")  # fmt: skip
def dashboard(place: BrokerConnection, patience: float, **options: Any) -> None:
    """Show a fleet in the browser: orders, runs as they go, workers, alerts; cancel and retry.

    Prints the address to open, with the token to sign in with.

    \b
    Examples:
      worker dashboard --mqtt mqtt://broker.example
      worker dashboard --mqtt mqtts://broker.example --port 0 --token-file token
    """
    from worker.cli.dashboard import dashboard as show_dashboard

    sys.exit(show_dashboard(place.client(wait_s=patience), str(place), **options))


COMMANDS = (watch, dashboard)
