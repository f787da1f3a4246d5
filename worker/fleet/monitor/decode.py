"""Events as they are heard: those that fit their shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from worker.fleet.messaging import messages as wire


def heard(told: wire.RunEvents) -> Iterator[wire.ReportedEvent]:
    """The events of a message. What fits no shape was said by no control plane."""
    for raw in told.events:
        try:
            yield wire.decode(wire.ReportedEvent, bytes(raw))
        except wire.WireError:
            continue


def asked(events: list[dict[str, Any]]) -> Iterator[wire.ReportedEvent]:
    """The events of an answer, which were checked when they were kept."""
    for event in events:
        yield msgspec.convert(_bare(event), wire.ReportedEvent)


def _bare(event: Mapping[str, Any]) -> dict[str, Any]:
    clips = ("output_dataclip", "final_state")
    return {name: value for name, value in event.items() if name not in clips}
