"""Our error types for the words that OpenFn's worker and Lightning have for them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from worker.core.events import AnyEvent, RunComplete, StepComplete
from worker.core.status import ERROR_TYPES, STATUS_OF_REASON, Status

_OWN_TYPES = {
    "RuntimeError": "TypeError",
    "RuntimeCrash": "ReferenceError",
    "CompileError": "SyntaxError",
    "OOMError": "OomError",
}


def with_own_types(events: Sequence[AnyEvent]) -> tuple[AnyEvent, ...]:
    """Return the events with the error types of this project, which the rules are about."""
    return tuple(map(_with_own_type, events))


def _with_own_type(event: AnyEvent) -> AnyEvent:
    if not isinstance(event, StepComplete | RunComplete) or event.error is None:
        return event
    type = _OWN_TYPES.get(event.error.type, event.error.type)
    # A step fails there with the name of whatever error was thrown, that of an adaptor included.
    fails = STATUS_OF_REASON[event.reason] is Status.FAILED
    if fails and (type not in ERROR_TYPES or type == "AdaptorError"):
        type = "JobError"
    return replace(event, error=replace(event.error, type=type))
