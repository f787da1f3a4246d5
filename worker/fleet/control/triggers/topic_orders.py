"""Orders from messages on topics, and where the reply goes. Pure."""

from __future__ import annotations

from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.firing import Firing, ReplyAddress
from worker.fleet.control.triggers.message_input import (
    MessageInput,
    UnusableMessage,
    read_message,
)
from worker.fleet.control.triggers.validation import has_wildcard, is_topic
from worker.fleet.messaging.topic_source import TopicMessage
from worker.fleet.messaging.topics import covers
from worker.fleet.messaging.trigger_messages import MqttTrigger

MAX_CORRELATION_BYTES = 4096


def order_for(trigger: LiveTrigger, message: TopicMessage) -> Firing | DeadLetter | None:
    """Return the order to make of a message, or why none can be; ``None`` for one to ignore."""
    definition = trigger.definition
    assert isinstance(definition, MqttTrigger)
    try:
        content = read_message(definition, message)
        return None if content is None else _firing(trigger, definition, message, content)
    except UnusableMessage as refusal:
        return dead_letter(trigger, message, refusal.reason, str(refusal))
    except Exception as error:
        # The broker sends a message again that ends this process, for ever.
        return dead_letter(trigger, message, "defect", f"{type(error).__name__}: {error}")


def dead_letter(trigger: LiveTrigger, message: TopicMessage, reason: str, text: str) -> DeadLetter:
    return DeadLetter(
        trigger=trigger,
        reason=reason,
        message=text,
        topic=message.topic,
        payload=message.payload,
        packet=message.packet[1],
        repeated=message.repeated,
    )


def _firing(
    trigger: LiveTrigger, definition: MqttTrigger, message: TopicMessage, content: MessageInput
) -> Firing:
    idempotency = definition.idempotency
    return Firing(
        trigger=trigger,
        input=content.input,
        key=content.key,
        window_s=0.0 if idempotency is None else idempotency.window_s,
        reply=_reply(definition, message),
        topic=message.topic,
        payload=message.payload,
        packet=message.packet[1],
        repeated=message.repeated,
    )


def _reply(definition: MqttTrigger, message: TopicMessage) -> ReplyAddress | None:
    if definition.reply == "none":
        return None
    topic = definition.reply_topic
    if has_wildcard(topic):
        # Only where the trigger allows it: else whoever publishes a message could make the control
        # plane publish on any topic.
        fits = is_topic(message.reply_to) and covers(topic, message.reply_to)
        topic = message.reply_to if fits else ""
    if not topic:
        return None
    correlation = message.correlation[:MAX_CORRELATION_BYTES]
    accepted = definition.reply == "accepted"
    return ReplyAddress(topic=topic, correlation=correlation, accepted=accepted)
