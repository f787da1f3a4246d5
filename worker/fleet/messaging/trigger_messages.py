"""The messages that deploy workflows with their triggers, and that query them.

Decoding checks types and sizes; :mod:`worker.fleet.control.triggers.validation` checks the rest.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw

from worker.fleet.messaging.client_messages import REQUESTS
from worker.fleet.messaging.messages import WITHOUT_NUL, ContentRef, Count, Id, Label, Payload
from worker.fleet.messaging.operation_messages import OPERATION_REQUESTS

# A filter of MQTT has at most 65,535 bytes; a longer one than this is a mistake.
Topic = Annotated[str, Meta(min_length=1, max_length=1000, pattern=WITHOUT_NUL)]
StepName = Annotated[str, Meta(min_length=1, max_length=1000, pattern=WITHOUT_NUL)]
Short = Annotated[str, Meta(max_length=1000, pattern=WITHOUT_NUL)]
WindowS = Annotated[float, Meta(gt=0, le=366 * 86_400)]
Version = Annotated[str, Meta(min_length=4, max_length=64, pattern=r"^[0-9a-f]+$")]


class Idempotency(Payload, frozen=True):
    """The key of a message, so that a repeated one makes no second order.

    Exactly one: the value at ``json_path`` in its content, the value of a user ``property``, or
    with ``content`` a hash of its bytes. A key counts for ``window_s`` seconds.
    """

    json_path: Short = ""
    property: Short = ""
    content: bool = False
    window_s: WindowS = 86_400.0


class TriggerBase(Payload, frozen=True, kw_only=True):
    """The fields of all triggers. ``start`` is the step where the runs start, by its id."""

    name: StepName
    start: StepName
    enabled: bool = True


class MqttTrigger(TriggerBase, frozen=True, kw_only=True, tag_field="type", tag="mqtt"):
    """Each message on a topic becomes an order.

    ``filter`` is a JavaScript condition over ``state``, the input of the order. ``reply_topic`` is
    where the reply goes; with wildcards, it covers the response topics that messages may name.
    """

    topic: Topic
    qos: Literal[0, 1, 2] = 1
    format: Literal["json", "text", "bytes"] = "json"
    filter: Annotated[str, Meta(max_length=10_000, pattern=WITHOUT_NUL)] = ""
    idempotency: Idempotency | None = None
    retained: Literal["ignore", "accept"] = "ignore"
    reply: Literal["none", "accepted", "after_completion"] = "none"
    reply_topic: Annotated[str, Meta(max_length=1000, pattern=WITHOUT_NUL)] = ""
    max_mb: Annotated[float, Meta(gt=0, le=100)] = 1.0


class CronTrigger(TriggerBase, frozen=True, kw_only=True, tag_field="type", tag="cron"):
    """Each tick of a schedule becomes an order.

    ``catch_up`` is for ticks that passed while no control plane ran, ``overlap`` for a tick while
    the order before it has not ended. ``cursor_job`` is the job whose last output is the input;
    without one, the input is the final state of the last successful run.
    """

    expression: Annotated[str, Meta(min_length=1, max_length=200)]
    timezone: Annotated[str, Meta(min_length=1, max_length=100)] = "UTC"
    catch_up: Literal["skip", "one", "all"] = "skip"
    overlap: Literal["queue", "skip", "replace", "allow"] = "allow"
    cursor_job: Annotated[str, Meta(max_length=1000, pattern=WITHOUT_NUL)] = ""


class WebhookTrigger(TriggerBase, frozen=True, kw_only=True, tag_field="type", tag="webhook"):
    """Each call of ``POST /i/PATH`` becomes an order.

    ``auth`` names methods of authentication that the control plane has: one of them suffices. With
    ``after_completion`` the response waits for the end of the run, up to ``timeout_s``.
    """

    path: Annotated[str, Meta(min_length=1, max_length=200)]
    auth: Annotated[tuple[Label, ...], Meta(max_length=20)] = ()
    reply: Literal["before_start", "after_completion"] = "before_start"
    success_code: Annotated[int, Meta(ge=200, le=599)] = 200
    error_code: Annotated[int, Meta(ge=200, le=599)] = 500
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    max_mb: Annotated[float, Meta(gt=0, le=100)] = 10.0


Trigger = MqttTrigger | CronTrigger | WebhookTrigger


class WorkflowVersion(Payload, frozen=True):
    """A workflow to deploy: its execution plan and its triggers."""

    plan: Raw
    triggers: Annotated[tuple[Trigger, ...], Meta(max_length=100)] = ()


class Deploy(Payload, frozen=True, kw_only=True):
    """A request to deploy the workflows of a project: all of them, or none.

    New orders run the new versions; runs that began end as they began. A request that is too large
    for a message is a ``content``, which is such a request as JSON.
    """

    content: ContentRef | None = None
    project: Id = "default"
    workflows: Annotated[tuple[WorkflowVersion, ...], Meta(max_length=1000)] = ()


class WorkflowRef(Payload, frozen=True):
    """A reference to a deployed workflow of a project, by its name."""

    name: Label
    project: Id = "default"


class Rollback(WorkflowRef, frozen=True):
    """A request to deploy an earlier version again; empty: the one before the present one."""

    version: Version | Literal[""] = ""


class VersionRef(WorkflowRef, frozen=True):
    """A reference to a version of a workflow by its beginning; empty: the present version."""

    version: Version | Literal[""] = ""


class DeploymentQuery(Payload, frozen=True):
    """A query for deployed workflows, of one project or of all."""

    project: Id | None = None


class DeadLetterQuery(Payload, frozen=True):
    """A query for messages that no order was made of, newest first."""

    project: Id | None = None
    before: Count | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


DEPLOYMENT_REQUESTS: dict[str, type[Any]] = {
    "deploy": Deploy,
    "rollback": Rollback,
    "deployments": DeploymentQuery,
    "workflow": WorkflowRef,
    "workflow_history": WorkflowRef,
    "workflow_version": VersionRef,
    "dead_letters": DeadLetterQuery,
}
ALL_REQUESTS: dict[str, type[Any]] = {
    **REQUESTS,
    **DEPLOYMENT_REQUESTS,
    **OPERATION_REQUESTS,
}
"""The requests of clients, by the last level of their topic."""
