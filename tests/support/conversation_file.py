"""Recorded conversation of a worker, a control plane and clients: its file, and its cleaning. Pure.

The first line is the header: the version that spoke, and the ids that it drew by chance. Each other
line is a message, as it came to the broker, with ``${id_7}`` in the place of an id.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
from paho.mqtt.client import MQTTMessage

Part = str
"""``plane``, ``worker`` or ``client``."""
PARTS: tuple[Part, ...] = ("plane", "worker", "client")
PROPERTIES = (
    "ResponseTopic", "CorrelationData", "MessageExpiryInterval", "ContentType", "UserProperty",
)  # fmt: skip
# Of contents; orders, claims, leases, clients and correlations; incarnations; steps and dataclips.
_ID = re.compile(
    r"(?<![0-9a-f])(?:[0-9a-f]{64}|(?:c-)?[0-9a-f]{32}|[0-9a-f]{16}-[0-9a-f]{8}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?![0-9a-f])"
)
_HOST = "recorded-host"
# A sender repeats what was not answered in time: chance decides how often.
_REPEATED_CHANNELS = ("/beat", "/claim", "/status")


class RecordedMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that a part published; ``json`` is its payload."""

    part: Part = msgspec.field(name="from")
    topic: str
    qos: int = 0
    retain: bool = False
    properties: dict[str, Any] = {}
    json: Any = None


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The version that spoke, and its ids by the names that messages have for them."""

    version: str
    protocol: int
    ids: dict[str, str]


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded conversation."""

    header: Header
    messages: list[RecordedMessage]


def variable(name: str) -> str:
    """Return an id in a message."""
    return f"${{{name}}}"


def recorded(part: Part, message: MQTTMessage | aiomqtt.Message) -> RecordedMessage:
    """Return a message that a part published, with its properties; data as hexadecimal text."""
    present = {name: getattr(message.properties, name, None) for name in PROPERTIES}
    properties = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in present.items()
        if value is not None
    }
    return RecordedMessage(
        part=part,
        topic=str(message.topic),
        qos=message.qos,
        retain=message.retain,
        properties=properties,
        json=json.loads(bytes(message.payload)) if message.payload else None,
    )


def cleaned(messages: list[RecordedMessage], host: str) -> Recording:
    """Name the ids, drop repetitions, and replace the name of the machine."""
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        return variable(names.setdefault(match[0], f"id_{len(names) + 1}"))

    first = next(message.json for message in messages if message.topic.endswith("control/status"))
    own = json.dumps({"host": host})[1:-1]
    kept: dict[str, None] = {}
    for message in messages:
        text = _ID.sub(name, json.dumps(msgspec.to_builtins(message)))
        text = text.replace(own, json.dumps({"host": _HOST})[1:-1])
        if text not in kept or not message.topic.endswith(_REPEATED_CHANNELS):
            kept.setdefault(text)
    lines = [msgspec.json.decode(text, type=RecordedMessage) for text in kept]
    ids = {each: literal for literal, each in names.items()}
    header = Header(version=first["version"], protocol=first["protocol"], ids=ids)
    return Recording(header, lines)


def write(recording: Recording, path: Path) -> None:
    """Write a recording; the same one as the same bytes."""
    lines = [recording.header, *recording.messages]
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(text, mtime=0))


def read(path: Path) -> Recording:
    """Read a recording."""
    header, *lines = gzip.decompress(path.read_bytes()).splitlines()
    return Recording(
        msgspec.json.decode(header, type=Header),
        [msgspec.json.decode(line, type=RecordedMessage) for line in lines],
    )
