"""Decoding of events from messages and replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from worker.core.events import AnyEvent, decode_leniently
from worker.fleet.messaging.state_messages import RunEvents
from worker.util.json import dumps


def decode_events(message: RunEvents) -> Iterator[AnyEvent]:
    """Yield the events of a message; skip invalid ones."""
    for raw in message.events:
        try:
            event = decode_leniently(bytes(raw))
        except ValueError:
            continue  # any client of the broker may have published it
        if event is not None:
            yield event


def events_from_reply(events: Iterable[dict[str, Any]]) -> Iterator[AnyEvent]:
    """Yield the events of a reply. The control plane validated them when it stored them."""
    for fields in events:
        event = decode_leniently(dumps(fields))
        if event is not None:
            yield event
