"""CloudEvents: what everybody may hear, in the structured mode of CloudEvents 1.0 (JSON).

Only the public topics are dressed so: states, events and alerts. What workers and the control
plane say to each other stays as it is.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.topics import Topics

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
PREFIX = "org.openfn.worker"


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The envelope, with its required attributes and those that are set here."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str = ""
    time: str
    datacontenttype: str = "application/json"
    data: msgspec.Raw


def dresser(topics: Topics, source: str) -> Callable[[Message], Message]:
    """What turns public messages into CloudEvents from ``source``, and leaves the others."""

    def dress(message: Message) -> Message:
        kind = _kind(topics, message.topic)
        if kind is None or not message.payload:
            return message
        type, subject = kind
        event = CloudEvent(
            id=str(uuid.uuid4()),
            source=source,
            type=f"{PREFIX}.{type}",
            subject=subject,
            time=datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z"),
            data=msgspec.Raw(message.payload),
        )
        return replace(message, payload=wire.encode(event), content_type=CONTENT_TYPE)

    return dress


def _kind(topics: Topics, topic: str) -> tuple[str, str] | None:
    match topic.removeprefix(f"{topics.base}/").split("/"):
        case ["runs", run_id, "state" | "events" as what]:
            return f"run.{what}", run_id
        case ["orders", order_id, "state"]:
            return "order.state", order_id
        case ["alerts"]:
            return "alert", ""
        case _:
            return None


def undressed(payload: bytes) -> bytes:
    """The data of a CloudEvent; anything else as it is."""
    if b'"specversion"' not in payload[:200]:
        return payload
    try:
        return bytes(msgspec.json.decode(payload, type=CloudEvent).data)
    except msgspec.MsgspecError:
        return payload
