"""Control plane of a fleet, built from the options of the command."""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from worker.cli.connection import BrokerConnection
from worker.cli.services import service_log, until_signal
from worker.errors import UsageError, WorkerError
from worker.fleet.control.alerts import AlertNotifier
from worker.fleet.control.inline_secrets import InlineSecrets
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import (
    ControlPlane,
    control_will,
    plane_keepalive_s,
    store_pause_s,
)
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.triggers.deploying import check_registry, check_webhooks
from worker.fleet.control.triggers.trigger_services import add_trigger_services, deployment_rules
from worker.fleet.control.triggers.webhook_options import WebhookOptions
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import WorkflowRegistry, read_workflows
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.cloudevents import CloudEventEncoder
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.mqtt_topic_source import MqttTopicSource
from worker.fleet.metrics import AnyMetric, Metric, dropped_metric, invariants_metric, serve_metrics
from worker.sinks.log import LeveledLogger
from worker.util.machine_clock import monotonic_s, random_hex
from worker.util.memory_use import resident_bytes

START_WAIT_S = 30.0
"""How long a control plane that starts waits for a database that is being restarted."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """Set-up of a control plane."""

    store: str
    workflows: tuple[Path, ...] = ()
    read_policy: Callable[[], Policy] = Policy
    secrets: InlineSecrets = field(default_factory=InlineSecrets)
    settings: Settings = Settings()
    notifier: AlertNotifier = AlertNotifier()
    cloudevents: bool = False
    shared: bool = False
    webhooks: WebhookOptions | None = None
    metrics_listen: str | None = None


def settings(
    *,
    lease_s: float,
    disconnect_grace_s: float,
    retain_days: float,
    payload_limit_mb: float,
    lost_retries: int,
    state_expiry_s: float,
    shared: bool,
) -> Settings:
    """Build the settings of a control plane. Raises UsageError where they contradict."""
    if disconnect_grace_s > lease_s:
        raise UsageError("--disconnect-grace cannot be longer than --lease")
    return replace(
        Settings(),
        lease_s=lease_s,
        disconnect_grace_s=disconnect_grace_s,
        retain_s=retain_days * 86_400,
        max_payload_bytes=int(payload_limit_mb * 2**20),
        lost_retries=lost_retries,
        state_expiry_s=int(state_expiry_s),
        shared=shared,
    )


# The processor's thread computes while the loop reads and writes. With Python's 5 ms the loop waits
# that long for the interpreter after each call of the system.
SWITCH_INTERVAL_S = 0.001


def run_control_plane(
    connection: BrokerConnection, options: ControlOptions, *, quiet: bool
) -> None:
    """Run a control plane until a signal comes."""
    log = service_log(quiet=quiet)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    store = Store(options.store)
    try:
        plane = _when_available(lambda: _open(connection, options, store, log), log, START_WAIT_S)
        with serve_metrics(
            options.metrics_listen,
            lambda: control_metrics(plane),
            lambda: plane.problem,
            lambda: plane.stalled,
        ):
            reload = functools.partial(_reload, plane, options, log)
            asyncio.run(until_signal(plane.run(), on_hangup=reload))
    finally:
        # Also after a policy that cannot be read: the lock is an open file.
        store.close()


def _open(
    connection: BrokerConnection, options: ControlOptions, store: Store, log: LeveledLogger
) -> ControlPlane:
    # Before the first message: an older version may have made the tables.
    store.open(shared=options.shared)
    return build_control_plane(connection, options, store, log)


def _when_available(call: Callable[[], T], log: LeveledLogger, wait_s: float) -> T:
    """Make a call that opens the database, and repeat it while the database is being restarted.

    Raises :class:`StoreUnavailable` after ``wait_s`` seconds.
    """
    deadline = monotonic_s() + wait_s
    failures = 0
    while True:
        try:
            return call()
        except StoreUnavailable as error:
            if monotonic_s() > deadline:
                raise
            if not failures:
                log.warning("store.unavailable", error=str(error)[:500])
            failures += 1
            time.sleep(store_pause_s(failures))


def _reload(plane: ControlPlane, options: ControlOptions, log: LeveledLogger) -> None:
    """Read the workflows and the policy again; keep those before where that fails."""
    try:
        policy, registry = options.read_policy(), _registry(options, log)
    except WorkerError as error:
        log.warning("control.reload_failed", error=str(error)[:500])
        return

    def finished(future: Future[None]) -> None:
        if (error := future.exception()) is not None:
            log.warning("control.reload_failed", error=str(error)[:500])
        else:
            log.info("control.reloaded", workflows=len(registry.workflows))

    plane.reload(policy, registry).add_done_callback(finished)


def migrate_store(url: str) -> int:
    """Migrate the tables of a database, and return the exit code."""
    store = Store(url)
    store.migrate()
    store.compact()
    store.close()
    return 0


def build_control_plane(
    connection: BrokerConnection, options: ControlOptions, store: Store, log: LeveledLogger
) -> ControlPlane:
    """Build a control plane that is not connected yet."""
    topics, id = connection.topics, incarnation()
    registry = _registry(options, log)
    with store.read() as rows:
        check_registry(rows, registry)
        if options.webhooks is not None and options.webhooks.needs_auth:
            check_webhooks(rows)
    processor = MessageProcessor(
        store,
        topics=topics,
        settings=options.settings,
        policy=options.read_policy(),
        secrets_at_rest=options.secrets,
        registry=registry,
        rules=deployment_rules(options.webhooks),
    )
    bus = MqttBus(
        connection.address,
        *topics.for_control(shared=options.shared),
        # A client id that nobody can guess: whoever connects with the same one takes it over.
        max_packet_bytes=connection.max_packet_bytes,
        id=f"control-{id}-{random_hex(8)}",
        will=control_will(topics, id),
        keepalive_s=plane_keepalive_s(options.settings.lease_s),
    )
    encode: Callable[[Message], Message] = lambda message: message  # noqa: E731
    if options.cloudevents:
        encode = CloudEventEncoder(topics, f"/{topics.base}/control").encode
    plane = ControlPlane(
        bus,
        processor,
        topics=topics,
        log=log,
        id=id,
        notifier=options.notifier,
        encode=encode,
        surveys=options.metrics_listen is not None,
    )
    source_id = f"{topics.root}-triggers"
    add_trigger_services(
        plane,
        lambda: MqttTopicSource(
            connection.address,
            id=source_id,
            log=log,
            max_packet_bytes=connection.max_packet_bytes,
        ),
        log,
        webhooks=options.webhooks,
    )
    return plane


def _registry(options: ControlOptions, log: LeveledLogger) -> WorkflowRegistry:
    registry = read_workflows(options.workflows)
    for problem in registry.problems:
        log.warning("workflow.ignored", error=problem)
    return registry


def control_metrics(plane: ControlPlane) -> Iterable[AnyMetric]:
    yield from plane.publication.measured.metrics()
    yield invariants_metric()
    yield dropped_metric(plane.dropped_messages)
    inbox, outbox = plane.waiting_messages
    yield Metric(name="inbox_messages", help="Received messages that wait", values={"": inbox})
    yield Metric(name="inbox_oldest_seconds", help="Age of the oldest received message that waits",
                 values={"": plane.oldest_message_s})  # fmt: skip
    yield Metric(name="outbox_messages", help="Messages that wait to be published",
                 values={"": outbox})  # fmt: skip
    yield Metric(name="memory_bytes", help="Resident memory", values={"": resident_bytes()})
    yield Metric(
        name="messages_handled", help="Messages handled", values={"": plane.handled}, counts=True
    )
    yield Metric(
        name="messages_refused",
        help="Messages refused, by the kind of refusal",
        values=dict(plane.publication.refused),
        label="kind",
        counts=True,
    )
    yield Metric(
        name="broker_refusals",
        help="Messages that the broker refused, such as for its access list or a quota",
        values={"": plane.broker_refusals},
        counts=True,
    )
    yield Metric(
        name="runs_ended",
        help="Runs ended, by status (and orders rejected)",
        values=dict(plane.publication.ended),
        label="status",
        counts=True,
    )
    yield Metric(
        name="triggers",
        help="Messages, ticks and calls of triggers, by what became of them",
        values=dict(plane.publication.triggered),
        label="outcome",
        counts=True,
    )
    yield Metric(
        name="connected",
        help="1 while connected to the broker, else 0",
        values={"": float(plane.connected.is_set())},
    )
    yield Metric(
        name="store_available",
        help="1 while the database can be used, else 0",
        values={"": float(not plane.store_outage)},
    )
