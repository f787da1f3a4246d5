"""CloudEvents: public messages in the structured mode of CloudEvents 1.0 (JSON).

Public are the states of runs and orders, events and alerts. Messages between workers and the
control plane are not encoded.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.topics import Topics

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
PREFIX = "org.openfn.worker"


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The envelope: the required attributes of CloudEvents, and those that are set here."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str = ""
    time: str
    datacontenttype: str = "application/json"
    data: msgspec.Raw


class CloudEventEncoder:
    """An encoder of public messages as CloudEvents from one ``source``."""

    def __init__(self, topics: Topics, source: str) -> None:
        self._topics = topics
        self._source = source

    def encode(self, message: Message) -> Message:
        """Encode a public message as a CloudEvent; any other message is returned as it is."""
        attributes = self._type_and_subject(message.topic)
        if attributes is None or not message.payload:
            return message
        type, subject = attributes
        event = CloudEvent(
            id=str(uuid.uuid4()),
            source=self._source,
            type=f"{PREFIX}.{type}",
            subject=subject,
            time=datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z"),
            data=msgspec.Raw(message.payload),
        )
        return replace(message, payload=wire.encode(event), content_type=CONTENT_TYPE)

    def _type_and_subject(self, topic: str) -> tuple[str, str] | None:
        match topic.removeprefix(f"{self._topics.base}/").split("/"):
            case ["runs", run_id, "state" | "events" as channel]:
                return f"run.{channel}", run_id
            case ["orders", order_id, "state"]:
                return "order.state", order_id
            case ["alerts"]:
                return "alert", ""
            case _:
                return None


def unwrap(payload: bytes) -> bytes:
    """Extract the data of a CloudEvent; any other payload is returned as it is."""
    # A control plane writes this attribute first, so most payloads need not be parsed.
    if b'"specversion"' not in payload[:200]:
        return payload
    try:
        return bytes(msgspec.json.decode(payload, type=CloudEvent).data)
    except msgspec.MsgspecError:
        return payload
