"""Decoding of events from messages and replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from worker.fleet.messaging import messages as wire


def decode_events(message: wire.RunEvents) -> Iterator[wire.ReportedEvent]:
    """Yield the events of a message; skip invalid ones."""
    for raw in message.events:
        try:
            yield wire.decode(wire.ReportedEvent, bytes(raw))
        except wire.WireError:
            continue  # any client of the broker may have published it


def events_from_reply(events: list[dict[str, Any]]) -> Iterator[wire.ReportedEvent]:
    """Convert the events of a reply. The control plane validated them when it stored them."""
    for event in events:
        yield msgspec.convert(_bare(event), wire.ReportedEvent)


def _bare(event: Mapping[str, Any]) -> dict[str, Any]:
    # Dataclips may be megabytes; the monitor does not show them.
    clips = ("output_dataclip", "final_state")
    return {name: value for name, value in event.items() if name not in clips}
