"""Orders from messages on topics: their input, their key and where the reply goes. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.firing import Firing, ReplyAddress
from worker.fleet.control.triggers.secrecy import without_secrets
from worker.fleet.control.triggers.validation import (
    covers,
    has_wildcard,
    is_topic,
    parse_json_path,
)
from worker.fleet.messaging.topic_source import TopicMessage
from worker.fleet.messaging.trigger_messages import MqttTrigger
from worker.util.nesting import nests_deeper

MAX_PROPERTIES_BYTES = 64 * 1024
MAX_CORRELATION_BYTES = 4096
MAX_KEY_LENGTH = 1000
# Below the limit of a state: the input has a level around the content.
MAX_LEVELS = 190


class _Refused(Exception):
    """A message of which no order can be made."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def order_for(trigger: LiveTrigger, message: TopicMessage) -> Firing | DeadLetter | None:
    """Return the order to make of a message, or why none can be; ``None`` for one to ignore."""
    definition = trigger.definition
    assert isinstance(definition, MqttTrigger)
    if message.retain and definition.retained == "ignore":
        return None
    try:
        return _firing(trigger, definition, message)
    except _Refused as refusal:
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
    )


def _firing(trigger: LiveTrigger, definition: MqttTrigger, message: TopicMessage) -> Firing:
    _check_sizes(definition, message)
    data, raw = _content(definition, message.payload)
    properties = without_secrets(message.properties)
    request = {"topic": message.topic, "qos": message.qos, "properties": properties}
    encoded = msgspec.json.encode(request)
    idempotency = definition.idempotency
    return Firing(
        trigger=trigger,
        # Spliced: to encode a large content again would be slow, and could change it.
        input=b'{"data":%b,"request":%b}' % (raw, encoded),
        key=_key(definition, message, data),
        window_s=0.0 if idempotency is None else idempotency.window_s,
        reply=_reply(definition, message),
        topic=message.topic,
        payload=message.payload,
    )


def _check_sizes(definition: MqttTrigger, message: TopicMessage) -> None:
    size, limit = len(message.payload), int(definition.max_mb * 2**20)
    if size > limit:
        raise _Refused("too_large", f"{size:,} bytes, and the limit is {limit:,}")
    size = sum(len(name) + len(value) for name, value in message.properties.items())
    if size > MAX_PROPERTIES_BYTES:
        raise _Refused(
            "too_large", f"properties of {size:,} bytes, and the limit is {MAX_PROPERTIES_BYTES:,}"
        )


def _content(definition: MqttTrigger, payload: bytes) -> tuple[Any, bytes]:
    """Return the content of a message, and its JSON."""
    if definition.format == "bytes":
        text = base64.b64encode(payload).decode()
        return text, msgspec.json.encode(text)
    if definition.format == "text":
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            raise _Refused("not_text", f"the content is no UTF-8: {error}") from error
        return text, msgspec.json.encode(text)
    if nests_deeper(payload, MAX_LEVELS):
        raise _Refused("too_deep", f"the content has more than {MAX_LEVELS} levels")
    try:
        payload.decode()
        return msgspec.json.decode(payload), payload
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Refused("not_json", f"the content is no JSON: {error}") from error


def _key(definition: MqttTrigger, message: TopicMessage, data: Any) -> str:
    idempotency = definition.idempotency
    if idempotency is None:
        return ""
    if idempotency.content:
        content = message.topic.encode() + b"\0" + message.payload
        return hashlib.sha256(content).hexdigest()
    if idempotency.property:
        key: Any = message.properties.get(idempotency.property)
        place = f"property '{idempotency.property}'"
    else:
        key, place = _at(data, idempotency.json_path), idempotency.json_path
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise _Refused("no_key", f"there is no id at {place}")
    text = str(key)
    if len(text) > MAX_KEY_LENGTH:
        raise _Refused("no_key", f"the id at {place} is longer than {MAX_KEY_LENGTH} characters")
    return text


def _at(data: Any, path: str) -> Any:
    for part in parse_json_path(path):
        if isinstance(part, str):
            data = data.get(part) if isinstance(data, dict) else None
        else:
            data = data[part] if isinstance(data, list) and part < len(data) else None
    return data


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
