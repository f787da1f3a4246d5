"""Start of a case by a trigger: what it makes of a message, of a call and of a tick.

Nothing is a copy of the fleet's rules: the input, the reasons of a refusal and the filter are the
control plane's own.
"""

from __future__ import annotations

import atexit
import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from worker.errors import UsageError
from worker.fleet.control.triggers.call_input import (
    Call,
    CallRefused,
    body_limit_bytes,
    input_of,
    no_webhook,
    too_large,
)
from worker.fleet.control.triggers.cron_schedule import next_tick
from worker.fleet.control.triggers.filters import FilterEvaluators
from worker.fleet.control.triggers.message_input import UnusableMessage, read_message
from worker.fleet.control.triggers.order_result import Fired, OrderResult
from worker.fleet.control.triggers.validation import TriggerError, check_trigger
from worker.fleet.control.triggers.webhook_orders import (
    CallResponse,
    accepted,
    completed,
    refused,
    timed_out,
    waits_for_run,
)
from worker.fleet.messaging.topic_source import TopicMessage
from worker.fleet.messaging.topics import Topics, covers
from worker.fleet.messaging.trigger_messages import (
    CronTrigger,
    MqttTrigger,
    Trigger,
    WebhookTrigger,
)
from worker.fleet.project_files import read_triggers
from worker.runner.result import Result
from worker.testing.case_trigger import (
    DISABLED,
    FILTERED,
    FIRED,
    IGNORED,
    TriggerResponse,
    TriggerStart,
)
from worker.util.json import dumps
from worker.workflow.model import Workflow

_JSON = "application/json"
T = TypeVar("T", MqttTrigger, CronTrigger, WebhookTrigger)


def topic_message(
    topic: str, payload: bytes, *, qos: int, retain: bool, properties: Mapping[str, str]
) -> TopicMessage:
    """Return a message as a broker delivers it."""
    return TopicMessage(topic=topic, payload=payload, qos=qos, retain=retain, properties=properties)


def webhook_call(
    path: str, body: bytes, *, is_json: bool, headers: Mapping[str, str], query: str
) -> Call:
    """Return a call as a client sends it; ``is_json`` adds the content type, if there is none."""
    lower = {name.lower(): value for name, value in headers.items()}
    types = {"content-type": _JSON} if is_json else {}
    return Call(method="POST", path=path, query=query, headers={**types, **lower}, body=body)


class WorkflowTriggers:
    """Triggers of a workflow, those of ``triggers.yaml`` beside its file included.

    All methods raise :class:`UsageError` where no trigger receives such a thing.
    """

    def __init__(self, workflow: Workflow) -> None:
        self._triggers = read_triggers(Path(workflow.file), workflow)
        steps = [step.id for step in workflow.steps]
        for trigger in self._triggers:
            # The file with the methods of authentication belongs to the control plane.
            methods = trigger.auth if isinstance(trigger, WebhookTrigger) else ()
            try:
                check_trigger(trigger, Topics(), steps=steps, auth_methods=methods)
            except TriggerError as error:
                raise UsageError(f"trigger '{trigger.name}': {error}") from error

    def message(self, message: TopicMessage, trigger: str = "") -> TriggerStart:
        """Receive a message on a topic, which several triggers can cover: ``trigger`` is a name."""
        covering = [each for each in self._of(MqttTrigger) if covers(each.topic, message.topic)]
        topics = _listed(each.topic for each in self._of(MqttTrigger))
        none = f"no trigger receives messages on '{message.topic}' (topics: {topics})"
        return _receive(_select(covering, trigger, none), message)

    def call(self, call: Call) -> TriggerStart:
        """Receive a call; an empty path is that of the only webhook."""
        webhooks = self._of(WebhookTrigger)
        path = call.path.removeprefix("/i/")
        matching = [each for each in webhooks if path in ("", each.path)]
        paths = _listed(each.path for each in webhooks)
        webhook = _select(matching, "", f"no webhook has the path '{path}' (paths: {paths})")
        return _answer(webhook, call)

    def tick(self, trigger: str, after_us: int) -> TriggerStart:
        """Fire the next tick after a time, in microseconds since the epoch."""
        cron = _select(self._of(CronTrigger), trigger, "the workflow has no cron trigger")
        if not cron.enabled:
            return _disabled(cron)
        tick_us = next_tick(cron, after_us)
        if tick_us is None:
            raise UsageError(f"the schedule '{cron.expression}' has no tick in fifty years")
        return TriggerStart(name=cron.name, start=cron.start, tick_us=tick_us)

    def _of(self, kind: type[T]) -> list[T]:
        return [trigger for trigger in self._triggers if isinstance(trigger, kind)]


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _select(triggers: list[T], name: str, none: str) -> T:
    named = [trigger for trigger in triggers if name in ("", trigger.name)]
    if not named:
        known = f" (triggers: {_listed(each.name for each in triggers)})"
        raise UsageError(none if not triggers else f"no such trigger: '{name}'{known}")
    if len(named) > 1:
        names = _listed(trigger.name for trigger in named)
        raise UsageError(f"several triggers receive this: name one of {names}")
    return named[0]


def _disabled(trigger: Trigger, response: CallResponse | None = None) -> TriggerStart:
    text = f"the trigger '{trigger.name}' is disabled"
    return _refused(trigger, DISABLED, text, response)


def _refused(
    trigger: Trigger, outcome: str, message: str, response: CallResponse | None = None
) -> TriggerStart:
    return TriggerStart(
        name=trigger.name,
        start=trigger.start,
        outcome=outcome,
        message=message,
        response=None if response is None else _plain(response),
    )


def _plain(response: CallResponse) -> TriggerResponse:
    return TriggerResponse(
        code=response.code,
        text=response.body.decode(),
        is_json=response.content_type == _JSON,
    )


def _receive(trigger: MqttTrigger, message: TopicMessage) -> TriggerStart:
    if not trigger.enabled:
        return _disabled(trigger)
    # The broker delivers with the lower quality of the message and of the subscription.
    delivered = replace(message, qos=min(message.qos, trigger.qos))
    try:
        content = read_message(trigger, delivered)
    except UnusableMessage as refusal:
        return _refused(trigger, refusal.reason, str(refusal))
    if content is None:
        text = "retained messages are ignored, unless the trigger has retained: accept"
        return _refused(trigger, IGNORED, text)
    return TriggerStart(
        name=trigger.name,
        start=trigger.start,
        input=json.loads(content.input),
        filter=trigger.filter,
    )


def _answer(webhook: WebhookTrigger, call: Call) -> TriggerStart:
    if not webhook.enabled:
        return _disabled(webhook, refused(no_webhook()))
    limit = body_limit_bytes(webhook)
    try:
        if len(call.body) > limit:
            raise too_large(limit)
        content = input_of(replace(call, path=f"/i/{webhook.path}"), frozenset())
    except CallRefused as refusal:
        return _refused(webhook, refusal.error, refusal.message, refused(refusal))
    return TriggerStart(
        name=webhook.name,
        start=webhook.start,
        input=json.loads(content),
        webhook=msgspec.to_builtins(webhook),
    )


# --- the filter -----------------------------------------------------------------------------------


def outcome_of(start: TriggerStart) -> tuple[str, str]:
    """Return the outcome and its message, after the filter, which is evaluated in the sandbox.

    It blocks: call it from a thread without an event loop.
    """
    if start.outcome != FIRED or not start.filter:
        return start.outcome, start.message
    result = _evaluators().evaluate(start.name, start.filter, dumps(start.input))
    if result.error:
        return "filter_failed", result.error
    text = "" if result.passes else f"the filter is false: {start.filter}"
    return (FIRED if result.passes else FILTERED), text


@functools.cache
def _evaluators() -> FilterEvaluators:
    evaluators = FilterEvaluators()
    atexit.register(evaluators.close)
    return evaluators


# --- responses ------------------------------------------------------------------------------------


def response_of(start: TriggerStart, result: Result) -> TriggerResponse | None:
    """Return the response to a call, after its run; ``None`` where the start is no call."""
    if start.webhook is None:
        return None
    return _plain(_response(msgspec.convert(start.webhook, WebhookTrigger), result))


def _response(webhook: WebhookTrigger, result: Result) -> CallResponse:
    fired = Fired(order_id=result.run_id, run_id=result.run_id)
    if not waits_for_run(webhook, fired):
        return accepted(fired)
    if result.duration > webhook.timeout_s * 1e6:
        return timed_out(webhook, fired)
    order = OrderResult(
        order_id=result.run_id,
        run_id=result.run_id,
        status=result.status,
        error_type=result.error_type,
        error_message=result.error_message,
        state=None if result.final_state is None else dumps(result.final_state),
    )
    return completed(webhook, order)
