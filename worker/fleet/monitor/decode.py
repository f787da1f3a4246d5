"""Decoding of the events that the control plane publishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from worker.core.events import AnyEvent, decode_leniently
from worker.fleet.messaging import messages as wire
from worker.util.json import dumps


def heard(told: wire.RunEvents) -> Iterator[AnyEvent]:
    """Yield the events of a message, without those that are malformed."""
    # Anybody who may publish to the topic can publish anything.
    for raw in told.events:
        try:
            event = decode_leniently(bytes(raw))
        except ValueError:
            continue
        if event is not None:
            yield event


def asked(events: Iterable[dict[str, Any]]) -> Iterator[AnyEvent]:
    """Yield the events of a reply, which the control plane has validated."""
    for fields in events:
        event = decode_leniently(dumps(fields))
        if event is not None:
            yield event
