"""Input that a trigger makes of the message, the call or the tick that starts a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIRED = "fired"
FILTERED = "filtered"
IGNORED = "ignored"
DISABLED = "disabled"
OUTCOMES = (
    *(FIRED, DISABLED),
    # of messages
    *(FILTERED, IGNORED, "filter_failed"),
    *("not_json", "not_text", "too_large", "too_deep", "no_key"),
    # of calls
    *("bad_request", "unsupported_media_type"),
)
"""Outcomes, by their names in cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerResponse:
    """Response to a call: its code and its content, which is text unless ``is_json``."""

    code: int
    text: str
    is_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedResponse:
    """Expected response to a call: its code, a part of its JSON, its text; ``None`` for any."""

    code: int | None = None
    json: Any = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerStart:
    """What the trigger ``name`` makes of a message, a call or a tick.

    ``outcome`` is ``fired`` where it makes an order that begins at the step ``start``, with its
    ``input``, or else the reason, with a ``message``; the ``filter`` is still to be evaluated.
    ``tick_us`` is the time of a tick, in microseconds since the epoch. ``webhook`` is the
    definition of a webhook, and ``response`` that to a refused call.
    """

    name: str
    start: str
    outcome: str = FIRED
    message: str = ""
    input: Mapping[str, Any] | None = None
    filter: str = ""
    tick_us: int | None = None
    # As plain data: the class of definitions is no part of the public API.
    webhook: Mapping[str, Any] | None = None
    response: TriggerResponse | None = None
