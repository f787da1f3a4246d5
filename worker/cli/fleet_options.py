"""The commands of the control plane, its workers and its clients."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from worker.cli.connection import BrokerConnection

PATH = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="One object a line, as JSON.")
QUIET = click.option("--quiet", "-q", is_flag=True, help="Log warnings and worse alone.")
HTTP = click.option("--http", metavar="[HOST:]PORT",
                    help="Serve /metrics for Prometheus and /health here.")  # fmt: skip
POSITIVE = click.FloatRange(min=0, min_open=True)


def broker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where the broker is; the command gets a ``place``."""

    @functools.wraps(command)
    def placed(
        mqtt: str, root: str, ca: Path | None, cert: Path | None, key: Path | None, **rest: Any
    ) -> Any:
        from worker.cli.connection import place

        where = place(mqtt=mqtt, root=root, ca=ca, cert=cert, key=key)
        return command(place=where, **rest)

    for option in (
        click.option("--key", type=PATH, metavar="FILE", help="The key of --cert."),
        click.option("--cert", type=PATH, metavar="FILE", help="A client certificate, for TLS."),
        click.option("--ca", type=PATH, metavar="FILE",
                     help="The authority that signed the broker's certificate, for TLS."),
        click.option("--root", default="worker", show_default=True, metavar="NAME",
                     help="The first level of all topics."),
        click.option("--mqtt", envvar="WORKER_MQTT", default="mqtt://127.0.0.1", metavar="URL",
                     show_default=True, show_envvar=True,
                     help="The broker: mqtt[s]://[NAME:PASSWORD@]HOST[:PORT]. The password can "
                          "stand in WORKER_MQTT_PASSWORD instead."),
    ):  # fmt: skip
        placed = option(placed)
    return placed


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What all clients have: the broker, and how long to wait for an answer."""
    patience = click.option("--patience", type=POSITIVE, default=10.0, show_default=True,
                            metavar="SECONDS", help="How long an answer may take.")  # fmt: skip
    return broker_options(patience(command))


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a worker allows."""
    for option in (
        click.option("--no-python", is_flag=True, help="Refuse workflows that have Python steps."),
        click.option("--memory", type=click.IntRange(min=8), metavar="MB",
                     help="The most memory that an order can ask for."),
        click.option("--timeout", type=POSITIVE, metavar="SECONDS",
                     help="The longest time that an order can ask for."),
        click.option("--allow-host", "allow_hosts", multiple=True, metavar="HOST[:PORT]",
                     help="Let adaptors make requests to this host too, or to *.DOMAIN."),
        click.option("--credentials", metavar="FILE", type=PATH,
                     help="Credentials by the names that steps use, as JSON or YAML."),
        click.option("--capacity", type=click.IntRange(1, 1000), default=os.cpu_count() or 2,
                     help="How many runs at once.  [default: one for each core]"),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@broker_options
@click.option("--store", default="sqlite:///orders.db", show_default=True, metavar="URL",
              envvar="WORKER_STORE", show_envvar=True,
              help="The database: sqlite:///FILE, or postgresql://USER@HOST/NAME.")  # fmt: skip
@click.option("--workflows", type=PATH, multiple=True, metavar="FILE|DIR",
              help="Workflows that orders can name.")  # fmt: skip
@click.option("--policy", type=PATH, metavar="FILE",
              help="The run limits of projects, as YAML.")  # fmt: skip
@click.option("--lease", type=POSITIVE, default=10.0, show_default=True, metavar="SECONDS",
              help="A worker that is silent for so long has lost its runs.")  # fmt: skip
@click.option("--grace", type=POSITIVE, default=2.0, show_default=True, metavar="SECONDS",
              help="How long it has to come back when its connection broke.")  # fmt: skip
@click.option("--keep", "keep_days", type=click.FloatRange(min=0), default=0.0, metavar="DAYS",
              help="Forget ended orders after this time.  [default: never]")  # fmt: skip
@click.option("--payload-limit", "payload_mb", type=POSITIVE, default=32.0, show_default=True,
              metavar="MB", help="Refuse larger messages.")  # fmt: skip
@click.option("--shared", is_flag=True,
              help="Share the messages with other control planes of this store.")  # fmt: skip
@click.option("--alert-command", default="", metavar="COMMAND",
              help="Run this program (no shell) for each alert, as JSON on its stdin.")  # fmt: skip
@click.option("--alert-webhook", default="", metavar="URL", help="POST each alert there.")
@click.option("--cloudevents", is_flag=True, help="Say states, events and alerts as CloudEvents.")
@click.option(
    "--asyncapi", is_flag=True, help="Print the AsyncAPI document of all messages, and leave."
)
@click.option("--acl", is_flag=True, help="Print an access list for mosquitto, and leave.")
@HTTP
@QUIET
def control(place: BrokerConnection, **options: Any) -> None:
    """Be the control plane: take work orders, queue their runs, lease them to workers.

    A policy looks like this: {projects: {north: {concurrent: 20, per_period: 1000, period_s: 3600,
    workflows: {Referral: 1}}}, default: {concurrent: 5}}.

    \b
    Examples:
      worker control --mqtt mqtt://localhost --workflows graphs
      worker control --mqtt mqtts://broker.example.org --ca ca.pem \\
        --store postgresql://worker@db/orders --alert-webhook https://example.org/alerts
    """
    from worker.cli import fleet
    from worker.fleet.control.alerts import AlertNotifier

    if options["asyncapi"] or options["acl"]:
        sys.exit(fleet.print_document("asyncapi.json" if options["asyncapi"] else "mosquitto.acl"))
    quiet = options.pop("quiet")
    found = fleet.ControlOptions(
        store=options["store"],
        workflows=options["workflows"],
        policy=options["policy"],
        settings=fleet.settings(
            lease=options["lease"], grace=options["grace"],
            keep_days=options["keep_days"], payload_mb=options["payload_mb"],
        ),
        superuser=AlertNotifier(command=options["alert_command"], webhook=options["alert_webhook"]),
        cloudevents=options["cloudevents"],
        shared=options["shared"],
        http=options["http"],
    )  # fmt: skip
    sys.exit(fleet.control(place, found, quiet=quiet))


@click.command()
@broker_options
@click.option("--name", default=lambda: _hostname(), metavar="NAME",
              help="Its name, which no other worker has.  [default: of this host]")  # fmt: skip
@click.option("--outbox", type=PATH, metavar="DIR",
              help="Where reports wait until they are taken.  [default: in the cache]")  # fmt: skip
@click.option("--drain", "drain_s", type=click.FloatRange(min=0), default=30.0, metavar="SECONDS",
              show_default=True, help="How long to finish what runs, to leave.")  # fmt: skip
@run_options
@HTTP
@QUIET
def serve(place: BrokerConnection, **options: Any) -> None:
    """Be a worker: claim runs, run them in the sandbox, report them.

    SIGTERM or Ctrl-C: claim nothing more, finish what runs, hand back what did not begin, leave.

    \b
    Examples:
      worker serve --mqtt mqtt://localhost --capacity 4
      worker serve --mqtt mqtts://broker.example.org --name north-1 --credentials secrets.yaml
    """
    from worker.cli import fleet

    quiet = options.pop("quiet")
    sys.exit(fleet.serve(place, _worker_options(options), quiet=quiet))


def _worker_options(options: dict[str, Any]) -> Any:
    from worker.adaptors.cache import root
    from worker.cli import fleet
    from worker.cli.run import read_credentials

    allowed = fleet.allowance(
        credentials=dict(read_credentials(options["credentials"])),
        hosts=options["allow_hosts"],
        no_python=options["no_python"],
        timeout=options["timeout"],
        memory=options["memory"],
    )
    return fleet.WorkerOptions(
        name=options["name"],
        capacity=options["capacity"],
        outbox=options["outbox"] or root() / "outbox" / options["name"],
        allowance=allowed,
        drain_s=options["drain_s"],
        http=options["http"],
    )


def _hostname() -> str:
    kept = (one if one.isalnum() or one in "._-" else "-" for one in socket.gethostname())
    return "".join(kept).strip("._-")[:64] or "worker"


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0,
              help="The port of the broker.  [default: any that is free]")  # fmt: skip
@click.option("--store", default="", metavar="URL",
              help="Where orders are kept.  [default: in memory]")  # fmt: skip
@click.option("--workflows", type=PATH, multiple=True, metavar="FILE|DIR",
              help="Workflows that orders can name.")  # fmt: skip
@run_options
def dev(port: int, store: str, workflows: tuple[Path, ...], **options: Any) -> None:
    """Start a broker, a control plane and a worker on this machine, for a first try.

    The broker is mosquitto where it is installed, else the one of
    pip install 'workflow-worker[broker]'. It listens on loopback alone.

    \b
    Examples:
      worker dev
      worker dev --port 1883 --workflows graphs
    """
    import tempfile

    from worker.cli import fleet

    with tempfile.TemporaryDirectory(prefix="worker-dev-") as folder:
        rest = {"name": "dev", "outbox": Path(folder) / "outbox", "drain_s": 5.0, "http": None}
        kept = fleet.ControlOptions(
            store=store or f"sqlite:///{folder}/orders.db", workflows=workflows
        )
        sys.exit(fleet.dev(kept, _worker_options(options | rest), port))


# --- clients --------------------------------------------------------------------------------------


@click.command()
@click.argument("file", type=PATH, required=False)
@client_options
@click.option("--ref", "reference", metavar="NAME",
              help="A workflow that the control plane knows, instead of FILE.")  # fmt: skip
@click.option("--workflow", metavar="NAME", help="Which workflow of a project, by key, id or name.")
@click.option("--input", "-i", "input_file", metavar="FILE|-", help="The input state, as JSON.")
@click.option("--project", default="default", show_default=True, metavar="NAME",
              help="Whose run limits count.")  # fmt: skip
@click.option("--priority", type=click.IntRange(-100, 100), default=0, show_default=True,
              help="Higher goes first.")  # fmt: skip
@click.option("--start", metavar="STEP", default="", help="Start at this step.")
@click.option("--end", metavar="STEP", default="", help="Stop after this step.")
@click.option("--timeout", type=POSITIVE, metavar="SECONDS", help="Kill the run after this time.")
@click.option("--memory", type=click.IntRange(min=8), metavar="MB",
              help="Kill the run above this memory.")  # fmt: skip
@click.option("--state-limit", type=POSITIVE, metavar="MB",
              help="Kill the run for a larger state.")  # fmt: skip
@click.option("--payload-limit", type=POSITIVE, metavar="MB",
              help="Withhold larger outputs from the events.")  # fmt: skip
@click.option("--order-id", metavar="ID",
              help="Your id for the order: submitting it twice makes one.")  # fmt: skip
@click.option("--wait", is_flag=True, help="Show the run to its end.")
@JSON
def submit(place: BrokerConnection, patience: float, **options: Any) -> None:
    """Submit a work order for the workflow in FILE, or for one that the control plane knows.

    \b
    Examples:
      worker submit graphs/referral.yaml --input graphs/referral.input.json --wait
      worker submit --ref referral --input patient-123.json --project north --priority 5 --json

    \b
    Exit code: 0 accepted, 5 rejected; with --wait that of the run, as of `worker run`.
    """
    from worker.cli import orders
    from worker.fleet.messaging.messages import RunOptions
    from worker.fleet.messaging.topics import check_name

    check_name(options["project"], "--project")
    if options["order_id"] is not None:
        check_name(options["order_id"], "--order-id")
    wanted = RunOptions(
        start=options.pop("start"),
        end=options.pop("end"),
        timeout_s=options.pop("timeout"),
        memory_mb=options.pop("memory"),
        state_mb=options.pop("state_limit"),
        payload_mb=options.pop("payload_limit"),
    )
    sys.exit(orders.with_client(place, patience, orders.submit(options=wanted, **options)))


@click.command("orders")
@click.argument("order", required=False)
@client_options
@click.option("--status", metavar="STATUS", help="Only those with this status.")
@click.option("--project", metavar="NAME", help="Only those of this project.")
@click.option("--workflow", metavar="NAME", help="Only those for this workflow.")
@click.option(
    "--search", default="", metavar="TEXT", help="Only those with this in id or workflow."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True,
              help="The most orders.")  # fmt: skip
@JSON
def orders_(
    place: BrokerConnection, patience: float, order: str | None, as_json: bool, **query: Any
) -> None:
    """List work orders, newest first, or show ORDER with its runs.

    \b
    Examples:
      worker orders --status failed
      worker orders --project north --json | jq .status
    """
    from worker.cli import orders
    from worker.core.status import Status
    from worker.errors import UsageError
    from worker.fleet.messaging.messages import OrderQuery

    if query["status"] is not None and query["status"] not in set(Status):
        known = ", ".join(Status)
        raise UsageError(f"'{query['status']}' is no status (there are: {known})")
    asked = orders.orders(OrderQuery(**query), order, as_json=as_json)
    sys.exit(orders.with_client(place, patience, asked))


@click.command()
@click.argument("run")
@client_options
@click.option("--follow", "-f", is_flag=True, help="Show its events until it ends.")
@JSON
def runs(place: BrokerConnection, patience: float, run: str, follow: bool, as_json: bool) -> None:
    """Show RUN with its steps (or the last run of an order).

    \b
    Examples:
      worker runs 5f0c9e --follow
      worker runs 5f0c9e --json

    \b
    Exit code with --follow: that of the run, as of `worker run`.
    """
    from worker.cli import orders

    asked = orders.runs(run, following=follow, as_json=as_json)
    sys.exit(orders.with_client(place, patience, asked))


@click.command()
@click.argument("order")
@client_options
@click.option(
    "--from", "from_step", metavar="STEP", help="From this step, with its recorded input."
)
@click.option("--wait", is_flag=True, help="Show the run to its end.")
@JSON
def retry(
    place: BrokerConnection,
    patience: float,
    order: str,
    from_step: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Run ORDER again (or the order of a run): a new run, whose status the order then has.

    \b
    Examples:
      worker retry 5f0c9e
      worker retry 5f0c9e --from upsert-record --wait
    """
    from worker.cli import orders

    asked = orders.retry(order, from_step, wait=wait, as_json=as_json)
    sys.exit(orders.with_client(place, patience, asked))


@click.command()
@click.argument("run")
@client_options
@JSON
def cancel(place: BrokerConnection, patience: float, run: str, as_json: bool) -> None:
    """Cancel RUN (or the last run of an order), and wait until it has ended.

    \b
    Examples:
      worker cancel 5f0c9e

    \b
    Exit code: 0 cancelled, 1 it ended in another way first.
    """
    from worker.cli import orders

    sys.exit(orders.with_client(place, patience, orders.cancel(run, as_json=as_json)))


COMMANDS = (control, serve, dev, submit, orders_, runs, retry, cancel)
