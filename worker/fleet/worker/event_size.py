"""Events that fit into a message: what is too large to be taken loses its largest parts."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from worker.core.events import (
    AnyEvent,
    RunComplete,
    RunLog,
    StepComplete,
    to_json,
)
from worker.core.outcome import StepError
from worker.fleet.messaging import messages as wire

SHORT = 10_000
"""How many characters are left of a text that was too long."""


def fitted(event: AnyEvent, limit: int) -> bytes:
    """The event as JSON of at most ``limit`` bytes: whole, or without its dataclip (withheld), or
    with its texts cut."""
    text = _encoded(event)
    for smaller in _smaller(event):
        if len(text) <= limit:
            break
        text = _encoded(smaller)
    return text


def _encoded(event: AnyEvent) -> bytes:
    return wire.well_formed(to_json(event)).encode()


def _smaller(event: AnyEvent) -> Iterator[AnyEvent]:
    match event:
        case StepComplete():
            event = replace(event, output_dataclip=None, withheld=True)
            yield event
            yield replace(event, error=_short(event.error))
        case RunComplete():
            event = replace(event, final_state=None, withheld=True)
            yield event
            yield replace(event, error=_short(event.error))
        case RunLog():
            yield replace(event, message=f"{event.message[:SHORT]}…")
        case _:
            return


def _short(error: StepError | None) -> StepError | None:
    """The error with its type, its place and the beginning of its message."""
    if error is None:
        return None
    return StepError(
        type=error.type,
        message=f"{error.message[:SHORT]}…",
        source=error.source,
        job_id=error.job_id,
        step_id=error.step_id,
    )
