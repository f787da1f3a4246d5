"""Size limits of events: an event that is too large for a message loses its largest parts."""

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
from worker.util.nesting import ENVELOPE_LEVELS, NESTING_LIMIT, nests_deeper

EVENT_LEVELS = ENVELOPE_LEVELS - 5
"""Levels around a state in an event; a message of reports adds five."""
MAX_TEXT = 10_000
"""How many characters of a text are left where it was too long."""


def encode_within(event: AnyEvent, limit_bytes: int) -> bytes:
    """Encode an event as JSON of at most ``limit_bytes``.

    An event that is larger, or nested too deeply for a message, loses its dataclip (``withheld``),
    then the ends of its texts.
    """
    text = _encoded(event)
    for smaller in _smaller(event):
        if len(text) <= limit_bytes and not nests_deeper(text, NESTING_LIMIT + EVENT_LEVELS):
            break
        text = _encoded(smaller)
    return text


def _encoded(event: AnyEvent) -> bytes:
    # JavaScript strings may contain lone surrogates, which are not valid UTF-8.
    return wire.well_formed(to_json(event)).encode()


def _smaller(event: AnyEvent) -> Iterator[AnyEvent]:
    match event:
        case StepComplete():
            event = replace(event, output_dataclip=None, withheld=True)
            yield event
            yield replace(event, error=_shortened(event.error))
        case RunComplete():
            event = replace(event, final_state=None, withheld=True)
            yield event
            yield replace(event, error=_shortened(event.error))
        case RunLog():
            yield replace(event, message=f"{event.message[:MAX_TEXT]}…")
        case _:
            return


def _shortened(error: StepError | None) -> StepError | None:
    if error is None:
        return None
    # The stack and the details go: they can be as large as the message.
    return StepError(
        type=error.type,
        message=f"{error.message[:MAX_TEXT]}…",
        source=error.source,
        job_id=error.job_id,
        step_id=error.step_id,
    )
