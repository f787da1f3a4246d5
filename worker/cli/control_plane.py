"""``worker control-plane``: run the control plane of a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from worker.cli.options import (
    DURATION,
    PATH,
    SIZE,
    broker_options,
    command,
    metrics_listen,
    option,
    quiet_log,
    store_workflows,
)
from worker.cli.value_types import NumberRange, WholeNumberRange
from worker.errors import UsageError

if TYPE_CHECKING:
    from worker.cli.connection import BrokerConnection


@command("control-plane")
@option("--store", default="sqlite:///orders.db", show_default=True, metavar="URL",
        envvar="WORKER_STORE", show_envvar=True,
        help="Database: sqlite:///FILE, or postgresql://USER@HOST/NAME.")  # fmt: skip
@store_workflows
@option("--policy", type=PATH, metavar="FILE",
        help="Limits of projects, use of credentials and rights of clients, as YAML.")  # fmt: skip
@option("--secret-key-file", type=PATH, metavar="FILE",
        help="Encrypt configurations of orders with the Fernet keys of this file.")  # fmt: skip
@option("--allow-inline-secrets", is_flag=True,
        help="Store configurations of plans and inputs in clear, for tests.")  # fmt: skip
@option("--lease", type=DURATION, default=10.0, show_default=True, metavar="SECONDS",
        help="Time without a message after which a worker has lost its runs.")  # fmt: skip
@option("--disconnect-grace", type=DURATION, default=1.7, show_default=True, metavar="SECONDS",
        deprecated_names=["--grace"],
        help="Time that a worker has to reconnect before it has lost its runs.")  # fmt: skip
@option("--retain-days", type=NumberRange(min=0, max=36_500), default=0.0, metavar="DAYS",
        deprecated_names=["--keep"],
        help="Delete ended orders after this time.  [default: never]")  # fmt: skip
@option("--payload-limit", type=SIZE, default=32.0, show_default=True, metavar="MB",
        deprecated_names=["--message-limit"],
        help="Refuse larger orders, and events of runs.")  # fmt: skip
@option("--lost-retries", type=WholeNumberRange(0, 1000), default=3, show_default=True,
        metavar="N",
        help="New runs of an order whose workflow is idempotent, after lost ones.")  # fmt: skip
@option("--state-expiry", type=DURATION, default=86_400.0, metavar="SECONDS",
        help="Time that the broker retains the state of an ended run, such as 2h.  "
             "[default: a day]")  # fmt: skip
@option("--migrate", is_flag=True, help="Migrate the database and exit.")
@option("--shared", is_flag=True,
        help="Share the messages with other control planes of this store.")  # fmt: skip
@option("--alert-command", default="", metavar="COMMAND",
        help="Run this program (no shell) for each alert, as JSON on its stdin.")  # fmt: skip
@option("--alert-webhook", default="", metavar="URL", help="POST each alert to this URL.")
@option("--webhooks", default="", metavar="HOST:PORT",
        help="Serve POST /i/PATH of webhook triggers here, such as 127.0.0.1:8080.")  # fmt: skip
@option("--webhook-auth", type=PATH, metavar="FILE",
        help="Methods of authentication that webhook triggers can name, as YAML.")  # fmt: skip
@option("--open-webhooks", is_flag=True,
        help="Let webhooks without authentication be called from elsewhere.")  # fmt: skip
@option("--cloudevents", is_flag=True, help="Publish states, events and alerts as CloudEvents.")
@option("--asyncapi", is_flag=True, help="Print the AsyncAPI document of all messages and exit.")
@option("--acl", is_flag=True, help="Print an access list for mosquitto and exit.")
@metrics_listen
@quiet_log
@broker_options
def control_plane(
    *,
    connection: BrokerConnection,
    store: str,
    workflows: tuple[Path, ...],
    policy: Path | None,
    secret_key_file: Path | None,
    allow_inline_secrets: bool,
    lease: float,
    disconnect_grace: float,
    retain_days: float,
    payload_limit: float,
    lost_retries: int,
    state_expiry: float,
    migrate: bool,
    shared: bool,
    alert_command: str,
    alert_webhook: str,
    webhooks: str,
    webhook_auth: Path | None,
    open_webhooks: bool,
    cloudevents: bool,
    asyncapi: bool,
    acl: bool,
    metrics_listen: str | None,
    quiet: bool,
) -> int:
    """Run the control plane: queue runs and lease them to workers.

    SIGTERM or Ctrl-C stops it. The queue stays in the store. SIGHUP lets it read its workflows and
    its policy again.

    \b
    A policy:
      default: {concurrent: 5}
      projects:
        north: {concurrent: 20, per_period: 1000, period_s: 3600,
                workflows: {Referral: 1}, idempotent: [Referral]}
      credentials:
        prod: [{project: north, workflow: Referral}]
      clients:
        alice: {may: [submit, plan, cancel, retry, read], projects: [north]}
        intake: {may: [submit]}

    \b
    Examples:
      worker control-plane --mqtt mqtt://localhost --workflows graphs
      worker control-plane --mqtt mqtts://broker.example.org --ca ca.pem \\
        --store postgresql://worker@db/orders --secret-key-file keys
    """
    if migrate:
        from worker.cli.control_process import migrate_store

        return migrate_store(store)
    if asyncapi or acl:
        return _print_document("asyncapi.json" if asyncapi else "mosquitto.acl")
    # The database's library takes longer to import than the rest of the command.
    from worker.cli.control_process import ControlOptions, run_control_plane, settings
    from worker.fleet.control.alerts import AlertNotifier
    from worker.fleet.control.inline_secrets import InlineSecrets, read_secret_keys
    from worker.fleet.control.policy import Policy, read_policy
    from worker.fleet.control.triggers.trigger_services import read_webhook_options

    if secret_key_file and allow_inline_secrets:
        raise UsageError("--allow-inline-secrets stores in clear what --secret-key-file encrypts")
    options = ControlOptions(
        store=store,
        workflows=workflows,
        read_policy=lambda: read_policy(policy) if policy else Policy(),
        secrets=InlineSecrets(
            key=read_secret_keys(secret_key_file) if secret_key_file else None,
            allow=allow_inline_secrets,
        ),
        settings=settings(
            lease_s=lease,
            disconnect_grace_s=disconnect_grace,
            retain_days=retain_days,
            payload_limit_mb=payload_limit,
            lost_retries=lost_retries,
            state_expiry_s=state_expiry,
            shared=shared,
        ),
        notifier=AlertNotifier(command=alert_command, webhook=alert_webhook),
        webhooks=read_webhook_options(webhooks, auth=webhook_auth, open=open_webhooks),
        cloudevents=cloudevents,
        shared=shared,
        metrics_listen=metrics_listen,
    )
    run_control_plane(connection, options, quiet=quiet)
    return 0


def _print_document(name: str) -> int:
    from importlib import resources

    document = resources.files("worker.fleet.messaging") / name
    print(document.read_text("utf-8"), end="")
    return 0
