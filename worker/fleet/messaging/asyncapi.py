"""The AsyncAPI 3 document of what goes over the bus, made from the shapes and the event types.

It is written from the side of the control plane: what it receives, and what it sends.
"""

from __future__ import annotations

from typing import Any

import msgspec

from worker.core.events import AnyEvent
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.topics import Topics
from worker.version import VERSION

_REF = "#/components/schemas/{name}"


def document() -> dict[str, Any]:
    """The document, as JSON data."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for name, address, shapes, action in _channels():
        channels[name] = _channel(address, shapes)
        operations[f"{action}.{name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            **_reply(name),
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Workflow worker",
            "version": VERSION,
            "description": "Work orders in, runs claimed by workers, every status told. MQTT 5.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "localhost:1883", "protocol": "mqtt5"}},
        "channels": channels,
        "operations": operations,
        "components": {"schemas": _schemas()},
    }


def _channels() -> list[tuple[str, str, tuple[type[Any], ...], str]]:
    """(name, address, shapes, what the control plane does there) of every channel."""
    topics = Topics("{root}")
    return [
        *(
            (f"requests.{method}", topics.request(method), (shape,), "receive")
            for method, shape in wire.REQUESTS.items()
        ),
        ("replies", topics.client("{client}"), (wire.Reply,), "send"),
        *(
            (f"workers.{what}", topics.worker("{worker}", what), (shape,), "receive")
            for what, shape in wire.FROM_WORKERS.items()
        ),
        ("workers.rsp", topics.worker("{worker}", "rsp"), (wire.Assignment, wire.Acks), "send"),
        ("workers.cmd", topics.worker("{worker}", "cmd"), (wire.Command,), "send"),
        ("control.status", topics.control, (wire.Presence,), "send"),
        ("runs.state", topics.run("{run}", "state"), (wire.RunState,), "send"),
        ("runs.events", topics.run("{run}", "events"), (wire.RunEvents,), "send"),
        ("orders.state", topics.order("{order}"), (wire.OrderState,), "send"),
        ("alerts", topics.alerts, (wire.Alert,), "send"),
    ]


def _channel(address: str, shapes: tuple[type[Any], ...]) -> dict[str, Any]:
    names = [level[1:-1] for level in address.split("/") if level.startswith("{")]
    return {
        "address": address,
        "parameters": {name: {"description": f"The {name}'s name or id."} for name in names},
        "messages": {
            shape.__name__: {"payload": {"$ref": _REF.format(name=shape.__name__)}}
            for shape in shapes
        },
    }


def _reply(name: str) -> dict[str, Any]:
    """Requests are answered where their response topic says."""
    if not name.startswith("requests."):
        return {}
    return {
        "reply": {
            "address": {
                "location": "$message.header#/responseTopic",
                "description": "MQTT 5's response topic; the correlation data comes back too.",
            },
            "channel": {"$ref": "#/channels/replies"},
        }
    }


def _schemas() -> dict[str, Any]:
    shapes = {shape for _, _, several, _ in _channels() for shape in several}
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    (*_, event), schemas = msgspec.json.schema_components([*ordered, AnyEvent], ref_template=_REF)
    # The events of a report are Raw, so that whoever passes them on need not decode them.
    for name in ("RunEvents", "RunReport"):
        schemas[name]["properties"]["events"]["items"] = {"oneOf": event["anyOf"]}
    return {name: _described(schemas[name]) for name in sorted(schemas)}


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with its description, a docstring, on one line."""
    if "description" not in schema:
        return schema
    return {**schema, "description": " ".join(schema["description"].split())}
