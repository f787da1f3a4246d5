"""The services of triggers that a control plane has."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from worker.errors import UsageError
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.triggers.deploying import DeploymentRules
from worker.fleet.control.triggers.reply_service import ReplyService
from worker.fleet.control.triggers.topic_service import TopicService
from worker.fleet.control.triggers.webhook_auth import read_webhook_auth
from worker.fleet.control.triggers.webhook_options import WebhookOptions, webhook_options
from worker.fleet.messaging.topic_source import TopicSource
from worker.sinks.log import LeveledLogger

_NEEDED = ("starlette", "uvicorn")


def add_trigger_services(
    plane: ControlPlane,
    connect: Callable[[], TopicSource],
    log: LeveledLogger,
    *,
    webhooks: WebhookOptions | None = None,
) -> None:
    """Let a control plane receive messages of topics and calls, and send replies.

    ``connect`` makes a source of messages.
    """
    plane.add_service(TopicService(plane, connect, log).run)
    plane.add_service(ReplyService(plane, log).run)
    if webhooks is not None:
        # Imported late: it needs an extra.
        from worker.fleet.control.triggers.webhook_service import WebhookService

        plane.add_service(WebhookService(plane, webhooks, log).run)


def deployment_rules(webhooks: WebhookOptions | None) -> DeploymentRules:
    """Return the rules that the options of webhooks make for deployments."""
    if webhooks is None:
        return DeploymentRules()
    return DeploymentRules(auth_methods=frozenset(webhooks.auth), needs_auth=webhooks.needs_auth)


def read_webhook_options(
    address: str, *, auth: str | Path | None = None, open: bool = False
) -> WebhookOptions | None:
    """Read the options of webhooks; without an address there are none.

    Raises :class:`UsageError`.
    """
    if not address:
        if auth is not None or open:
            raise UsageError("methods of authentication and open webhooks need --webhooks")
        return None
    if not all(map(find_spec, _NEEDED)):
        raise UsageError("webhooks are an extra: pip install 'workflow-worker[dashboard]'")
    methods = {} if auth is None else read_webhook_auth(Path(auth))
    return webhook_options(address, auth=methods, open=open)
