"""Validation of events: a journal may come from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, Final

from worker.core.events import AnyEvent, RunComplete, RunStart, StepComplete
from worker.core.outcome import Position, StepError
from worker.core.status import STATUS_OF_REASON

_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "str | None": (str, NoneType),
}
# JavaScript, which shows the page, has no exact integers above it.
_MAX_INT = 2**53
_MAX_CAUSES = 20


def validate_event(event: AnyEvent) -> None:
    """Raise ``ValueError`` for an event with a wrong type or an impossible value."""
    _check_fields(event)
    if isinstance(event, RunStart) and not _is_text_mapping(event.versions):
        raise ValueError("versions is not a mapping of texts")
    if isinstance(event, StepComplete) and not all(isinstance(item, str) for item in event.next):
        raise ValueError("next is not a list of step ids")
    if isinstance(event, StepComplete | RunComplete):
        if event.reason not in STATUS_OF_REASON:
            raise ValueError(f"unknown reason {event.reason!r}")
        _check_error(event.error)


def _check_fields(record: Any) -> None:
    for field in fields(record):
        value, expected = getattr(record, field.name), _TYPES.get(str(field.type))
        if expected is not None and not isinstance(value, expected):
            raise ValueError(f"{field.name} is {type(value).__name__}, not {field.type}")
        if expected is int and not 0 <= value < _MAX_INT:
            raise ValueError(f"{field.name} is {value}")


def _check_error(error: StepError | None, depth: int = 0) -> None:
    if error is None:
        return
    # The reader of events leaves empty values, such as an empty text, as they are.
    if not isinstance(error, StepError):
        raise ValueError("an error is not an object")
    if depth > _MAX_CAUSES:
        raise ValueError("an error has too many causes")
    _check_fields(error)
    if not isinstance(error.details, Mapping):
        raise ValueError("the details of an error are not a mapping")
    if not all(isinstance(line, str) for line in error.stack):
        raise ValueError("the stack of an error is not a list of lines")
    if isinstance(error.position, Position):
        _check_fields(error.position)
    _check_error(error.cause, depth + 1)


def _is_text_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values())
