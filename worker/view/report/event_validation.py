"""Whether an event says only what a run can say: a journal may come from anywhere."""

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
_MOST = 2**53
_CAUSES = 20


def check(event: AnyEvent) -> None:
    """Raise ``ValueError`` for an event with a field of another type, or of no sense."""
    _check_fields(event)
    if isinstance(event, RunStart) and not _texts(event.versions):
        raise ValueError("versions are not texts by name")
    if isinstance(event, StepComplete) and not all(isinstance(one, str) for one in event.next):
        raise ValueError("next are not names of steps")
    if isinstance(event, StepComplete | RunComplete):
        if event.reason not in STATUS_OF_REASON:
            raise ValueError(f"{event.reason!r} is no way to end")
        _check_error(event.error)


def _check_fields(one: Any) -> None:
    for field in fields(one):
        value, expected = getattr(one, field.name), _TYPES.get(str(field.type))
        if expected is not None and not isinstance(value, expected):
            raise ValueError(f"{field.name} is {type(value).__name__}, not {field.type}")
        if expected is int and not 0 <= value < _MOST:
            raise ValueError(f"{field.name} is {value}")


def _check_error(error: StepError | None, depth: int = 0) -> None:
    if error is None:
        return
    # What stands for nothing in JSON, such as an empty text, comes here as it is.
    if not isinstance(error, StepError):
        raise ValueError("an error is not an object")
    if depth > _CAUSES:
        raise ValueError("an error has too many causes")
    _check_fields(error)
    if not isinstance(error.details, Mapping):
        raise ValueError("the details of an error are not by name")
    if not all(isinstance(line, str) for line in error.stack):
        raise ValueError("the stack of an error is not made of lines")
    if isinstance(error.position, Position):
        _check_fields(error.position)
    _check_error(error.cause, depth + 1)


def _texts(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values())
