"""The AsyncAPI 3 document of the bus, generated from the message and event types.

It is written from the side of the control plane: the messages that it receives and sends.
"""

from __future__ import annotations

from typing import Any

import msgspec

from worker.core.events import AnyEvent
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.client_messages import Reply
from worker.fleet.messaging.state_messages import Alert, OrderState, RunEvents, RunState
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.trigger_messages import ALL_REQUESTS
from worker.fleet.messaging.worker_protocol import (
    FROM_WORKERS,
    Acks,
    Assignment,
    Command,
    Presence,
    Starts,
)
from worker.version import VERSION

_REF = "#/components/schemas/{name}"


def document() -> dict[str, Any]:
    """Build the document as JSON data."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for name, address, types, action in _channels():
        channels[name] = _channel(address, types)
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
            "description": "Work orders, leases, reports and states of runs. MQTT 5.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "localhost:1883", "protocol": "mqtt5"}},
        "channels": channels,
        "operations": operations,
        "components": {"schemas": _schemas()},
    }


def _channels() -> list[tuple[str, str, tuple[type[Any], ...], str]]:
    """List the name, address, message types and action of the control plane of each channel."""
    topics = Topics("{root}")
    return [
        *(
            (f"requests.{method}", topics.request(method), (type,), "receive")
            for method, type in ALL_REQUESTS.items()
        ),
        *(
            (f"requests.{method}.user", topics.request(method, "{user}"), (type,), "receive")
            for method, type in ALL_REQUESTS.items()
        ),
        ("replies", topics.client("{client}"), (Reply,), "send"),
        *(
            (f"workers.{channel}", topics.worker("{worker}", channel), (type,), "receive")
            for channel, type in FROM_WORKERS.items()
        ),
        (
            "workers.rsp",
            topics.worker("{worker}", "rsp"),
            (Assignment, Starts, Acks),
            "send",
        ),
        ("workers.cmd", topics.worker("{worker}", "cmd"), (Command,), "send"),
        ("control.status", topics.control, (Presence,), "send"),
        ("control.echo", topics.echo("{id}"), (wire.Echo,), "send"),
        ("runs.state", topics.run("{run}", "state"), (RunState,), "send"),
        ("runs.events", topics.run("{run}", "events"), (RunEvents,), "send"),
        ("orders.state", topics.order("{order}"), (OrderState,), "send"),
        ("alerts", topics.alerts, (Alert,), "send"),
    ]


def _channel(address: str, types: tuple[type[Any], ...]) -> dict[str, Any]:
    names = [level[1:-1] for level in address.split("/") if level.startswith("{")]
    return {
        "address": address,
        "parameters": {name: {"description": f"The {name}'s name or id."} for name in names},
        "messages": {
            type.__name__: {"payload": {"$ref": _REF.format(name=type.__name__)}} for type in types
        },
    }


def _reply(name: str) -> dict[str, Any]:
    if not name.startswith("requests."):
        return {}
    return {
        "reply": {
            "address": {
                "location": "$message.header#/responseTopic",
                "description": "MQTT 5's response topic; the correlation data, of up to 1,024 "
                "bytes, comes back too.",
            },
            "channel": {"$ref": "#/channels/replies"},
        }
    }


def _schemas() -> dict[str, Any]:
    types = {type for _, _, messages, _ in _channels() for type in messages}
    ordered = sorted(types, key=lambda type: type.__name__)
    (*_, event), schemas = msgspec.json.schema_components([*ordered, AnyEvent], ref_template=_REF)
    # The events of a report are Raw, so that whoever passes them on need not decode them.
    for name in ("RunEvents", "RunReport"):
        schemas[name]["properties"]["events"]["items"] = {"oneOf": event["anyOf"]}
    return {name: _with_plain_discriminators(_described(schemas[name])) for name in sorted(schemas)}


def _with_plain_discriminators(schema: Any) -> Any:
    """Return a schema with AsyncAPI's discriminators, names of properties, and not OpenAPI's."""
    if isinstance(schema, list):
        return [_with_plain_discriminators(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _with_plain_discriminators(value) for key, value in schema.items()}
    if isinstance(discriminator := plain.get("discriminator"), dict):
        plain["discriminator"] = discriminator["propertyName"]
    return plain


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with its description, a docstring, on one line."""
    if "description" not in schema:
        return schema
    return {**schema, "description": " ".join(schema["description"].split())}
