"""Outcome of executing a step. A failure of user code is a value, never an exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from worker.core.status import Reason, aborts, reason_of


class Position(Struct, frozen=True, kw_only=True):
    """Position in the author's own source; ``line`` and ``column`` count from 1."""

    line: int
    column: int
    source_line: str = ""


class StepError(Struct, frozen=True, kw_only=True):
    """Error that ended a step or a run.

    ``type`` is an error type of the table of statuses (anything else is a defect of the worker);
    ``name`` is the name that the job gave its error (``MyError``); ``details`` is JSON
    that the error carried (``code``, ``statusCode``); ``job_id`` is the id of the step that it
    belongs to, and ``step_id`` the UUID of that execution, where it is known.
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


class Outcome(Struct, frozen=True, kw_only=True):
    """Result of one execution of a step.

    ``state`` is opaque to the machine (JSON text in the sandbox): the output, or after a failure
    the input with its ``errors``; ``None`` means that the step returned nothing. ``errored`` is
    true if ``state.errors[step]`` is set, which success and failure edges depend on.
    """

    state: Any
    errored: bool = False
    error: StepError | None = None


def own_error(entry: Any, step_id: str) -> StepError:
    """Return the error of a step that wrote ``entry`` into ``state.errors`` under its own id."""
    fields = entry if isinstance(entry, Mapping) else {}
    message, name = (fields.get(key) for key in ("message", "name"))
    return StepError(
        type="JobError",
        message=message if isinstance(message, str) else "",
        name=name if isinstance(name, str) else "",
        job_id=step_id,
    )


OUT_OF_MEMORY = StepError(type="OomError", message="the run used more memory than its limit allows")


def job_entry(error: StepError) -> dict[str, Any]:
    """Convert an error that an anonymous function of a job threw to ``state.errors[step]``.

    Jobs and conditions of existing workflows depend on these keys, and on the absence of others.
    """
    if error.type in ("TypeError", "RangeError"):
        text = f"{error.type}: {error.message}"
        entry = _runtime_entry(error, "RuntimeError")
        return {**entry, "subtype": error.type, "message": text}
    return {**_runtime_entry(error, "JobError"), "message": error.message}


def _runtime_entry(error: StepError, name: str) -> dict[str, Any]:
    return {"source": error.source, "name": name, "severity": error.reason}


def scripted_entry(error: StepError) -> dict[str, Any]:
    """Convert the error of a scripted step to ``state.errors[step]``.

    One with details is that of an adaptor.
    """
    entry = job_entry(error)
    if not error.details:
        return entry
    details = {"message": error.message, **error.details}
    entry.pop("subtype", None)
    return {**entry, "name": "AdaptorError", "message": error.message, "details": details}


def error_entry(error: StepError) -> dict[str, Any]:
    """Convert the error of a Python step to the content of ``state.errors[step]``."""
    entry: dict[str, Any] = {
        "source": error.source,
        "name": error.type,
        "severity": error.reason,
        "message": error.message,
        "subtype": error.name,
    }
    if error.position:
        entry["position"] = {"line": error.position.line, "column": error.position.column}
    if error.details:
        entry["details"] = dict(error.details)
    return entry
