"""Inputs of orders from messages on topics, and the keys of the messages. Pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from worker.fleet.control.triggers.secrecy import without_secrets
from worker.fleet.control.triggers.validation import parse_json_path
from worker.fleet.messaging.topic_source import TopicMessage
from worker.fleet.messaging.trigger_messages import MqttTrigger
from worker.util.nesting import nests_deeper

MAX_PROPERTIES_BYTES = 64 * 1024
MAX_KEY_LENGTH = 1000
# Below the limit of a state: the input has a level around the content.
MAX_LEVELS = 190


class UnusableMessage(Exception):
    """A message of which no order can be made; ``reason`` is that of its dead letter."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageInput:
    """The input of an order for a message, as JSON, and the idempotency key of the message."""

    input: bytes
    key: str


def read_message(trigger: MqttTrigger, message: TopicMessage) -> MessageInput | None:
    """Return the input for a message; ``None`` for one to ignore.

    Raises :class:`UnusableMessage` where no order can be made of it.
    """
    if message.retain and trigger.retained == "ignore":
        return None
    _check_sizes(trigger, message)
    data, raw = _content(trigger, message.payload)
    properties = without_secrets(message.properties)
    request = {"topic": message.topic, "qos": message.qos, "properties": properties}
    # Spliced: to encode a large content again would be slow, and could change it.
    input = b'{"data":%b,"request":%b}' % (raw, msgspec.json.encode(request))
    return MessageInput(input=input, key=_key(trigger, message, data))


def _check_sizes(definition: MqttTrigger, message: TopicMessage) -> None:
    size, limit = len(message.payload), int(definition.max_mb * 2**20)
    if size > limit:
        raise UnusableMessage("too_large", f"{size:,} bytes, and the limit is {limit:,}")
    size = sum(len(name) + len(value) for name, value in message.properties.items())
    size += message.dropped_properties_bytes
    if size > MAX_PROPERTIES_BYTES:
        raise UnusableMessage(
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
            raise UnusableMessage("not_text", f"the content is not valid UTF-8: {error}") from error
        return text, msgspec.json.encode(text)
    if nests_deeper(payload, MAX_LEVELS):
        raise UnusableMessage("too_deep", f"the content has more than {MAX_LEVELS} levels")
    try:
        payload.decode()
        return msgspec.json.decode(payload), payload
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnusableMessage("not_json", f"the content is not valid JSON: {error}") from error


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
        raise UnusableMessage("no_key", f"there is no id at {place}")
    text = str(key)
    if len(text) > MAX_KEY_LENGTH:
        raise UnusableMessage(
            "no_key", f"the id at {place} is longer than {MAX_KEY_LENGTH} characters"
        )
    return text


def _at(data: Any, path: str) -> Any:
    for part in parse_json_path(path):
        if isinstance(part, str):
            data = data.get(part) if isinstance(data, dict) else None
        else:
            data = data[part] if isinstance(data, list) and part < len(data) else None
    return data
