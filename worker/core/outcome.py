"""What executing a step gives back. A failure of user code is a value, never an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.core.status import Reason, aborts, reason_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the author's own source; ``line`` and ``column`` count from 1."""

    line: int
    column: int
    source_line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepError:
    """Why a step or a run did not succeed.

    ``type`` is a row of :data:`worker.core.status.ERROR_TYPES` (anything else is our own fault);
    ``name`` is the name that the job gave its error (``MyError``); ``details`` is JSON that the
    error carried (``code``, ``statusCode``); ``job_id`` is the id of the step that it belongs to,
    and ``step_id`` the UUID of the execution, where it is known.
    """

    type: str
    message: str
    name: str = ""
    source: str = "runtime"
    job_id: str | None = None
    step_id: str | None = None
    position: Position | None = None
    stack: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    cause: StepError | None = None

    @property
    def reason(self) -> Reason:
        return reason_of(self.type)

    @property
    def aborts(self) -> bool:
        return aborts(self.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one execution of a step ended.

    ``state`` is opaque to the machine (JSON text in the sandbox): the output, or after a failure
    the input with its ``errors``; ``None`` means that the step returned nothing. ``errored`` tells
    whether ``state.errors[step]`` is set, which is what the success and failure edges ask.
    """

    state: Any
    errored: bool = False
    error: StepError | None = None


OUT_OF_MEMORY = StepError(type="OomError", message="the run used more memory than its limit allows")


def entry_of(error: StepError) -> dict[str, Any]:
    """What ``state.errors[step]`` holds: the words that a failure edge can read."""
    entry = {
        "source": error.source,
        "name": error.type,
        "severity": error.reason,
        "message": error.message,
        "subtype": error.name,
    }
    place = error.position
    position = {"position": {"line": place.line, "column": place.column}} if place else {}
    details = {"details": dict(error.details)} if error.details else {}
    return {**entry, **position, **details}
